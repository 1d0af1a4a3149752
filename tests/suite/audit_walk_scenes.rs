//! For each live write: somebody for whom it succeeds, as the audit walk sends it.

mod calls;

use std::ops::Deref;

use camarad::config::ProviderConfig;
use camarad::domain::ledger;
use camarad::domain::plans::Plan;
use camarad::ids::UserId;
use camarad::money::Cbt;
use camarad::store::record::AuditRecord;
use camarad_tests::app::{Client, MAIL_FROM, OPERATOR, PUBLIC_URL, Setup};
use camarad_tests::billing::{GOOD, Shop};
use camarad_tests::faults::Faults;
use camarad_tests::peers::ai::AiPeer;
use camarad_tests::peers::oidc::OidcPeer;
use camarad_tests::routes::Route;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth_magic_link::VERIFY;
use crate::desk::{fund, workspace};
use crate::onboarding_undone::wish;
use crate::quota::spend;
use crate::usage_record::scene;

/// What all of them browse with.
pub const BROWSER: &str = "Firefox/150";

/// A deployment with mail, Stripe, an identity provider and an AI provider, over a table that can be told to fail.
pub struct World {
    shop: Shop,
    pub faults: Faults,
    _peer: OidcPeer,
}

impl Deref for World {
    type Target = Shop;
    fn deref(&self) -> &Shop {
        &self.shop
    }
}

/// A request that will succeed.
pub struct Ready {
    pub who: Client,
    pub path: String,
    pub body: Option<String>,
    /// Who does it, where that is known before.
    pub user: Option<UserId>,
}

impl World {
    pub async fn new() -> Self {
        let callback = format!("{PUBLIC_URL}/api/auth/local/callback");
        let peer = OidcPeer::start(&[&callback]).await.unwrap();
        let provider = ProviderConfig {
            id: "local".into(),
            name: "Local".into(),
            issuer: peer.issuer.clone(),
            client_id: peer.client_id.clone(),
            trusts_email: Some(true),
            ..ProviderConfig::default()
        };
        let faults = Faults::new(1);
        let shop = Shop::with(Setup {
            ai: Some(AiPeer::start().await.unwrap()),
            faults: Some(faults.clone()),
            providers: vec![provider],
            provider_secrets: json!({"local": peer.client_secret}),
            mail_from: Some(MAIL_FROM.into()),
            ..Setup::default()
        })
        .await;
        // Their steps have a story of their own.
        shop.t.executions.hold(true);
        Self {
            shop,
            faults,
            _peer: peer,
        }
    }

    /// Every record of every log.
    pub async fn records(&self) -> Vec<AuditRecord> {
        let found = self.t.dynamodb.scan().table_name("camarad").consistent_read(true);
        let all = found
            .filter_expression("begins_with(PK, :audit)")
            .expression_attribute_values(
                ":audit",
                aws_sdk_dynamodb::types::AttributeValue::S("AUDIT#".into()),
            )
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .unwrap();
        let record = |item| serde_dynamo::from_item(item).unwrap();
        all.into_iter().map(record).collect()
    }

    /// Everything that is stored but what goes on by itself, or is counted before anything is decided: a running call's
    /// hold and its money, and guesses.
    pub async fn effects(&self) -> Vec<String> {
        let all = self.t.snapshot().await.into_iter();
        let by_itself = |item: &String| {
            ["\"CALL#", "\"LEDGER#", "\"2FA\""]
                .iter()
                .any(|own| item.contains(own))
        };
        all.filter(|item| !by_itself(item)).collect()
    }

    /// Somebody new.
    pub async fn person(&self, name: &str) -> Client {
        let address = format!("{name}.{}@example.com", UserId::new(self.t.app.clock()));
        let who = self.t.sign_up(&address.to_lowercase(), Plan::Agency).await;
        who.header("User-Agent", BROWSER)
    }

    /// A program that may do nothing.
    pub async fn program(&self, user: UserId) -> Client {
        let program = self.t.api_key(user, &[], None).await;
        program.header("User-Agent", BROWSER)
    }

    /// Somebody for whom this write succeeds.
    pub async fn ready(&self, route: &Route) -> Ready {
        let name = route.name();
        let ready = match route.path.as_str() {
            path if path.starts_with("/api/auth") => self.signing_in(route).await,
            path if path.starts_with("/api/users/") => Some(self.ending().await),
            path if path.starts_with("/api/user/security") => self.security(route).await,
            path if path.starts_with("/api/user") => self.account(route).await,
            path if path.starts_with("/api/agents") => self.agents(route).await,
            path if path.starts_with("/api/billing") => self.billing(route).await,
            path if path.starts_with("/api/workspaces") => self.workspaces(route).await,
            "/api/ledger/grant" => Some(self.grant().await),
            "/api/ledger/consume" => Some(self.debit().await),
            "/api/ledger/refund" => Some(self.refund().await),
            "/api/usage/record" => Some(scene(&self.t, self.operator().await).await),
            "/api/onboarding/complete" => {
                let who = self
                    .t
                    .newcomer("new@example.com")
                    .await
                    .header("User-Agent", BROWSER);
                Some(ready(
                    who.once("onboarding"),
                    "/api/onboarding/complete",
                    Some(wish()),
                ))
            }
            _ => None,
        };
        ready.unwrap_or_else(|| panic!("how does {name} succeed?"))
    }

