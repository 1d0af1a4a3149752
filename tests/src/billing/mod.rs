//! The Stripe peer beside a `TestApp`: what a person does at Stripe, and the way of its news to us, step by step.

pub mod slow;
mod till;

use std::ops::Deref;
use std::time::Duration;

use camarad::domain::billing::event::{EventState, StripeEvent};
use camarad::domain::outbox as domain_outbox;
use camarad::lambda::batch::Message;
use camarad::ports::stripe::signature;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::app::{Client, Setup, TestApp, WEBHOOK_SECRET};
use crate::faults::Faults;

pub use till::{Till, Told};

/// A `TestApp` with a Stripe of its own.
pub struct Shop {
    /// Camarad.
    pub t: TestApp,
    till: Till,
}

impl Deref for Shop {
    type Target = Till;

    fn deref(&self) -> &Till {
        &self.till
    }
}

impl Shop {
    /// With our prices, and webhooks that wait until they are taken.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    /// Over a table that can be told to fail.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn over(faults: &Faults) -> Self {
        Self::with(Setup {
            faults: Some(faults.clone()),
            ..Setup::default()
        })
        .await
    }

    /// The same over whatever else `setup` names.
    ///
    /// # Panics
    /// When the peer does not do as told.
    pub async fn with(setup: Setup) -> Self {
        let t = TestApp::with(Setup {
            stripe: Some(Till::base().await),
            ..setup
        })
        .await;
        let till = Till::open(&t).await;
        Self { t, till }
    }

    /// Somebody who has no subscription at Stripe.
    pub async fn person(&self, name: &str) -> Client {
        let address = format!("{name}@example.com");
        self.t.newcomer(&address).await
    }

    /// Time passes, and two hours more, so that what became due was charged; its news is worked off, and the person has
    /// signed in again.
    pub async fn later(&self, who: &Client, by: SignedDuration) -> Client {
        self.pass(by + SignedDuration::from_hours(2)).await;
        self.settle().await;
        self.t.sign_in(who.user.expect("signed in")).await
    }

    /// The types of what the person was told, newest first.
    ///
    /// # Panics
    /// When the events cannot be published.
    pub async fn notices(&self, who: &Client) -> Vec<String> {
        self.publish().await;
        let page = who.get("/api/notifications?limit=100").await.json(200);
        let items = page["items"].as_array().expect("notices");
        items
            .iter()
            .map(|n| n["type"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// What transactions have promised is done.
    ///
    /// # Panics
    /// When the table does not answer.
    pub async fn publish(&self) {
        self.t.clock.advance(SignedDuration::from_mins(2));
        domain_outbox::sweep(&self.t.app).await.expect("published");
    }

    /// Time passes, here and there.
    pub async fn pass(&self, by: SignedDuration) {
        self.t.clock.advance(by);
        self.stand(&self.t).await;
    }

    /// Stripe posts an event now.
    pub async fn tell(&self, told: &Told) -> crate::app::Answer {
        self.post(
            &told.body,
            &self.signature(told.body.as_bytes(), self.t.app.clock().now()),
        )
        .await
    }

    /// Stripe posts an event until it is taken and ordered: on a busy machine the queue may not take the order in the time
    /// that an answer has.
    ///
    /// # Panics
    /// When it is not.
    pub async fn deliver(&self, told: &Told) {
        for _ in 0..DELIVERIES {
            let answer = self.tell(told).await;
            if answer.status != 503 {
                answer.assert_empty(204);
                let key = camarad::store::keys::stripe_event(&told.event);
                let stored = self.t.app.db().get::<StripeEvent>(&key).await;
                let stored = stored.expect("the table answers").expect("it is stored");
                if stored.state != EventState::Waiting {
                    return;
                }
            }
        }
        panic!("{} is not taken", told.event_type);
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
        self.t.taken(|config| &config.billing_queue_url).await
    }

    /// All that Stripe has to tell comes in, and is worked off.
    ///
    /// # Panics
    /// When something of it fails.
    pub async fn settle(&self) {
        for told in self.news().await {
            self.deliver(&told).await;
        }
        self.work().await;
    }

    /// What is ordered is worked off.
    ///
    /// # Panics
    /// When something of it fails.
    pub async fn work(&self) {
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

/// How often an event is posted at most; Stripe does so for three days.
const DELIVERIES: usize = 10;

/// How long an answer to Stripe may take.
pub const ANSWER: Duration = Duration::from_secs(1);

/// That many days.
pub fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}
