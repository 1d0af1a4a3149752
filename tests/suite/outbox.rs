//! The outbox: what a transaction promised is done, once its stream or its sweeper gets to it.

use camarad::context::Context;
use camarad::domain::cloud_event::CloudEvent;
use camarad::domain::ledger::{self, GRANT_REQUESTED, USAGE_RECORDED};
use camarad::domain::outbox as domain_outbox;
use camarad::domain::plans::Plan;
use camarad::ids::OperationId;
use camarad::lambda::batch::{self, Change};
use camarad::money::Cbt;
use camarad::store::keys;
use camarad::store::record::OutboxRecord;
use camarad::store::{Entity, PageRequest};
use camarad_tests::app::TestApp;
use camarad_tests::app::stack::repository;
use camarad_tests::peers::ai::Behaviour;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::desk::{Desk, say};
use crate::workspaces::workspace;

async fn promise(t: &TestApp, event_type: &str, data: Value) {
    let context = Context::system("tests", t.app.clock().now());
    t.app
        .tx(&context)
        .event(event_type, data)
        .unwrap()
        .run()
        .await
        .unwrap();
}

/// What waits in the outbox, as the table's stream tells of it.
pub async fn waiting(t: &TestApp) -> Vec<Change> {
    let mut changes = Vec::new();
    for shard in 0..keys::SHARDS {
        for doc in t
            .app
            .db()
            .docs(&keys::outbox_shard(shard), &PageRequest::default())
            .await
            .unwrap()
        {
            changes.push(Change {
                sequence: (1_000 + changes.len()).to_string(),
                new: Some(doc),
                old: None,
                expired: false,
            });
        }
    }
    changes
}

/// Wakes the publisher with everything that waits.
pub async fn wake(t: &TestApp) -> Option<String> {
    outbox::handle(t.app.clone(), waiting(t).await).await
}

async fn queued(t: &TestApp) -> Vec<CloudEvent> {
    let taken = t.taken(|config| &config.metering_queue_url).await;
    let event = |message: &camarad::lambda::batch::Message| CloudEvent::parse(&message.body).unwrap();
    taken.iter().map(event).collect()
}

fn sample(name: &str) -> String {
    std::fs::read_to_string(repository().join("events").join(name)).unwrap()
}

#[tokio::test]
async fn a_usage_event_reaches_the_queue_as_a_cloud_event_and_leaves_the_outbox() {
    let t = TestApp::new().await;
    let before = t.app.clock().now();
    promise(&t, USAGE_RECORDED, json!({"callId": "call_x"})).await;
    let after = t.app.clock().now();
    assert_eq!(wake(&t).await, None);
    let events = queued(&t).await;
    assert_eq!(events.len(), 1);
    assert_eq!(
        (events[0].event_type.as_str(), &events[0].data),
        (USAGE_RECORDED, &json!({"callId": "call_x"}))
    );
    assert!((before..after).contains(&events[0].time));
    assert!(waiting(&t).await.is_empty());
}

