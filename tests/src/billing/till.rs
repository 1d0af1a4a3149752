//! What is done at the Stripe peer itself: by the person who pays, by Stripe's time, by who sets it up.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::peers::stripe::StripePeer;

/// An event as Stripe would post it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its id.
    pub event: String,
    /// Its type.
    pub event_type: String,
    /// Its body.
    pub body: String,
}

/// An account at the Stripe peer.
pub struct Till {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Till {
    /// Where the peer is that `Till::open` finds an account at.
    ///
    /// # Panics
    /// When the peer does not start.
    pub async fn base() -> String {
        let peer = StripePeer::shared().await.expect("the Stripe peer starts");
        peer.base.clone()
    }

    /// An account for this app, whose `Setup::stripe` is `Till::base`: with our prices, and webhooks that wait until they
    /// are taken.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn open(t: &TestApp) -> Self {
        let till = Self {
            // Each call on a connection of its own: what the peer closes after a pause is then never written to.
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(0)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
            key: format!("sk_test_{}{}", t.account, std::process::id()),
            base: Self::base().await,
        };
        t.stripe_key(&till.key).await;
        till.peer("webhooks", json!({"hold": true})).await;
        // Its time stands first, and never goes back: the app's goes on to it.
        let stood = till.peer("time", json!({"freeze": true})).await;
        let stood = Timestamp::from_second(stood["now"].as_i64().expect("a time")).expect("a time");
        let behind = stood.duration_since(t.app.clock().now());
        t.clock
            .advance(behind.max(SignedDuration::ZERO) + SignedDuration::from_secs(1));
        till.stand(t).await;
        till.form(
            "webhook_endpoints",
            &[("url", "http://127.0.0.1:9/"), ("enabled_events[0]", "*")],
        )
        .await;
        let portal = [
            ("features[payment_method_update][enabled]", "true"),
            ("metadata[camarad]", "as in stories"),
        ];
        till.form("billing_portal/configurations", &portal).await;
        let catalogue = camarad::domain::plans::catalogue();
        for (kind, interval) in [("plans", "month"), ("topUps", "")] {
            for price in catalogue[kind].as_array().expect("prices") {
                till.price(price, interval).await;
            }
        }
        till
    }

    /// Stripe's time stands where the app's does.
    pub async fn stand(&self, t: &TestApp) {
        let now = t.app.clock().now().as_second();
        self.peer("time", json!({"now": now, "freeze": true})).await;
    }

    async fn price(&self, price: &Value, interval: &str) {
        let text = |name: &str| price[name].as_str().unwrap_or_default().to_owned();
        let product = self.form("products", &[("name", &text("name"))]).await;
        let (amount, product) = (
            price["priceCents"].to_string(),
            product["id"].as_str().expect("an id"),
        );
        let lookup = text("lookupKey");
        let mut fields = vec![
            ("product", product),
            ("unit_amount", &amount),
            ("currency", "usd"),
            ("lookup_key", &lookup),
        ];
        if !interval.is_empty() {
            fields.push(("recurring[interval]", interval));
        }
        self.form("prices", &fields).await;
    }

