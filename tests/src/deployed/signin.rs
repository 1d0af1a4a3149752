//! Signing in as a browser does: to the provider, through its page, and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use camarad::clock::SystemClock;
use camarad::domain::plans::Plan;
use serde_json::Value;

use super::{Deployed, PROVIDER};
use crate::app::{Answer, PUBLIC_URL, trial};
use crate::visitor::Visitor;

/// Somebody who has signed in.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Calls the API with the access token.
    pub visitor: Visitor,
    /// The tokens as sign-in answered them.
    pub tokens: Value,
}

impl std::ops::Deref for SignedIn {
    type Target = Visitor;
    fn deref(&self) -> &Visitor {
        &self.visitor
    }
}

impl Deployed {
    /// Signs in somebody new at `example.com`, and gives them a trial of the plan Business.
    pub async fn sign_in(&self, name: &str) -> SignedIn {
        self.sign_in_as(&format!("{name}@example.com"), Plan::Business)
            .await
    }

    /// The same, whoever that is, with a trial of `plan`.
    pub async fn sign_in_as(&self, email: &str, plan: Plan) -> SignedIn {
        let signed_in = self.newcomer(email).await;
        let id = signed_in.tokens["user"]["id"]
            .as_str()
            .and_then(|id| id.parse().ok());
        let app = self.app(Arc::new(SystemClock));
        trial::begin(&app, id.expect("a user"), plan).await;
        signed_in
    }

    /// Signs in through the provider, and no more: who is new has no subscription.
    pub async fn newcomer(&self, email: &str) -> SignedIn {
        let visitor = self.visitor();
        let login = format!("/api/auth/{PROVIDER}/login?mode=token");
        let away = visitor.get(&login).await;
        assert!([302, 303].contains(&away.status), "{away:?}");
        let there = away
            .header("location")
            .expect("the provider's address")
            .to_owned();
        let callback = self.at_the_provider(there, email.to_owned()).await;
        let back = callback
            .strip_prefix(PUBLIC_URL)
            .unwrap_or_else(|| panic!("sent to {callback}"));
        let tokens: Value = visitor
            .header("cookie", &cookies(&away))
            .get(back)
            .await
            .json(200);
        let token = tokens["accessToken"]
            .as_str()
            .unwrap_or_else(|| panic!("no token: {tokens}"));
        SignedIn {
            visitor: visitor.with_token(token),
            tokens,
        }
    }

    /// On the peers' own runtime, which their connections belong to.
    async fn at_the_provider(&self, url: String, email: String) -> String {
        let oidc = Arc::clone(&self.oidc);
        let login = self.runtime.spawn(async move { oidc.login(&url, &email).await });
        login.await.expect("no panic").expect("the provider signs in")
    }
}

/// The cookies that an answer sets, as the next request sends them.
fn cookies(answer: &Answer) -> String {
    let lines = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .filter_map(|v| v.to_str().ok());
    let pairs: BTreeMap<_, _> = lines
        .filter_map(|line| line.split(';').next()?.split_once('='))
        .collect();
    pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect::<Vec<_>>()
        .join("; ")
}
