//! Stripe: a stateful Node process (`tests/peers/stripe`, whose README says what it does), with an account for each test.

use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::PeerError;
use super::oidc::client;
use super::oidc::process::{Process, listening_on};

/// A card that is good.
pub const GOOD_CARD: &str = "4242424242424242";
/// A card that is refused at once.
pub const DECLINED_CARD: &str = "4000000000000002";
/// A card that can be kept, and is refused when it is charged.
pub const FAILING_CARD: &str = "4000000000000341";

/// A running peer. Its process ends when this is dropped, and with the test process in any case.
#[derive(Debug)]
pub struct StripePeer {
    /// What takes the place of `https://api.stripe.com`.
    pub base: String,
    accounts: AtomicU32,
    _process: Process,
}

/// An account at the peer, which no other test sees.
#[derive(Debug, Clone)]
pub struct StripeAccount {
    /// What takes the place of `https://api.stripe.com`.
    pub base: String,
    /// Its key, which opens it.
    pub secret_key: String,
    http: Client,
}

/// A webhook as Stripe would post it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Delivery {
    /// The event's id, `evt_…`.
    pub event: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The value of the header `Stripe-Signature`.
    pub signature: String,
    /// The body, to be sent as it is.
    pub body: String,
}

impl StripePeer {
    /// On a free port.
    pub async fn start() -> Result<Self, PeerError> {
        let (process, output) = Process::spawn("stripe", &["--port", "0"])?;
        Ok(Self {
            base: listening_on(output).await?,
            accounts: AtomicU32::new(0),
            _process: process,
        })
    }

    /// The one of this test binary, started by whoever asks first.
    pub async fn shared() -> Result<&'static Self, PeerError> {
        static SHARED: OnceCell<StripePeer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// An account that nobody has used, with connections of its own: those of another test end with its runtime.
    pub fn account(&self) -> Result<StripeAccount, PeerError> {
        let number = self.accounts.fetch_add(1, Ordering::Relaxed);
        Ok(StripeAccount {
            base: self.base.clone(),
            secret_key: format!("sk_test_account{number}"),
            http: client()?,
        })
    }
}

impl StripeAccount {
    /// The same account, with connections of its own.
    pub fn again(&self) -> Result<Self, PeerError> {
        Ok(Self {
            http: client()?,
            ..self.clone()
        })
    }

    /// `GET /v1…`; the path may have a query.
    pub async fn get(&self, path: &str) -> Result<Value, PeerError> {
        self.answer(self.to(Method::GET, path)).await
    }