#[tokio::test]
async fn many_events_fit_the_queues_batches() {
    let t = TestApp::new().await;
    for n in 0..25 {
        promise(&t, USAGE_RECORDED, json!({"n": n})).await;
    }
    assert_eq!(wake(&t).await, None);
    let mut seen = Vec::new();
    while seen.len() < 25 {
        let events = queued(&t).await;
        assert!(!events.is_empty(), "{seen:?}");
        seen.extend(events.iter().map(|e| e.data["n"].as_i64().unwrap()));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_operators_order_grants_its_cbt_once() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let user = ann.user.unwrap();
    let order = json!({
        "operationId": OperationId::new(t.app.clock()), "userId": user, "amount": "10000", "reason": "A gift",
        "at": t.app.clock().now(),
    });
    promise(&t, GRANT_REQUESTED, order).await;
    let changes = waiting(&t).await;
    assert_eq!(outbox::handle(t.app.clone(), changes.clone()).await, None);
    assert_eq!(outbox::handle(t.app.clone(), changes).await, None);
    let balance = serde_json::to_value(ledger::balance(&t.app, user).await.unwrap()).unwrap();
    assert!(balance.to_string().contains("\"10000\""), "{balance}");
    assert!(waiting(&t).await.is_empty());
}

#[tokio::test]
async fn an_unknown_event_stays_and_is_named_while_the_others_go() {
    let t = TestApp::new().await;
    promise(&t, USAGE_RECORDED, json!({"n": 1})).await;
    promise(&t, "com.camarad.nobody.knows", json!({})).await;
    promise(&t, USAGE_RECORDED, json!({"n": 2})).await;
    let changes = waiting(&t).await;
    let kind = |c: &Change| {
        c.new
            .as_ref()
            .unwrap()
            .field::<String>("eventType")
            .unwrap()
            .unwrap()
    };
    let unknown = changes
        .iter()
        .find(|c| kind(c) == "com.camarad.nobody.knows")
        .unwrap()
        .sequence
        .clone();
    assert_eq!(outbox::handle(t.app.clone(), changes).await, Some(unknown));
    let left = waiting(&t).await;
    assert_eq!(
        left.iter().map(kind).collect::<Vec<_>>(),
        ["com.camarad.nobody.knows"]
    );
    assert_eq!(queued(&t).await.len(), 2);
}

#[tokio::test]
async fn a_queue_that_is_gone_loses_no_event() {
    let t = TestApp::new().await;
    let url = t.app.config().metering_queue_url.clone().unwrap();
    t.sqs.delete_queue().queue_url(&url).send().await.unwrap();
    promise(&t, USAGE_RECORDED, json!({"n": 1})).await;
    assert_eq!(wake(&t).await, Some("1000".into()));
    assert_eq!(waiting(&t).await.len(), 1);
    t.sqs.create_queue().queue_name("metering").send().await.unwrap();
    t.clock.advance(SignedDuration::from_secs(61));
    let swept = domain_outbox::sweep(&t.app).await.unwrap();
    assert_eq!((swept.published, swept.failed), (1, 0));
    assert_eq!(queued(&t).await.len(), 1);
}

#[tokio::test]
async fn the_sweeper_leaves_young_rows_to_the_stream() {
    let t = TestApp::new().await;
    promise(&t, USAGE_RECORDED, json!({"n": "old"})).await;
    t.clock.advance(SignedDuration::from_secs(61));
    promise(&t, USAGE_RECORDED, json!({"n": "young"})).await;
    promise(&t, "com.camarad.nobody.knows", json!({})).await;
    scheduled::handle(
        t.app.clone(),
        serde_json::from_str(&sample("scheduled-sweep.json")).unwrap(),
    )
    .await
    .unwrap();
    let events = queued(&t).await;
    assert_eq!(events.iter().map(|e| &e.data["n"]).collect::<Vec<_>>(), ["old"]);
    assert_eq!(waiting(&t).await.len(), 2);
}

#[tokio::test]
async fn a_deleted_workspace_is_cleaned_up_by_the_outbox() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let agents = format!("/api/workspaces/{id}/agents");
    let made = ann
        .post(&agents, json!({"presetIds": ["ceo", "cto"]}))
        .await
        .json(201);
    let agent = made["items"][0]["id"].as_str().unwrap().to_owned();
    ann.delete(&format!("/api/agents/{agent}"))
        .await
        .assert_empty(204);
    ann.delete(&format!("/api/workspaces/{id}"))
        .await
        .assert_empty(204);
    assert_eq!(waiting(&t).await.len(), 2);
    assert_eq!(wake(&t).await, None);
    assert!(waiting(&t).await.is_empty());
    let left: Vec<_> = t
        .snapshot()
        .await
        .into_iter()
        .filter(|i| i.contains(&format!("WS#{id}")))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

#[tokio::test]
async fn the_conversations_of_a_deleted_agent_go_and_its_usage_stays() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::text("Hello."));
    let answer = d.chat("k", say("Hi")).await.json(200);
    let path = format!("/api/agents/{}", d.agent);
    d.ann.delete(&path).await.assert_empty(204);
    assert_eq!(wake(&d.t).await, None);
    let conversation = answer["conversationId"].as_str().unwrap();
    let items = d.t.snapshot().await;
    let left = |mark: &str| items.iter().filter(|i| i.contains(mark)).count();
    assert_eq!(
        (
            left(&format!("S(\"CNV#{conversation}")),
            left("CONVERSATIONS#"),
            left("GONE#")
        ),
        (0, 0, 0)
    );
    assert_eq!(queued(&d.t).await.len(), 1);
}

