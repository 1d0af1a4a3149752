//! Metering as it is deployed: warnings within a second of the debit, poison in the dead-letter queue and nothing else,
//! exports as a stream, events of services.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use camarad::app::App;
use camarad::clock::{Clock, Stopwatch, SystemClock};
use camarad::context::Context;
use camarad::domain::notifications::{self, Notice, Notification};
use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::NotificationType;
use camarad::ids::UserId;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::OPERATOR;
use camarad_tests::deployed::{self, Deployed, eventually, lambda};
use camarad_tests::visitor::Visitor;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::event_functions::{send, usage_message};
use super::{counted, text, workspace};
use crate::quota::{begin, spend};

/// How long after a debit its warning may come.
const SOON: Duration = Duration::from_secs(1);

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each of six debits is judged, beside a control: a notice that is committed right after the debit, and goes the same way
/// through the table's stream into the same function and out of it as a row. A warning that takes more than a second must not
/// take more than twice as long as that: so a machine that has other things to do slows both, and is no failure, while any
/// step that only warnings take (a queue, a schedule, a second pass through the stream) shows with each of the six. That the
/// way itself is no longer than a second shows in the best of the controls. What the function does between the two is
/// counted, not timed, in `quota`.
#[tokio::test]
async fn outbox_warns_of_a_quota_within_a_second_of_each_debit() {
    let d = deployed::shared().await;
    let ann = d.sign_in("quota").await;
    let bob = d.sign_in("quota.control").await;
    let (user, control) = (id(&ann).await, id(&bob).await);
    let app = d.app(Arc::new(SystemClock));
    let mut took = Vec::new();
    for period in 0..2 {
        let start = SystemClock.now() + SignedDuration::from_mins(period);
        begin(&app, user, start, 1_000_000).await;
        for (percent, cost) in [(50, 500_000), (80, 300_000), (100, 200_000)] {
            let wanted = took.len() + 1;
            spend(&app, user, cost).await;
            let watch = Stopwatch::start();
            tell(&app, control, wanted).await;
            let (mut warned, mut passed) = (None, None);
            while warned.is_none() || passed.is_none() {
                assert!(
                    watch.elapsed() < PATIENCE,
                    "no warning of {percent} %: {warned:?} {passed:?}"
                );
                if warned.is_none() && notices(&app, user).await == wanted {
                    warned = Some(watch.elapsed());
                }
                if passed.is_none() && notices(&app, control).await == wanted {
                    passed = Some(watch.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            took.extend(warned.zip(passed));
        }
    }
    deployed::progress(&format!("quota warnings and their controls came after {took:?}"));
    for (warned, passed) in &took {
        assert!(
            *warned < SOON.max(*passed * 2),
            "{warned:?}, and {passed:?} on the same way: {took:?}"
        );
    }
    let best = took.iter().map(|(_, passed)| *passed).min().unwrap();
    assert!(best < SOON, "{took:?}");
    let page = ann.get("/api/notifications").await.json(200);
    let told: Vec<_> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["data"]["percent"].clone())
        .collect();
    assert_eq!(told, [100, 80, 50, 100, 80, 50].map(|n| json!(n)));
}

async fn id(who: &Visitor) -> UserId {
    text(&who.get("/api/user").await.json(200), "id").parse().unwrap()
}

/// Commits a notice for somebody, which the table's stream brings to its row.
async fn tell(app: &App, user: UserId, n: usize) {
    let now = app.clock().now();
    let notice = Notice {
        user,
        kind: NotificationType::SubscriptionRenewed,
        data: json!({}),
        dedupe: format!("control {n}"),
    };
    let cause = Context::system("story", now);
    let tx = notifications::stage(app.tx(&cause), &notice).unwrap();
    tx.run().await.unwrap();
}

async fn notices(app: &App, user: UserId) -> usize {
    let page = app
        .db()
        .list::<Notification>(&keys::notices(user), &PageRequest::default(), true)
        .await;
    page.unwrap().items.len()
}

#[tokio::test]
async fn metering_consumer_leaves_poison_and_nothing_else_in_the_dead_letter_queue() {
    let d = deployed::alone().await;
    let ann = d.sign_in("poison").await;
    let (workspace, agents) = workspace(&ann, &["ceo"]).await;
    let user = text(&ann.get("/api/user").await.json(200), "id");
    patience(&d, "1").await;
    let mut poison = usage_message(&user, &workspace, &agents[0]);
    poison["data"]["inputTokens"] = json!(-1);
    let good: Vec<_> = (0..8)
        .map(|_| usage_message(&user, &workspace, &agents[0]))
        .collect();
    for message in good.iter().chain([&poison]).chain(&good[..3]) {
        send(&d, message).await;
    }
    let dead = eventually("dead letter", async || letter(&d).await).await;
    patience(&d, "360").await;
    assert_eq!(dead, poison);
    assert_eq!(letter(&d).await, None, "nothing else is dead");
    assert_eq!(counted(&ann, &workspace, 8).await["totals"]["calls"], 8);
}

/// How long the queue waits before it delivers what was given back: minutes in the template.
async fn patience(d: &Deployed, seconds: &str) {
    let set = d
        .sqs()
        .set_queue_attributes()
        .queue_url(d.output("MeteringQueueUrl"));
    let set = set.attributes(QueueAttributeName::VisibilityTimeout, seconds);
    set.send().await.expect("the queue takes it");
}

/// Takes a dead letter out of its queue.
async fn letter(d: &Deployed) -> Option<Value> {
    let url = d.output("MeteringDeadLettersUrl");
    let got = d.sqs().receive_message().queue_url(url).send().await.unwrap();
    let message = got.messages().first()?.clone();
    let delete = d.sqs().delete_message().queue_url(url);
    let delete = delete.receipt_handle(message.receipt_handle().unwrap());
    delete.send().await.unwrap();
    Some(serde_json::from_str(message.body().unwrap()).unwrap())
}

#[tokio::test]
async fn usage_takes_events_of_services_divides_them_and_streams_them_as_a_file() {
    let d = deployed::shared().await;
    let ann = d.sign_in("export").await;
    let (workspace, agents) = workspace(&ann, &["ceo"]).await;
    let user = text(&ann.get("/api/user").await.json(200), "id");
    let operator = d.sign_in_as(OPERATOR, Plan::Personal).await;
    let made = operator
        .post(
            "/api/user/security/api-keys",
            json!({"name": "Importer", "scopes": ["usage:record"]}),
        )
        .await
        .json(201);
    let mut event = usage_message(&user, &workspace, &agents[0]);
    event["source"] = json!("camarad/importer");
    let service = d.visitor().with_token(&text(&made, "key"));
    let service = service.header("content-type", "application/cloudevents+json");
    let done = service.post("/api/usage/record", event.clone()).await.json(202);
    assert_eq!(done["accepted"], 1);
    counted(&ann, &workspace, 1).await;
    let shares = ann
        .get(&format!("/api/usage/breakdown?workspaceId={workspace}"))
        .await
        .json(200);
    assert_eq!(shares["items"][0]["costPercent"], 100.0, "{shares}");
    let path = "/api/usage/export";
    let query = format!("workspaceId={workspace}");
    let file = d.streamed_with("usage", &ann, ("GET", path, &query), None).await;
    assert_eq!(file.status, 200, "{}", file.body);
    let rows: Vec<_> = file.body.lines().collect();
    assert!(rows[1].contains(&text(&event["data"], "callId")), "{}", file.body);
    assert!(rows[2].starts_with("end,rows=1,sha256="), "{}", file.body);
    let stranger = d.sign_in("export.stranger").await;
    let refused = d
        .streamed_with("usage", &stranger, ("GET", path, &query), None)
        .await;
    assert_eq!(refused.status, 404);
    let flush = d
        .invoke("scheduled", &lambda::sample("scheduled-flush.json"))
        .await;
    assert_eq!(flush, Value::Null);
}