    /// An operator who has just signed in.
    async fn at_work(&self) -> Client {
        let operator = match self.operator().await {
            Some(known) => self.t.sign_in(known).await,
            None => self.t.sign_up(OPERATOR, Plan::Personal).await,
        };
        operator.header("User-Agent", BROWSER)
    }

    async fn grant(&self) -> Ready {
        let to = self.person("ann").await.user;
        let operator = self.at_work().await;
        let body = json!({"userId": to, "amount": "10", "reason": "goodwill"});
        ready(operator.once("grant"), "/api/ledger/grant", Some(body))
    }

    async fn refund(&self) -> Ready {
        let payer = self.person("ann").await.user.unwrap();
        fund(&self.t, payer, Cbt::whole(1)).await;
        let call = spend(&self.t.app, payer, 60).await;
        // Its end is in the ledger's journal; the note that it comes back belongs to its row.
        ledger::flush(&self.t.app, payer).await.unwrap();
        let body = json!({"callId": call, "amount": "0.00001", "reason": "goodwill"});
        let operator = self.at_work().await;
        ready(operator.once("refund"), "/api/ledger/refund", Some(body))
    }

    /// Somebody whose session an operator ends.
    async fn ending(&self) -> Ready {
        let operator = self.at_work().await;
        let of = self.person("taken").await.user.unwrap();
        let path = format!("/api/users/{of}/sessions/revoke");
        ready(operator.once("ending"), &path, None)
    }

    async fn operator(&self) -> Option<UserId> {
        let all = self.t.snapshot().await;
        let profile = all.iter().find(|i| i.contains(&format!("S(\"{OPERATOR}\")")))?;
        let id = profile.split("\"USER#").nth(1)?.split('"').next()?;
        Some(id.parse().unwrap())
    }

    async fn account(&self, route: &Route) -> Option<Ready> {
        let body = match route.name().as_str() {
            "PATCH /api/user" => Some(json!({"name": "Annabel"})),
            "DELETE /api/user" => Some(json!({"confirm": "DELETE"})),
            "POST /api/user/export" => None,
            "PATCH /api/user/preferences" => Some(json!({"theme": "dark"})),
            _ => return None,
        };
        Some(ready(self.person("ann").await, &route.path, body))
    }

    /// Somebody who has a subscription at Stripe, or is about to begin one.
    async fn billing(&self, route: &Route) -> Option<Ready> {
        let body = match route.name().as_str() {
            "POST /api/billing/checkout" => Some(json!({"planId": "personal"})),
            "POST /api/billing/change-plan" => Some(json!({"planId": "business"})),
            "POST /api/billing/portal" => Some(json!({})),
            "POST /api/billing/topup" => Some(json!({"cbt": "10000"})),
            "POST /api/billing/cancel" | "POST /api/billing/resume" => None,
            _ => return None,
        };
        let name = format!("ann.{}", UserId::new(self.t.app.clock())).to_lowercase();
        let ann = self.shop.person(&name).await.header("User-Agent", BROWSER);
        if !route.path.ends_with("/checkout") {
            self.subscribe(&ann, "personal", GOOD).await;
            self.settle().await;
        }
        Some(ready(ann.once("billing"), &route.path, body))
    }

    async fn workspaces(&self, route: &Route) -> Option<Ready> {
        let body = match route.name().as_str() {
            "POST /api/workspaces" => Some(json!({"name": "Home", "type": "agency"})),
            "PATCH /api/workspaces/{id}" => Some(json!({"name": "Office"})),
            "DELETE /api/workspaces/{id}" => None,
            "POST /api/workspaces/{id}/agents" => Some(json!({"presetIds": ["ceo"]})),
            "PUT /api/workspaces/{id}/allocation" => Some(json!({"limit": "100"})),
            "PATCH /api/workspaces/{id}/settings" => Some(json!({"defaultTone": "technical"})),
            _ => return None,
        };
        let ann = self.person("ann").await;
        let home = workspace(&ann).await;
        Some(ready(ann, &route.path.replace("{id}", &home), body))
    }

    /// A request that is refused, and that the log has to tell of.
    pub async fn spoilt(&self, route: &Route) -> Ready {
        let mut ready = self.ready(route).await;
        match route.path.as_str() {
            VERIFY => self.t.clock.advance(SignedDuration::from_mins(16)),
            "/api/auth/refresh" => {
                let used = ready.body.clone();
                for _ in 0..2 {
                    let rotated = ready.who.send("POST", &route.path, ready.body.clone()).await;
                    let next = rotated.json(200)["refreshToken"].clone();
                    ready.body = Some(json!({"refreshToken": next}).to_string());
                }
                self.t.clock.advance(SignedDuration::from_secs(30));
                ready.body = used;
            }
            _ => {
                let mut body: Value = serde_json::from_str(ready.body.as_deref().unwrap()).unwrap();
                let right: u32 = body["code"].as_str().unwrap().parse().unwrap();
                body["code"] = format!("{:06}", (right + 500_000) % 1_000_000).into();
                ready.body = Some(body.to_string());
            }
        }
        ready
    }
}

pub fn ready(who: Client, path: &str, body: Option<Value>) -> Ready {
    Ready {
        user: who.user,
        who,
        path: path.to_owned(),
        body: body.map(|b| b.to_string()),
    }
}

/// A request without an access token, in the end this person's.
pub fn nobody_yet(person: &Client, path: &str, body: Value) -> Ready {
    let mut who = person.clone();
    who.token = None;
    ready(who, path, Some(body))
}
