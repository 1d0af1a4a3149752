//! The ledger's routes: what an account's owner sees, and grants by operators.

use camarad::domain::ledger;
use camarad::domain::plans::Plan;
use camarad_tests::app::{Client, OPERATOR, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// An operator and a customer.
async fn people(t: &TestApp) -> (Client, Client) {
    (
        t.sign_up(OPERATOR, Plan::Personal).await,
        t.sign_up("ann@example.com", Plan::Personal).await,
    )
}

fn order(to: &Client, amount: &str) -> Value {
    json!({"userId": to.user, "amount": amount, "reason": "welcome"})
}

async fn balance(of: &Client) -> String {
    of.get("/api/ledger/balance").await.json(200)["balance"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_operator_grants_and_the_owner_sees_it_at_once() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    let granted = operator
        .once("g1")
        .post("/api/ledger/grant", order(&ann, "12.5"))
        .await
        .json(201);
    assert_eq!(
        (&granted["amount"], &granted["reason"]),
        (&json!("12.5"), &json!("welcome"))
    );
    let now = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(
        now,
        json!({"balance": "12.5", "available": "12.5", "held": "0", "lots": [], "used": "0", "quota": "0"})
    );
    let history = ann.get("/api/ledger").await.json(200);
    let entry = &history["items"][0];
    assert_eq!(
        (&entry["type"], &entry["delta"], &entry["balance"]),
        (&json!("grant"), &json!("12.5"), &json!("12.5"))
    );
    assert_eq!((&entry["seq"], &entry["reason"]), (&json!(1), &json!("welcome")));
    assert_eq!(balance(&operator).await, "0", "nobody else has it");
}

#[tokio::test]
async fn the_same_key_grants_once_and_another_body_is_refused() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    let sender = operator.once("g1");
    let answers = join_all((0..20).map(|_| sender.post("/api/ledger/grant", order(&ann, "3")))).await;
    assert!(
        answers
            .iter()
            .all(|a| (a.status, &a.body) == (201, &answers[0].body)),
        "{answers:?}"
    );
    assert_eq!(balance(&ann).await, "3");
    let audits = t
        .snapshot()
        .await
        .iter()
        .filter(|item| item.contains("ledger.granted") && item.contains("AUDIT#platform"))
        .count();
    assert_eq!(audits, 1);
    sender
        .post("/api/ledger/grant", order(&ann, "4"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    operator
        .once("g2")
        .post("/api/ledger/grant", order(&ann, "4"))
        .await
        .json(201);
    assert_eq!(balance(&ann).await, "7");
}

#[tokio::test]
async fn an_order_whose_function_died_is_carried_out_by_its_event() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    let granted = operator
        .once("g1")
        .post("/api/ledger/grant", order(&ann, "3"))
        .await
        .json(201);
    // What the publisher sees when the function died right after the order, and when it did not.
    let event = camarad::store::record::OutboxRecord {
        id: camarad::ids::EventId::new(t.app.clock()),
        event_type: ledger::GRANT_REQUESTED.into(),
        at: t.app.clock().now(),
        data: granted.clone(),
    };
    assert!(ledger::on_event(&t.app, &event).await.unwrap());
    assert_eq!(balance(&ann).await, "3", "it was carried out before");
    let mut other = event.clone();
    other.data["operationId"] = json!(camarad::ids::OperationId::new(t.app.clock()));
    assert!(ledger::on_event(&t.app, &other).await.unwrap());
    assert!(ledger::on_event(&t.app, &other).await.unwrap());
    assert_eq!(balance(&ann).await, "6", "it was not");
}

/// The same session with a fresh token, long after its sign-in.
async fn an_hour_later(t: &TestApp, who: &Client) -> Client {
    t.later(who, SignedDuration::from_hours(1)).await
}

#[tokio::test]
async fn only_a_fresh_operator_grants() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    let before = t.snapshot().await;
    ann.once("g1")
        .post("/api/ledger/grant", order(&ann, "3"))
        .await
        .assert_problem(403, "forbidden");
    t.anonymous()
        .once("g1")
        .post("/api/ledger/grant", order(&ann, "3"))
        .await
        .assert_problem(401, "unauthenticated");
    let stale = an_hour_later(&t, &operator).await;
    stale
        .once("g1")
        .post("/api/ledger/grant", order(&ann, "3"))
        .await
        .assert_problem(403, "step_up_required");
    assert_eq!(t.snapshot().await, before);
}

#[tokio::test]
async fn a_bad_grant_names_its_field_and_changes_nothing() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    let before = t.snapshot().await;
    let post = |body: Value| {
        let sender = operator.once("g1");
        async move { sender.post("/api/ledger/grant", body).await }
    };
    for amount in ["0", "-1", "1.0000001", "1000000000001", "NaN"] {
        post(order(&ann, amount)).await.assert_invalid("amount");
    }
    post(json!({"userId": ann.user, "amount": 5, "reason": "x"}))
        .await
        .assert_invalid("amount");
    post(json!({"userId": "usr_nobody", "amount": "5", "reason": "x"}))
        .await
        .assert_invalid("userId");
    let stranger = camarad::ids::UserId::new(t.app.clock());
    post(json!({"userId": stranger, "amount": "5", "reason": "x"}))
        .await
        .assert_invalid("userId");
    post(json!({"userId": ann.user, "amount": "5", "reason": ""}))
        .await
        .assert_invalid("reason");
    operator
        .post("/api/ledger/grant", order(&ann, "5"))
        .await
        .assert_invalid("header.Idempotency-Key");
    assert_eq!(t.snapshot().await, before);
}

#[tokio::test]
async fn the_history_is_walked_without_gap_or_repeat() {
    let t = TestApp::new().await;
    let (operator, ann) = people(&t).await;
    for n in 1..=5 {
        operator
            .once(&format!("g{n}"))
            .post("/api/ledger/grant", order(&ann, "1"))
            .await
            .json(201);
        if n == 3 {
            ledger::flush(&t.app, ann.user.unwrap()).await.unwrap();
        }
    }
    let mut seen = Vec::new();
    let mut path = "/api/ledger?limit=2".to_owned();
    loop {
        let page = ann.get(&path).await.json(200);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|e| e["seq"].as_u64().unwrap()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/ledger?limit=2&cursor={cursor}");
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    ann.get("/api/ledger?cursor=QUFB")
        .await
        .assert_invalid("query.cursor");
    ann.get("/api/ledger?limit=0").await.assert_invalid("query.limit");
}