#[tokio::test]
async fn a_call_is_in_the_stats_with_exactly_what_its_receipt_says() {
    let d = Desk::open().await;
    for n in 0..3 {
        d.t.ai().push(Behaviour::text("Sell less, but dearer."));
        d.chat(&format!("k{n}"), say("What first?")).await.json(200);
    }
    assert_eq!(wake(&d.t).await, None);
    let events = queued(&d.t).await;
    let messages = events.iter().enumerate().map(|(n, event)| batch::Message {
        id: n.to_string(),
        body: serde_json::to_string(event).unwrap(),
    });
    let messages: Vec<_> = messages.collect();
    assert!(
        metering_consumer::handle(d.t.app.clone(), messages.clone())
            .await
            .is_empty()
    );
    assert!(
        metering_consumer::handle(d.t.app.clone(), messages)
            .await
            .is_empty()
    );

    let path = format!("/api/usage?workspaceId={}", d.workspace);
    let listed = d.ann.get(&path).await.json(200);
    let mut cost = Cbt::ZERO;
    for event in listed["items"].as_array().unwrap() {
        let receipt = d.receipt(&event["callId"]).await;
        for field in ["cost", "model", "inputTokens", "outputTokens"] {
            assert_eq!(event[field], receipt[field], "{field}");
        }
        cost = cost
            .checked_add(event["cost"].as_str().unwrap().parse().unwrap())
            .unwrap();
    }
    let path = format!("/api/usage/stats?workspaceId={}&groupBy=agent", d.workspace);
    let stats = d.ann.get(&path).await.json(200);
    assert_eq!(
        (&stats["totals"]["calls"], &stats["totals"]["cost"]),
        (&json!(3), &json!(cost.to_string()))
    );
    assert_eq!(stats["buckets"][29]["groups"][0]["key"], json!(d.agent));
    d.assert_spent(cost).await;
}

#[tokio::test]
async fn rows_that_expired_or_vanished_are_no_events() {
    let t = TestApp::new().await;
    promise(&t, USAGE_RECORDED, json!({})).await;
    let mut changes = waiting(&t).await;
    changes[0].expired = true;
    changes.push(Change {
        sequence: "2".into(),
        new: None,
        old: None,
        expired: false,
    });
    assert_eq!(outbox::handle(t.app.clone(), changes).await, None);
    assert!(queued(&t).await.is_empty());
}

#[tokio::test]
async fn the_sample_events_are_handled() {
    let t = TestApp::new().await;
    let changes = batch::changes(serde_json::from_str(&sample("dynamodb-stream-outbox.json")).unwrap());
    let image = changes[0].new.clone().unwrap();
    let record: OutboxRecord = image.clone().read().unwrap();
    assert_eq!(record.key(), image.key().unwrap());
    assert_eq!(outbox::handle(t.app.clone(), changes).await, None);
    let events = queued(&t).await;
    assert_eq!(events.len(), 1);
    let body = serde_json::to_string(&events[0]).unwrap();
    let messages = vec![batch::Message { id: "m".into(), body }];
    assert!(
        metering_consumer::handle(t.app.clone(), messages)
            .await
            .is_empty()
    );

    let heads = batch::changes(serde_json::from_str(&sample("dynamodb-stream-ledger-head.json")).unwrap());
    assert!(ledger::is_due(heads[0].new.as_ref().unwrap()).unwrap().is_some());
    assert_eq!(outbox::handle(t.app.clone(), heads).await, None);
    scheduled::handle(
        t.app.clone(),
        serde_json::from_str(&sample("scheduled-flush.json")).unwrap(),
    )
    .await
    .unwrap();
}