    /// A call of Stripe's API that is none of ours.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Value {
        let sent = self
            .http
            .post(format!("{}/v1/{path}", self.base))
            .bearer_auth(&self.key);
        let answer = sent.form(fields).send().await.expect("the peer answers");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "POST /v1/{path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Something that Stripe has.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn read(&self, path: &str) -> Value {
        let sent = self
            .http
            .get(format!("{}/v1/{path}", self.base))
            .bearer_auth(&self.key);
        let answer = sent.send().await.expect("the peer answers");
        answer.json().await.expect("JSON")
    }

    /// Something that Stripe has goes.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn remove(&self, path: &str) {
        let sent = self.http.delete(format!("{}/v1/{path}", self.base));
        let answer = sent
            .bearer_auth(&self.key)
            .send()
            .await
            .expect("the peer answers");
        assert!(
            answer.status().is_success(),
            "DELETE /v1/{path}: {}",
            answer.status()
        );
    }

    /// Something that is done to the peer.
    ///
    /// # Panics
    /// When it does not do it.
    pub async fn peer(&self, path: &str, order: Value) -> Value {
        let sent = self
            .http
            .post(format!("{}/_peer/{path}", self.base))
            .bearer_auth(&self.key);
        let answer = sent.json(&order).send().await.expect("the peer answers");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "POST /_peer/{path}: {status} {body}");
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// Nothing is wrong with Stripe any more.
    ///
    /// # Panics
    /// When the peer does not answer.
    pub async fn heal(&self) {
        let sent = self.http.delete(format!("{}/_peer/faults", self.base));
        let answer = sent
            .bearer_auth(&self.key)
            .send()
            .await
            .expect("the peer answers");
        assert!(answer.status().is_success(), "{}", answer.status());
    }

    /// The calls that Stripe got from us, of this method.
    ///
    /// # Panics
    /// When the peer does not answer.
    pub async fn calls(&self, method: &str) -> Vec<Value> {
        let mut all = self.all_calls().await;
        all.retain(|call| call["method"] == method);
        all
    }

    /// All of them.
    ///
    /// # Panics
    /// When the peer does not answer.
    pub async fn all_calls(&self) -> Vec<Value> {
        let sent = self
            .http
            .get(format!("{}/_peer/requests", self.base))
            .bearer_auth(&self.key);
        let all: Value = sent.send().await.expect("an answer").json().await.expect("JSON");
        all.as_array().or(all["data"].as_array()).expect("a list").clone()
    }

    /// What Stripe has to tell, taken from its hands.
    ///
    /// # Panics
    /// When the peer does not answer.
    pub async fn news(&self) -> Vec<Told> {
        let taken = self.peer("webhooks/take", json!({})).await;
        let all = taken
            .as_array()
            .or(taken["data"].as_array())
            .expect("a list")
            .clone();
        let told = |event: &Value| Told {
            event: event["event"].as_str().expect("an id").into(),
            event_type: event["type"].as_str().expect("a type").into(),
            body: event["body"].as_str().expect("a body").into(),
        };
        all.iter().map(told).collect()
    }

    /// A person pays on a page.
    pub async fn pay(&self, session: &str, card: &str) -> Value {
        self.peer(
            &format!("checkout/{session}"),
            json!({"card": card, "name": "Ann"}),
        )
        .await
    }

    /// A person tries to pay on a page; whether that came to something.
    ///
    /// # Panics
    /// When the peer does not answer.
    pub async fn try_pay(&self, session: &str, card: &str) -> bool {
        let url = format!("{}/_peer/checkout/{session}", self.base);
        let sent = self.http.post(url).bearer_auth(&self.key);
        let answer = sent.json(&json!({"card": card, "name": "Ann"})).send().await;
        answer.expect("the peer answers").status().is_success()
    }

    /// The customer pays with another card from now on.
    pub async fn replace_card(&self, customer: &str, card: &str) {
        let method = self
            .form(
                "payment_methods",
                &[
                    ("type", "card"),
                    ("card[number]", card),
                    ("card[exp_month]", "12"),
                    ("card[exp_year]", "2034"),
                    ("card[cvc]", "123"),
                ],
            )
            .await;
        let id = method["id"].as_str().expect("an id");
        self.form(&format!("payment_methods/{id}/attach"), &[("customer", customer)])
            .await;
        self.form(
            &format!("customers/{customer}"),
            &[("invoice_settings[default_payment_method]", id)],
        )
        .await;
        let all = self.read(&format!("subscriptions?customer={customer}")).await;
        for subscription in all["data"].as_array().expect("a list") {
            let path = format!("subscriptions/{}", subscription["id"].as_str().expect("an id"));
            self.form(&path, &[("default_payment_method", id)]).await;
        }
    }
}
