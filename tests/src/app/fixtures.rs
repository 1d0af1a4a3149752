//! People that are there already: written as sign-up writes them, and subscribed as Stripe's news would.

use camarad::context::Context;
use camarad::domain::audit::chain::Chain;
use camarad::domain::audit::person::{self, KeyOfPerson};
use camarad::domain::auth::api_keys::{ApiKey, ApiKeyToken, KeyScope, Realm};
use camarad::domain::auth::sessions::Session;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::Preferences;
use camarad::domain::users::{Account, User};
use camarad::domain::workspaces::{Member, Membership};
use camarad::ids::{UserId, WorkspaceId};
use jiff::{SignedDuration, Timestamp};

use super::{Client, TestApp, trial};

impl TestApp {
    /// A person on the trial of `plan`, signed in. The trial's cbT are still to come.
    pub async fn sign_up(&self, email: &str, plan: Plan) -> Client {
        let client = self.newcomer(email).await;
        let user = client.user.expect("signed in");
        trial::begun(&self.app, user, plan).await;
        client
    }

    /// A person who has just signed up, and has no subscription.
    pub async fn newcomer(&self, email: &str) -> Client {
        let clock = self.app.clock();
        let now = clock.now();
        let context = Context::system("fixture", now);
        let user = User {
            id: UserId::new(clock),
            email: email.to_lowercase(),
            name: email.split('@').next().unwrap_or(email).to_owned(),
            avatar_url: None,
            locale: "en".into(),
            timezone: "UTC".into(),
            second_factor: false,
            address_proven_by: ["email".into()].into(),
            last_login_at: now,
            onboarding_completed_at: None,
            created_at: now,
            updated_at: now,
            version: 1,
            preferences: Preferences::default(),
            deleting_at: None,
        };
        let account = Account::of_a_newcomer(user.id, now);
        let tx = self.app.tx(&context);
        tx.create(&user)
            .and_then(|tx| tx.create(&account))
            .and_then(|tx| tx.create(&KeyOfPerson::fresh(user.id, now)))
            .and_then(|tx| tx.create(&Chain::new(&user.id.to_string())))
            .expect("items")
            .run()
            .await
            .expect("the person is new");
        self.sign_in(user.id).await
    }

    /// A new person, without a subscription, who has joined a workspace in this role.
    pub async fn join(&self, workspace: &str, role: Role) -> Client {
        let workspace_id: WorkspaceId = workspace.parse().expect("a workspace id");
        let address = format!("{}@example.com", UserId::new(self.app.clock()));
        let client = self.newcomer(&address).await;
        let user_id = client.user.expect("signed in");
        let joined_at = self.app.clock().now();
        let context = Context::system("fixture", joined_at);
        let tx = self.app.tx(&context);
        let tx = tx
            .create(&Member {
                workspace_id,
                user_id,
                role,
                joined_at,
            })
            .expect("an item");
        tx.create(&Membership {
            workspace_id,
            user_id,
            role,
        })
        .expect("an item")
        .run()
        .await
        .expect("a new member");
        client
    }

    /// A program with a key of this person, good for thirty days.
    pub async fn api_key(&self, user: UserId, scopes: &[KeyScope], only_in: Option<WorkspaceId>) -> Client {
        let clock = self.app.clock();
        let person_key = person::key_of(&self.app, user, clock.now()).await.ok();
        let token = ApiKeyToken::new(Realm::of_stage(&self.app.config().stage), user, clock);
        let key = ApiKey {
            id: token.id,
            user_id: user,
            name: "fixture".into(),
            scopes: scopes.iter().copied().collect(),
            workspace_id: only_in,
            secret_hash: token.hash(),
            hint: token.hint(),
            created_at: clock.now(),
            expires_at: clock.now() + SignedDuration::from_hours(24 * 30),
            last_used_at: None,
            person_key,
        };
        self.app.db().put(&key, None).await.expect("the key is written");
        let mut client = self.anonymous().with_token(&token.expose());
        client.user = Some(user);
        client
    }

    /// The same session with a fresh token, this much later: as a refresh would give it.
    pub async fn later(&self, who: &Client, by: SignedDuration) -> Client {
        let tokens = self.app.tokens();
        let old = who.token.as_deref().expect("signed in");
        let claims = tokens
            .check(self.app.db(), old, self.app.clock().now())
            .await
            .expect("a good token");
        let proven = Timestamp::from_second(claims.auth_time).expect("a time");
        self.clock.advance(by);
        let token = tokens
            .sign(
                &self.app,
                (claims.sub, claims.sid),
                proven,
                self.app.clock().now(),
            )
            .await
            .expect("a token");
        who.with_token(&token)
    }

    /// Another session of a person.
    pub async fn sign_in(&self, user: UserId) -> Client {
        self.stale(user, SignedDuration::ZERO).await
    }

    /// A session whose person proved who they are that long ago.
    pub async fn stale(&self, user: UserId, ago: SignedDuration) -> Client {
        let clock = self.app.clock();
        let now = clock.now();
        let key = person::key_of(&self.app, user, now).await.expect("a key");
        let context = Context::system("fixture", now).with_key(Some(key));
        let (mut session, _) = Session::start(user, "fixture", &context, clock).expect("a session");
        session.authenticated_at = now - ago;
        self.app
            .db()
            .put(&session, None)
            .await
            .expect("the session is written");
        let token = self
            .app
            .tokens()
            .sign(&self.app, (user, session.id), now, now)
            .await
            .expect("a token");
        let mut client = self.anonymous().with_token(&token);
        client.user = Some(user);
        client
    }
}
