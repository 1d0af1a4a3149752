//! Quota warnings: 50, 80 and 100 percent of a period's grant, each told once.

use camarad::context::Context;
use camarad::domain::ledger::{
    self, Bill, CallStatus, Grant, LineReason, Operation, Period, Reservation, Until, Usage,
};
use camarad::domain::plans::Plan;
use camarad::domain::usage::quota;
use camarad::ids::{CallId, UserId};
use camarad::lambda::batch::Change;
use camarad::money::{Amount, Cbt, Positive};
use camarad::store::{Doc, cost, keys};
use camarad_tests::app::{Client, TestApp};
use camarad_tests::bank;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

/// Begins a period of thirty days with so many micro-cbT.
pub async fn begin(app: &camarad::app::App, account: UserId, start: Timestamp, quota: i64) {
    let end = start + SignedDuration::from_hours(24 * 30);
    let grant = Grant {
        operation: Operation::invoice("sub_1", start, &LineReason::Cycle),
        amount: Positive::new(Cbt::micro(quota)).unwrap(),
        reason: "a period".into(),
        until: Until::Unchanged,
        expires: Some(end),
        grace: SignedDuration::ZERO,
        period: Some(Period { start, end }),
    };
    ledger::grant(app, account, &grant).await.unwrap();
}

/// An AI call that costs so much.
pub async fn spend(app: &camarad::app::App, account: UserId, cost: i64) -> CallId {
    let held = hold(app, account, cost).await;
    let bill = Bill {
        call: held.call,
        account,
        memo: held.memo.clone(),
        charge: Amount::new(Cbt::micro(cost)).unwrap(),
        excess: Amount::ZERO,
        usage: Usage::default(),
        status: CallStatus::Completed,
        estimated: false,
        at: app.clock().now(),
    };
    let cause = Context::system("story", app.clock().now());
    let tx = ledger::bill_tx(app.tx(&cause), &bill).unwrap();
    tx.run().await.unwrap();
    ledger::end(app, &held, bill.charge).await.unwrap();
    held.call
}

/// What an AI call sets aside.
pub async fn hold(app: &camarad::app::App, account: UserId, amount: i64) -> Reservation {
    bank::held(app, &bank::request(app, account, amount)).await
}

async fn head(t: &TestApp, account: UserId) -> Option<Doc> {
    t.app.db().get_doc(&keys::ledger_head(account)).await.unwrap()
}

fn change(old: Option<Doc>, new: Option<Doc>) -> Change {
    Change {
        sequence: "1".into(),
        old,
        new,
        expired: false,
    }
}

/// Spends, and answers the change that the table's stream shows of it.
async fn spent(t: &TestApp, account: UserId, cost: i64) -> Change {
    let old = head(t, account).await;
    spend(&t.app, account, cost).await;
    change(old, head(t, account).await)
}

async fn shown(t: &TestApp, changes: Vec<Change>) {
    assert_eq!(outbox::handle(t.app.clone(), changes).await, None);
}

/// What somebody was told, oldest first.
async fn percents(who: &Client) -> Vec<i64> {
    let page = who.get("/api/notifications").await.json(200);
    let items = page["items"].as_array().unwrap().clone();
    assert!(items.iter().all(|n| n["type"] == "usage.quota_warning"), "{page}");
    items
        .iter()
        .rev()
        .map(|n| n["data"]["percent"].as_i64().unwrap())
        .collect()
}

async fn somebody(t: &TestApp, quota: i64) -> (Client, UserId) {
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let account = ann.user.unwrap();
    begin(&t.app, account, t.app.clock().now(), quota).await;
    (ann, account)
}

#[tokio::test]
async fn each_threshold_is_told_once_with_what_was_used() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    let mut changes = Vec::new();
    for (cost, expected) in [
        (499, &[][..]),
        (1, &[50]),
        (250, &[50]),
        (50, &[50, 80]),
        (200, &[50, 80, 100]),
    ] {
        let change = spent(&t, account, cost).await;
        changes.push(change.clone());
        shown(&t, vec![change]).await;
        assert_eq!(percents(&ann).await, expected, "after {cost}");
    }
    // What the stream shows again, in whatever order, tells nothing twice.
    changes.reverse();
    shown(&t, changes).await;
    assert_eq!(percents(&ann).await, [50, 80, 100]);
    let page = ann.get("/api/notifications").await.json(200);
    let data = &page["items"][1]["data"];
    assert_eq!(
        (&data["percent"], &data["used"], &data["quota"]),
        (&json!(80), &json!("0.0008"), &json!("0.001"))
    );
    let period: Vec<Timestamp> = ["periodStart", "periodEnd"]
        .map(|name| data[name].as_str().unwrap().parse().unwrap())
        .to_vec();
    assert_eq!(period[1].duration_since(period[0]).as_hours(), 24 * 30);
}

