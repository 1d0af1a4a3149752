//! For each live write of signing in, and of what secures that: somebody for whom it succeeds, as the audit walk sends it.

use camarad::context::Context;
use camarad::domain::audit::person;
use camarad::domain::auth::second_factor::shown;
use camarad::domain::auth::sessions::Session;
use camarad::domain::users::identity::{Identity, LinkedIdentity};
use camarad::ids::{IdentityId, UserId};
use camarad_tests::app::{Client, PUBLIC_URL};
use camarad_tests::routes::Route;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::audit_walk_scenes::{BROWSER, Ready, World, nobody_yet, ready};
use crate::auth_magic_link::{VERIFY, open};

const FACTOR: &str = "/api/user/security/2fa";

/// Somebody with a second factor.
pub struct Factored {
    pub who: Client,
    secret: String,
}

impl World {
    pub async fn signing_in(&self, route: &Route) -> Option<Ready> {
        let path = route.path.as_str();
        Some(match path {
            "/api/auth/refresh" => {
                let ann = self.person("ann").await;
                let (_, token) = self.session(ann.user.unwrap(), false).await;
                nobody_yet(&ann, path, json!({"refreshToken": token}))
            }
            "/api/auth/logout" => ready(self.person("ann").await, path, None),
            "/api/auth/2fa" => {
                let ann = self.factored().await;
                let (_, token) = self.session(ann.who.user.unwrap(), true).await;
                let body = json!({"mfaToken": token, "code": self.code(&ann)});
                nobody_yet(&ann.who, path, body)
            }
            "/api/auth/step-up" => {
                let ann = self.factored().await;
                let body = json!({"code": self.code(&ann)});
                ready(ann.who, path, Some(body))
            }
            "/api/auth/magic-link" => {
                let who = self.t.anonymous().header("User-Agent", BROWSER);
                let body = json!({"email": "zoe@example.com", "mode": "token"});
                Ready {
                    who,
                    path: path.into(),
                    body: Some(body.to_string()),
                    user: None,
                }
            }
            VERIFY => self.link().await,
            _ => return None,
        })
    }

    /// An opened link of somebody who has signed in with one before.
    async fn link(&self) -> Ready {
        let address = json!({"email": "mia@example.com", "mode": "token"});
        let mut opened = Vec::new();
        for _ in 0..2 {
            let asked = self
                .t
                .anonymous()
                .post("/api/auth/magic-link", address.clone())
                .await;
            asked.json(202);
            let order: Value = serde_json::from_str(self.t.mail_queue().await.last().unwrap()).unwrap();
            let text = order.to_string();
            let link = text.split(PUBLIC_URL).nth(1).unwrap().split('"').next().unwrap();
            opened.push(open(&self.t, link).await);
        }
        let (last, first) = (opened.pop().unwrap(), opened.pop().unwrap());
        first.confirm().await.json(200);
        Ready {
            who: last.browser.header("User-Agent", BROWSER),
            path: VERIFY.into(),
            body: Some(last.form),
            user: None,
        }
    }

    /// A session with its refresh token; one that waits for the second factor, with what ends the wait.
    pub async fn session(&self, user: UserId, waits: bool) -> (Session, String) {
        let clock = self.t.app.clock();
        let key = person::key_of(&self.t.app, user, clock.now()).await.unwrap();
        let context = Context::system("fixture", clock.now()).with_key(Some(key));
        let (mut session, token) = Session::start(user, "local", &context, clock).unwrap();
        if waits {
            session = session.waiting(clock.now()).unwrap();
        }
        self.t.app.db().put(&session, None).await.unwrap();
        (session, token.expose())
    }

    pub async fn factored(&self) -> Factored {
        let who = self.person("ann").await;
        let secret = set_up(&who).await;
        let ann = Factored { who, secret };
        let code = json!({"code": self.code(&ann)});
        ann.who.post(&format!("{FACTOR}/verify"), code).await.json(200);
        // Each code is good once.
        self.t.clock.advance(SignedDuration::from_secs(60));
        ann
    }

    pub fn code(&self, of: &Factored) -> String {
        shown(&of.secret, self.t.app.clock().now()).unwrap()
    }

    pub async fn security(&self, route: &Route) -> Option<Ready> {
        let path = route.path.as_str();
        let at = |id: &dyn std::fmt::Display| path.replace("{id}", &id.to_string());
        Some(match route.name().as_str() {
            "DELETE /api/user/security/2fa" => ready(self.factored().await.who, path, None),
            "POST /api/user/security/2fa/recovery-codes" => ready(self.factored().await.who, path, None),
            "POST /api/user/security/2fa/verify" => {
                let who = self.person("ann").await;
                let secret = set_up(&who).await;
                let ann = Factored { who, secret };
                let body = json!({"code": self.code(&ann)});
                ready(ann.who, path, Some(body))
            }
            "POST /api/user/security/2fa" => ready(self.person("ann").await, path, None),
            "POST /api/user/security/api-keys" => {
                let body = json!({"name": "ci", "scopes": ["user:read"]});
                ready(self.person("ann").await, path, Some(body))
            }
            "DELETE /api/user/security/api-keys/{id}" => {
                let ann = self.person("ann").await;
                let body = json!({"name": "ci", "scopes": ["user:read"]});
                let made = ann.post("/api/user/security/api-keys", body).await.json(201);
                ready(
                    ann,
                    &path.replace("{id}", made["apiKey"]["id"].as_str().unwrap()),
                    None,
                )
            }
            "POST /api/user/security/identities" => {
                let body = json!({"provider": "local", "mode": "token"});
                ready(self.person("ann").await, path, Some(body))
            }
            "DELETE /api/user/security/identities/{id}" => {
                let ann = self.person("ann").await;
                let id = self.linked(ann.user.unwrap()).await;
                ready(ann, &at(&id), None)
            }
            "POST /api/user/security/sessions/revoke-others" => {
                let ann = self.person("ann").await;
                self.session(ann.user.unwrap(), false).await;
                self.session(ann.user.unwrap(), true).await;
                ready(ann, path, None)
            }
            "DELETE /api/user/security/sessions/{id}" => {
                let ann = self.person("ann").await;
                let (other, _) = self.session(ann.user.unwrap(), false).await;
                ready(ann, &at(&other.id), None)
            }
            _ => return None,
        })
    }

    /// A provider's account that opens this person's.
    async fn linked(&self, user_id: UserId) -> IdentityId {
        let clock = self.t.app.clock();
        let identity = Identity {
            id: IdentityId::new(clock),
            provider: "local".into(),
            subject: format!("subject of {user_id}"),
            user_id,
            linked_at: clock.now(),
        };
        let id = identity.id;
        self.t.app.db().put(&identity, None).await.unwrap();
        let email = "ann@example.com".into();
        let listed = LinkedIdentity { identity, email };
        self.t.app.db().put(&listed, None).await.unwrap();
        id
    }
}

async fn set_up(who: &Client) -> String {
    let setup = who.post(FACTOR, json!({})).await.json(200);
    setup["secret"].as_str().unwrap().to_owned()
}
