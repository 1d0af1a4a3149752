//! What billing costs in DynamoDB, and how often it asks Stripe.

use camarad::domain::billing::event::{EventState, StripeEvent};
use camarad::domain::billing::worker;
use camarad::store::{cost, keys};
use camarad_tests::app::{Answer, Client};
use camarad_tests::billing::{GOOD, Shop, days};
use serde_json::{Value, json};

use super::Ledger;

/// What asks Stripe is counted there.
struct Counter<'a> {
    l: &'a mut Ledger,
    shop: &'a Shop,
}

impl Counter<'_> {
    async fn row(&mut self, route: &str, note: &str, request: impl Future<Output = Answer>) -> Answer {
        let before = self.shop.all_calls().await.len();
        let answer = request.await;
        let asked = self.shop.all_calls().await.len() - before;
        self.l.paid_row(route, note, &answer, asked);
        answer
    }

    async fn get(&mut self, who: &Client, path: &str, note: &str) -> Answer {
        let route = format!("GET {}", path.split('?').next().unwrap());
        self.row(&route, note, who.get(path)).await
    }

    async fn post(&mut self, who: &Client, path: &str, (note, body): (&str, Value)) -> Answer {
        let who = who.once(&format!("{path}: {note}"));
        self.row(&format!("POST {path}"), note, who.post(path, body))
            .await
    }

    /// A look at a customer, which is the queue's to order.
    async fn look(&mut self, customer: &str, note: &str) {
        let before = self.shop.all_calls().await.len();
        let (done, cost) = cost::metered(worker::look(&self.shop.t.app, customer)).await;
        done.unwrap();
        let asked = self.shop.all_calls().await.len() - before;
        self.l.line("(billing-consumer: a look)", note, cost, asked);
    }

    /// The first event whose order the queue took in time, and the same again; and all that Stripe has to tell.
    async fn news(&mut self) {
        const ROUTE: &str = "POST /api/billing/webhook";
        let mut told = self.shop.news().await.into_iter();
        for event in told.by_ref() {
            let before = self.shop.all_calls().await.len();
            let answer = self.shop.tell(&event).await;
            let asked = self.shop.all_calls().await.len() - before;
            let key = keys::stripe_event(&event.event);
            let stored: StripeEvent = self.shop.t.app.db().get(&key).await.unwrap().unwrap();
            if stored.state == EventState::Ordered {
                self.l.paid_row(ROUTE, "an event", &answer, asked);
                self.row(ROUTE, "the same again", self.shop.tell(&event)).await;
                break;
            }
        }
        for event in told {
            self.shop.deliver(&event).await;
        }
    }
}

/// Somebody subscribes, pays, changes and ends.
pub(super) async fn billing(l: &mut Ledger, shop: &Shop) {
    let mut c = Counter { l, shop };
    let bea = shop.person("bea").await;
    c.get(&bea, "/api/billing/plans", "").await;
    c.get(&bea, "/api/billing/subscription", "of none").await;
    c.get(&bea, "/api/billing/payment-method", "of no customer").await;
    let page = json!({"planId": "personal"});
    let path = "/api/billing/checkout";
    let first = c.post(&bea, path, ("who is no customer yet", page.clone())).await;
    let again = bea.once(&format!("{path}: who is no customer yet"));
    let replayed = c
        .row(
            "POST /api/billing/checkout",
            "the same key again",
            again.post(path, page.clone()),
        )
        .await;
    assert_eq!(replayed.json(201), first.json(201), "the same page");
    let second = c.post(&bea, path, ("a customer, one page", page)).await;
    assert_ne!(first.json(201)["sessionId"], second.json(201)["sessionId"]);
    shop.pay(second.json(201)["sessionId"].as_str().unwrap(), GOOD)
        .await;
    c.news().await;
    shop.orders().await; // carried out here, where they are measured
    let customer = shop.customer(&bea).await;
    c.look(&customer, "that finds a trial").await;
    c.look(&customer, "that finds no news").await;
    let bea = shop.later(&bea, days(16)).await;
    changes(&mut c, &bea).await;
}

async fn changes(c: &mut Counter<'_>, bea: &Client) {
    c.get(bea, "/api/billing/subscription", "").await;
    c.get(bea, "/api/billing/payment-method", "").await;
    c.get(bea, "/api/billing/invoices", "of two").await;
    c.get(
        bea,
        "/api/billing/change-plan/preview?planId=business",
        "a larger plan",
    )
    .await;
    let larger = json!({"planId": "business"});
    c.post(bea, "/api/billing/change-plan", ("a larger plan", larger))
        .await;
    c.shop.settle().await;
    let smaller = json!({"planId": "personal"});
    c.post(bea, "/api/billing/change-plan", ("a smaller plan", smaller))
        .await;
    c.shop.settle().await;
    c.post(bea, "/api/billing/cancel", ("", json!({}))).await;
    c.post(bea, "/api/billing/resume", ("", json!({}))).await;
    c.post(bea, "/api/billing/portal", ("", json!({}))).await;
    c.post(bea, "/api/billing/topup", ("", json!({"cbt": "10000"})))
        .await;
}
