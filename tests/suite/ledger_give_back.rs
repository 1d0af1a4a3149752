//! What operators give back of a call's charge: on record, once, and never more than was charged.

use camarad::domain::ledger::{self, REFUND_REQUESTED};
use camarad::domain::plans::Plan;
use camarad::ids::CallId;
use camarad::money::Cbt;
use camarad::store::record::OutboxRecord;
use camarad_tests::app::{Answer, Client, OPERATOR, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::desk::fund;
use crate::outbox::waiting;
use crate::quota::{hold, spend};

const PATH: &str = "/api/ledger/refund";

/// An operator, and somebody who had 100 micro-cbT and spent 60 of them on a call.
struct Scene {
    t: TestApp,
    operator: Client,
    ann: Client,
    call: CallId,
}

impl Scene {
    async fn new() -> Self {
        let t = TestApp::new().await;
        let operator = t.sign_up(OPERATOR, Plan::Personal).await;
        let ann = t.sign_up("ann@example.com", Plan::Personal).await;
        fund(&t, ann.user.unwrap(), Cbt::micro(100)).await;
        let call = spend(&t.app, ann.user.unwrap(), 60).await;
        Self {
            t,
            operator,
            ann,
            call,
        }
    }

    fn order(&self, amount: &str) -> Value {
        json!({"callId": self.call, "amount": amount, "reason": "the answer was empty"})
    }

    fn all(&self) -> Value {
        json!({"callId": self.call, "reason": "the answer was empty"})
    }

    async fn refund(&self, key: &str, order: Value) -> Answer {
        self.operator.once(key).post(PATH, order).await
    }

    async fn balance(&self) -> Value {
        self.ann.get("/api/ledger/balance").await.json(200)["balance"].clone()
    }
}

#[tokio::test]
async fn an_operator_gives_a_calls_charge_back_in_parts_and_then_the_rest() {
    let s = Scene::new().await;
    let part = s.refund("1", s.order("0.00002")).await.json(201);
    assert_eq!(
        (
            &part["amount"],
            &part["accountId"],
            &part["userId"],
            &part["callId"]
        ),
        (
            &json!("0.00002"),
            &json!(s.ann.user),
            &json!(s.ann.user),
            &json!(s.call)
        )
    );
    assert_eq!(s.balance().await, "0.00006");
    s.refund("2", s.order("0.000041"))
        .await
        .assert_problem(409, "refund_exceeds_charge");
    let rest = s.refund("3", s.all()).await.json(201);
    assert_eq!(rest["amount"], "0.00004");
    assert_eq!(s.balance().await, "0.0001");
    for order in [s.all(), s.order("0.000001")] {
        s.refund("4", order)
            .await
            .assert_problem(409, "refund_exceeds_charge");
    }
    let entry = s.ann.get("/api/ledger").await.json(200)["items"][0].clone();
    assert_eq!(
        (&entry["type"], &entry["delta"], &entry["reason"]),
        (
            &json!("refund"),
            &json!("0.00004"),
            &json!("the answer was empty")
        )
    );
    let records = s.t.snapshot().await;
    let audited = records
        .iter()
        .filter(|i| i.contains("ledger.refunded") && i.contains("AUDIT#platform"));
    assert_eq!(audited.count(), 2);
}

#[tokio::test]
async fn a_refund_happens_once_under_its_key_and_many_keys_bring_back_no_more_than_the_charge() {
    let s = Scene::new().await;
    let same = join_all((0..12).map(|_| s.refund("same", s.order("0.00001")))).await;
    assert!(
        same.iter().all(|a| (a.status, &a.body) == (201, &same[0].body)),
        "{same:?}"
    );
    assert_eq!(s.balance().await, "0.00005");
    s.refund("same", s.order("0.00002"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let keys: Vec<_> = (0..12).map(|n| n.to_string()).collect();
    let all = join_all(keys.iter().map(|key| s.refund(key, s.all()))).await;
    assert_eq!(all.iter().filter(|a| a.status == 201).count(), 1, "{all:?}");
    for refused in all.iter().filter(|a| a.status != 201) {
        refused.assert_problem(409, "refund_exceeds_charge");
    }
    assert_eq!(s.balance().await, "0.0001");
    // Also when there is nothing left to give back, the key is known.
    assert_eq!(s.refund("same", s.order("0.00001")).await.body, same[0].body);
    assert_eq!(s.balance().await, "0.0001");
}

#[tokio::test]
async fn a_refund_whose_function_died_is_paid_by_its_event_and_once() {
    let s = Scene::new().await;
    s.refund("1", s.order("0.00001")).await.json(201);
    let events = waiting(&s.t).await.into_iter();
    let mut events = events.map(|change| change.new.unwrap().read::<OutboxRecord>().unwrap());
    let mut event = events
        .find(|e| e.event_type == REFUND_REQUESTED)
        .expect("the event that pays");
    for _ in 0..2 {
        assert!(ledger::on_event(&s.t.app, &event).await.unwrap());
    }
    assert_eq!(s.balance().await, "0.00005", "it was paid before");
    // As if the function had died between the order and its payment.
    event.data["name"] = json!("another order");
    for _ in 0..2 {
        assert!(ledger::on_event(&s.t.app, &event).await.unwrap());
    }
    assert_eq!(s.balance().await, "0.00006");
}

#[tokio::test]
async fn what_cannot_be_given_back_is_told_and_changes_nothing() {
    let s = Scene::new().await;
    let running = hold(&s.t.app, s.ann.user.unwrap(), 5).await;
    ledger::flush(&s.t.app, s.ann.user.unwrap()).await.unwrap();
    let before = s.t.snapshot().await;
    let mut unknown = s.all();
    unknown["callId"] = json!(CallId::new(s.t.app.clock()));
    s.refund("k", unknown).await.assert_invalid("callId");
    let mut runs = s.all();
    runs["callId"] = json!(running.call);
    // Told by its journal or by its row, whichever has it.
    let early = s.refund("k", runs).await;
    assert!([409, 422].contains(&early.status), "{}", early.body);
    for amount in ["0", "-1", "x"] {
        s.refund("k", s.order(amount)).await.assert_invalid("amount");
    }
    let mut silent = s.all();
    silent["reason"] = json!("");
    s.refund("k", silent).await.assert_invalid("reason");
    s.operator
        .post(PATH, s.all())
        .await
        .assert_invalid("header.Idempotency-Key");
    let owner = s.ann.once("k").post(PATH, s.all()).await;
    owner.assert_problem(403, "forbidden");
    let nobody = s.t.anonymous().once("k").post(PATH, s.all()).await;
    nobody.assert_problem(401, "unauthenticated");
    assert_eq!(s.t.snapshot().await, before);
    let stale = s.t.later(&s.operator, SignedDuration::from_hours(1)).await;
    let late = stale.once("k").post(PATH, s.all()).await;
    late.assert_problem(403, "step_up_required");
    let left = ledger::balance(&s.t.app, s.ann.user.unwrap()).await.unwrap();
    assert_eq!(left.balance, Cbt::micro(40));
}
