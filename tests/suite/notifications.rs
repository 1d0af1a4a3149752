//! Notices: whoever should know is told, once.

use camarad::context::Context;
use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::notifications::{self, Notice};
use camarad::domain::outbox;
use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::NotificationType;
use camarad::ids::UserId;
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::outbox::wake;

fn payment_failed(user: UserId, invoice: &str) -> Notice {
    Notice {
        user,
        kind: NotificationType::PaymentFailed,
        data: json!({"invoiceId": invoice}),
        dedupe: invoice.into(),
    }
}

/// Stages a notice in a transaction of its own.
async fn raise(t: &TestApp, notice: &Notice) {
    let cause = Context::system("tests", t.app.clock().now());
    let tx = notifications::stage(t.app.tx(&cause), notice).unwrap();
    tx.run().await.unwrap();
}

/// Tells somebody this, as the table's stream would have it told.
pub async fn tell(t: &TestApp, user: UserId, data: Value) {
    let notice = Notice {
        data,
        ..payment_failed(user, "in_1")
    };
    raise(t, &notice).await;
    assert_eq!(wake(t).await, None);
}

/// What the stream overlooked is published a minute later.
async fn publish(t: &TestApp) {
    t.clock.advance(SignedDuration::from_mins(2));
    let swept = outbox::sweep(&t.app).await.unwrap();
    assert_eq!(swept.failed, 0);
}

async fn told(who: &Client) -> Vec<Value> {
    let page = who.get("/api/notifications").await.json(200);
    page["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_notice_reaches_its_person_and_nobody_else() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let bob = t.sign_up("bob@example.com", Plan::Personal).await;
    let before = t.app.clock().now();
    raise(&t, &payment_failed(ann.user.unwrap(), "in_1")).await;
    assert_eq!(
        told(&ann).await,
        Vec::<Value>::new(),
        "not before it is published"
    );
    publish(&t).await;
    let notices = told(&ann).await;
    assert_eq!(notices.len(), 1);
    assert_eq!(
        (&notices[0]["type"], &notices[0]["data"]),
        (&json!("payment.failed"), &json!({"invoiceId": "in_1"}))
    );
    let at: jiff::Timestamp = notices[0]["createdAt"].as_str().unwrap().parse().unwrap();
    assert!(at >= before && at < before + SignedDuration::from_mins(1));
    assert_eq!(told(&bob).await, Vec::<Value>::new());
    t.anonymous()
        .get("/api/notifications")
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_occasion_is_told_once_however_often_it_is_staged_and_published() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let user = ann.user.unwrap();
    for _ in 0..3 {
        raise(&t, &payment_failed(user, "in_1")).await;
        t.clock.advance(SignedDuration::from_mins(2));
        let sweeps = join_all((0..4).map(|_| outbox::sweep(&t.app))).await;
        assert!(sweeps.into_iter().all(|swept| swept.is_ok()));
    }
    let ann = t.sign_in(user).await;
    assert_eq!(told(&ann).await.len(), 1);
    raise(&t, &payment_failed(user, "in_2")).await;
    publish(&t).await;
    assert_eq!(told(&ann).await.len(), 2);
}

#[tokio::test]
async fn notices_come_newest_first_in_pages_and_are_over_after_ninety_days() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    for n in 0..5 {
        raise(&t, &payment_failed(ann.user.unwrap(), &format!("in_{n}"))).await;
        publish(&t).await;
    }
    let first = ann.get("/api/notifications?limit=3").await.json(200);
    let cursor = first["nextCursor"].as_str().unwrap();
    let rest = ann
        .get(&format!("/api/notifications?limit=3&cursor={cursor}"))
        .await
        .json(200);
    assert_eq!(rest["nextCursor"], Value::Null);
    let pages = [&first, &rest];
    let seen = pages.iter().flat_map(|page| page["items"].as_array().unwrap());
    let invoices: Vec<_> = seen.map(|n| n["data"]["invoiceId"].as_str().unwrap()).collect();
    assert_eq!(invoices, ["in_4", "in_3", "in_2", "in_1", "in_0"]);
    ann.get("/api/notifications?cursor=AAAA")
        .await
        .assert_invalid("query.cursor");

    // What the table has not removed yet is over all the same.
    t.clock
        .advance(SignedDuration::from_hours(24 * 90) - SignedDuration::from_mins(5));
    let ann = t.sign_in(ann.user.unwrap()).await;
    let page = ann.get("/api/notifications?limit=3").await.json(200);
    let left: Vec<_> = page["items"].as_array().unwrap().iter().collect();
    assert_eq!(left.len(), 2, "{page}");
    assert_eq!(page["nextCursor"], Value::Null);
}

#[tokio::test]
async fn who_wants_no_such_notice_here_or_is_gone_gets_none() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let user = ann.user.unwrap();
    let patch = json!({"notifications": {"payment.failed": {"inApp": false}}});
    ann.patch("/api/user/preferences", patch).await.json(200);
    raise(&t, &payment_failed(user, "in_1")).await;
    let trial = Notice {
        kind: NotificationType::SubscriptionTrialEnding,
        ..payment_failed(user, "in_1")
    };
    raise(&t, &trial).await;
    raise(&t, &payment_failed(UserId::new(t.app.clock()), "in_1")).await;
    publish(&t).await;
    let kinds: Vec<_> = told(&ann).await.iter().map(|n| n["type"].clone()).collect();
    assert_eq!(kinds, [json!("subscription.trial_ending")]);
    let table = t.snapshot().await;
    assert_eq!(table.iter().filter(|i| i.contains("\"NTC#")).count(), 1);
    assert!(!table.iter().any(|i| i.contains("OUTBOX#")), "all are published");
}

#[tokio::test]
async fn a_key_reads_notices_with_the_scope_for_it_alone() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let user = ann.user.unwrap();
    raise(&t, &payment_failed(user, "in_1")).await;
    publish(&t).await;
    let reader = t.api_key(user, &[KeyScope::NotificationsRead], None).await;
    assert_eq!(told(&reader).await.len(), 1);
    let other = t.api_key(user, &[KeyScope::UsageRead], None).await;
    other
        .get("/api/notifications")
        .await
        .assert_problem(403, "insufficient_scope");
}
