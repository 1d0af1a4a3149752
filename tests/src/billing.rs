//! The Stripe peer beside a `TestApp`: what a person does at Stripe, and the way of its news to us, step by step.

use std::time::Duration;

use camarad::clock::{Clock, SystemClock};
use camarad::lambda::batch::Message;
use camarad::ports::stripe::signature;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::app::{Client, Setup, TestApp, WEBHOOK_SECRET};
use crate::peers::stripe::StripePeer;

/// An event as Stripe would post it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its type.
    pub event_type: String,
    /// Its body.
    pub body: String,
}

/// A `TestApp` with a Stripe of its own.
pub struct Shop {
    /// Camarad.
    pub t: TestApp,
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Shop {
    /// With our prices, and webhooks that wait until they are taken.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    /// The same over whatever else `setup` names.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn with(setup: Setup) -> Self {
        let base = StripePeer::shared()
            .await
            .expect("the Stripe peer starts")
            .base
            .clone();
        let t = TestApp::with(Setup {
            stripe: Some(base.clone()),
            ..setup
        })
        .await;
        let shop = Self {
            http: camarad::ports::web::client().expect("a client"),
            key: format!("sk_test_{}{}", t.account, std::process::id()),
            base,
            t,
        };
        shop.t.stripe_key(&shop.key).await;
        shop.peer("webhooks", json!({"hold": true})).await;
        // On a busy machine some seconds have passed since the app's clock was set, and Stripe's time does not go back.
        let behind = SystemClock.now().duration_since(shop.t.app.clock().now());
        shop.t.clock.advance(behind + SignedDuration::from_secs(2));
        let now = shop.t.app.clock().now().as_second();
        shop.peer("time", json!({"now": now, "freeze": true})).await;
        shop.form(
            "webhook_endpoints",
            &[("url", "http://127.0.0.1:9/"), ("enabled_events[0]", "*")],
        )
        .await;
        let catalogue = camarad::domain::plans::catalogue();
        for (kind, interval) in [("plans", "month"), ("topUps", "")] {
            for price in catalogue[kind].as_array().expect("prices") {
                shop.price(price, interval).await;
            }
        }
        shop
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
        let sent = self
            .http
            .get(format!("{}/_peer/requests", self.base))
            .bearer_auth(&self.key);
        let all: Value = sent.send().await.expect("an answer").json().await.expect("JSON");
        let all = all.as_array().or(all["data"].as_array()).expect("a list").clone();
        all.into_iter().filter(|call| call["method"] == method).collect()
    }

    /// Time passes, here and there.
    pub async fn pass(&self, by: SignedDuration) {
        self.t.clock.advance(by);
        let now = self.t.app.clock().now().as_second();
        self.peer("time", json!({"now": now, "freeze": true})).await;
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
            event_type: event["type"].as_str().expect("a type").into(),
            body: event["body"].as_str().expect("a body").into(),
        };
        all.iter().map(told).collect()
    }

    /// Stripe posts an event now.
    pub async fn tell(&self, told: &Told) -> crate::app::Answer {
        self.post(
            &told.body,
            &self.signature(told.body.as_bytes(), self.t.app.clock().now()),
        )
        .await
    }

    /// Somebody posts this with this signature.
    pub async fn post(&self, body: &str, signature: &str) -> crate::app::Answer {
        self.t
            .anonymous()
            .header("stripe-signature", signature)
            .header("content-type", "application/json")
            .send_bytes("POST", "/api/billing/webhook", body.as_bytes())
            .await
    }

    /// A good signature of that time.
    pub fn signature(&self, body: &[u8], at: Timestamp) -> String {
        signature::header(&SecretString::from(WEBHOOK_SECRET), body, at)
    }

    /// The orders in the billing queue, taken out.
    ///
    /// # Panics
    /// When the queue does not answer.
    pub async fn orders(&self) -> Vec<Message> {
        let url = self.t.app.config().billing_queue_url.clone().expect("a queue");
        let mut found = Vec::new();
        loop {
            let got = self
                .t
                .sqs
                .receive_message()
                .queue_url(&url)
                .max_number_of_messages(10)
                .send()
                .await
                .expect("the queue answers");
            let messages = got.messages.unwrap_or_default();
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                let handle = message.receipt_handle.expect("a handle");
                let deleted = self.t.sqs.delete_message().queue_url(&url).receipt_handle(handle);
                deleted.send().await.expect("deleted");
                found.push(Message {
                    id: message.message_id.expect("an id"),
                    body: message.body.expect("a body"),
                });
            }
        }
    }

    /// All that Stripe has to tell comes in, and is worked off.
    ///
    /// # Panics
    /// When something of it fails.
    pub async fn settle(&self) {
        for told in self.news().await {
            self.tell(&told).await.assert_empty(204);
        }
        let orders = self.orders().await;
        let failed = billing_consumer::handle(self.t.app.clone(), orders).await;
        assert!(failed.is_empty(), "{} orders failed", failed.len());
    }

    /// This person subscribes, with a card.
    ///
    /// # Panics
    /// When that does not succeed.
    pub async fn subscribe(&self, who: &Client, plan: &str, card: &str) {
        let page = who
            .once(&format!("subscribe {plan} {}", self.t.app.clock().now()))
            .post("/api/billing/checkout", json!({"planId": plan}))
            .await
            .json(201);
        self.pay(page["sessionId"].as_str().expect("a session"), card)
            .await;
    }

    /// A person pays on a page.
    pub async fn pay(&self, session: &str, card: &str) -> Value {
        self.peer(
            &format!("checkout/{session}"),
            json!({"card": card, "name": "Ann"}),
        )
        .await
    }

    /// The person's customer.
    ///
    /// # Panics
    /// When they are none.
    pub async fn customer(&self, who: &Client) -> String {
        let key = camarad::store::keys::account(who.user.expect("signed in"));
        let account = self.t.app.db().get::<camarad::domain::users::Account>(&key).await;
        let account = account.expect("the table answers").expect("an account");
        account.billing.customer.expect("a customer")
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

    /// What the account's owner sees.
    pub async fn subscription(&self, who: &Client) -> Value {
        who.get("/api/billing/subscription").await.json(200)
    }

    /// The ledger's entries, oldest first: what, how much, why.
    pub async fn entries(&self, who: &Client) -> Vec<(String, String, String)> {
        let page = who.get("/api/ledger?limit=100").await.json(200);
        let items = page["items"].as_array().expect("entries");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        items
            .iter()
            .rev()
            .map(|e| (text(&e["type"]), text(&e["delta"]), text(&e["reason"])))
            .collect()
    }
}

/// A card that works.
pub const GOOD: &str = "4242424242424242";
/// A card that is taken, and declined when it is charged.
pub const LATER_DECLINED: &str = "4000000000000341";

/// How long an answer to Stripe may take.
pub const ANSWER: Duration = Duration::from_secs(1);

/// That many days.
pub fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}