/// What stands between a debit and its warning is counted here, as seconds depend on the machine: no queue, no schedule and no
/// second pass through the stream, but the function that the debit's own change wakes, without a window in which changes
/// are gathered, and three requests, one after the other. How long that takes on a stack is told in `deployed::metering`.
#[tokio::test]
async fn between_a_debit_and_its_warning_stand_one_wake_and_three_requests() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    for (n, cost) in [500, 300, 200].into_iter().enumerate() {
        let change = spent(&t, account, cost).await;
        let passed = quota::passed(change.old.as_ref(), &change.new.unwrap()).unwrap();
        let (warned, took) = cost::metered(quota::warn(&t.app, &passed[0])).await;
        assert!(warned.unwrap());
        assert_eq!(percents(&ann).await.len(), n + 1, "it is there at once");
        assert_eq!(took.serial, REQUESTS, "{took:?}");
    }
    let template = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template = std::fs::read_to_string(template).unwrap();
    let function = template.split("\n  OutboxFunction:\n").nth(1).unwrap();
    let function = function.split("\n\n").next().unwrap();
    assert!(function.contains("Stream: !GetAtt Table.StreamArn"), "{function}");
    assert!(
        !function.contains("MaximumBatchingWindowInSeconds:"),
        "{function}"
    );
}

/// The mark with its notice; what the person wants to be told; the notice's row. Then the event leaves the outbox.
const REQUESTS: u32 = 3 + 1;

#[tokio::test]
async fn one_debit_that_passes_all_thresholds_tells_all_of_them() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    let first = spent(&t, account, 400).await;
    let second = spent(&t, account, 600).await;
    shown(&t, vec![first, second]).await;
    let mut told = percents(&ann).await;
    told.sort_unstable();
    assert_eq!(told, [50, 80, 100]);
}

#[tokio::test]
async fn a_new_period_is_warned_of_again_and_going_up_again_is_not() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    let up = spent(&t, account, 600).await;
    shown(&t, vec![up.clone()]).await;
    // As after a refund: below the threshold, and above it again.
    shown(&t, vec![change(up.new.clone(), up.old.clone()), up]).await;
    assert_eq!(percents(&ann).await, [50]);

    let start = t.app.clock().now() + SignedDuration::from_mins(1);
    let old = head(&t, account).await;
    begin(&t.app, account, start, 1_000).await;
    shown(&t, vec![change(old, head(&t, account).await)]).await;
    assert_eq!(percents(&ann).await, [50]);
    let up = spent(&t, account, 600).await;
    shown(&t, vec![up]).await;
    assert_eq!(percents(&ann).await, [50, 50]);
}

#[tokio::test]
async fn parallel_debits_and_workers_tell_each_threshold_once() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    join_all((0..20).map(|_| spend(&t.app, account, 50))).await;
    let image = head(&t, account).await;
    // Workers that each see a change of their own from nothing to everything.
    let workers = (0..8).map(|_| outbox::handle(t.app.clone(), vec![change(None, image.clone())]));
    assert!(join_all(workers).await.into_iter().all(|failed| failed.is_none()));
    let mut told = percents(&ann).await;
    told.sort_unstable();
    assert_eq!(told, [50, 80, 100]);
}

#[tokio::test]
async fn what_the_stream_dropped_is_told_at_night() {
    let t = TestApp::new().await;
    let (ann, account) = somebody(&t, 1_000).await;
    spend(&t.app, account, 850).await;
    let swept = quota::sweep(&t.app).await.unwrap();
    assert_eq!((swept.warned, swept.failed), (2, 0));
    assert_eq!(quota::sweep(&t.app).await.unwrap().warned, 0);
    let mut told = percents(&ann).await;
    told.sort_unstable();
    assert_eq!(told, [50, 80]);
    let flush: scheduled::Job = serde_json::from_value(json!({"job": "flush-ledgers"})).unwrap();
    spend(&t.app, account, 150).await;
    scheduled::handle(t.app.clone(), flush).await.unwrap();
    assert_eq!(percents(&ann).await.len(), 3);
}

#[tokio::test]
async fn without_a_period_or_a_person_nobody_is_told() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    crate::desk::fund(&t, ann.user.unwrap(), Cbt::micro(1_000)).await;
    let top_up = spent(&t, ann.user.unwrap(), 1_000).await;
    let nobody = UserId::new(t.app.clock());
    begin(&t.app, nobody, t.app.clock().now(), 1_000).await;
    let of_nobody = spent(&t, nobody, 1_000).await;
    shown(&t, vec![top_up, of_nobody]).await;
    assert_eq!(percents(&ann).await, Vec::<i64>::new());
    let table = t.snapshot().await;
    assert!(!table.iter().any(|i| i.contains("quota-warned")));
    assert!(!table.iter().any(|i| i.contains("notice.raised")));
}