    /// `POST /v1…` with a form.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Result<Value, PeerError> {
        self.answer(self.to(Method::POST, path).form(form)).await
    }

    /// `DELETE /v1…`.
    pub async fn delete(&self, path: &str) -> Result<Value, PeerError> {
        self.answer(self.to(Method::DELETE, path)).await
    }

    /// An order to the peer itself, such as `POST faults`; the path is that behind `/_peer/`.
    pub async fn order(&self, path: &str, order: &Value) -> Result<Value, PeerError> {
        let path = format!("/_peer/{path}");
        self.answer(self.to(Method::POST, &path).json(order)).await
    }

    /// Every call of `/v1` that came, oldest first.
    pub async fn requests(&self) -> Result<Vec<Value>, PeerError> {
        list(self.answer(self.to(Method::GET, "/_peer/requests")).await?)
    }

    /// Moves the account's clock on, and does all that becomes due on the way.
    pub async fn advance(&self, seconds: i64) -> Result<(), PeerError> {
        self.order("time", &json!({"advance": seconds})).await.map(drop)
    }

    /// Moves a test clock to a moment, in seconds since 1970.
    pub async fn advance_clock(&self, clock: &str, to: i64) -> Result<(), PeerError> {
        let path = format!("/v1/test_helpers/test_clocks/{clock}/advance");
        self.post(&path, &[("frozen_time", &to.to_string())])
            .await
            .map(drop)
    }

    /// A product with a price in US cents, monthly or once, to be found by its lookup key; the price's id.
    pub async fn price(&self, lookup_key: &str, cents: i64, monthly: bool) -> Result<String, PeerError> {
        let cents = cents.to_string();
        let mut form = vec![
            ("product_data[name]", lookup_key),
            ("lookup_key", lookup_key),
            ("unit_amount", &cents),
            ("currency", "usd"),
        ];
        if monthly {
            form.push(("recurring[interval]", "month"));
        }
        id(&self.post("/v1/prices", &form).await?)
    }

    /// Opens the page of a Checkout session (its `url`) and pays with a card: where the person is sent then.
    pub async fn pay(&self, page: &str, card: &str) -> Result<String, PeerError> {
        let form = [("card", card), ("country", "US"), ("email", "payer@example.com")];
        let answer = self.http.post(page).form(&form).send().await?;
        let status = answer.status();
        match answer.headers().get("location").and_then(|to| to.to_str().ok()) {
            Some(to) => Ok(to.to_owned()),
            None => Err(PeerError::Protocol(format!("{page} answers {status}"))),
        }
    }

    /// Registers an endpoint for all events; its secret. Without an address, what happens is held for [`Self::take`].
    pub async fn endpoint(&self, url: Option<&str>) -> Result<String, PeerError> {
        if url.is_none() {
            self.order("webhooks", &json!({"hold": true})).await?;
        }
        let form = [
            ("url", url.unwrap_or("http://127.0.0.1:9/held")),
            ("enabled_events[]", "*"),
        ];
        let made = self.post("/v1/webhook_endpoints", &form).await?;
        made["secret"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| PeerError::Protocol(format!("no secret in {made}")))
    }

    /// The webhooks that are held, oldest first, for the test to deliver.
    pub async fn take(&self) -> Result<Vec<Delivery>, PeerError> {
        self.taken(&json!({})).await
    }

    /// The webhooks that are held, shuffled by a seed, some of them twice.
    pub async fn take_shuffled(&self, seed: u64, duplicate_percent: u8) -> Result<Vec<Delivery>, PeerError> {
        self.taken(&json!({"seed": seed, "duplicatePercent": duplicate_percent}))
            .await
    }

    async fn taken(&self, which: &Value) -> Result<Vec<Delivery>, PeerError> {
        let taken = self.order("webhooks/take", which).await?;
        serde_json::from_value(taken).map_err(|error| PeerError::Protocol(error.to_string()))
    }

    fn to(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.secret_key)
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, PeerError> {
        let answer = request.send().await?;
        let status = answer.status();
        let body: Value = answer.json().await?;
        if status.is_success() {
            return Ok(body);
        }
        Err(PeerError::Protocol(format!("{status}: {}", body["error"])))
    }
}

fn id(made: &Value) -> Result<String, PeerError> {
    let id = made["id"].as_str().map(str::to_owned);
    id.ok_or_else(|| PeerError::Protocol(format!("no id in {made}")))
}

fn list(found: Value) -> Result<Vec<Value>, PeerError> {
    match found {
        Value::Array(entries) => Ok(entries),
        other => Err(PeerError::Protocol(format!("no list: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[tokio::test]
    async fn a_trial_becomes_a_paid_month_and_its_webhooks_can_be_taken() -> Result<(), PeerError> {
        let account = StripePeer::shared().await?.account()?;
        let price = account.price("camarad_personal_monthly", 1200, true).await?;
        account.endpoint(None).await?;
        let form = [
            ("mode", "subscription"),
            ("success_url", "http://127.0.0.1/done"),
            ("line_items[0][price]", &price),
            ("line_items[0][quantity]", "1"),
            ("subscription_data[trial_period_days]", "15"),
        ];
        let session = account.post("/v1/checkout/sessions", &form).await?;
        let page = session["url"].as_str().unwrap_or_default();
        assert!(account.pay(page, DECLINED_CARD).await.is_err());
        assert_eq!(account.pay(page, GOOD_CARD).await?, "http://127.0.0.1/done");
        account.advance(16 * DAY).await?;
        let found = account.get("/v1/subscriptions").await?;
        assert_eq!(found["data"][0]["status"], "active");
        let taken = account.take().await?;
        let paid = taken.iter().filter(|webhook| webhook.kind == "invoice.paid");
        assert_eq!(paid.count(), 2, "the trial's and the month's");
        assert!(taken.iter().all(|webhook| webhook.signature.starts_with("t=")));
        Ok(())
    }

    #[tokio::test]
    async fn accounts_do_not_see_each_other() -> Result<(), PeerError> {
        let peer = StripePeer::shared().await?;
        let (one, other) = (peer.account()?, peer.account()?);
        one.post("/v1/customers", &[("email", "ada@example.com")]).await?;
        let found = other.get("/v1/customers").await?;
        assert_eq!(found["data"], json!([]));
        assert_eq!(one.requests().await?.len(), 1);
        Ok(())
    }
}
