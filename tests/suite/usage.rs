//! Usage: each call counted once, whatever the queue does, and shown over time.

use std::collections::BTreeMap;

use camarad::clock::Clock;
use camarad::domain::cloud_event::CloudEvent;
use camarad::domain::ledger::{CallStatus, USAGE_RECORDED, Usage, UsageRecorded};
use camarad::domain::plans::Plan;
use camarad::ids::{AgentId, CallId, UserId, WorkspaceId};
use camarad::lambda::batch::{self, Message};
use camarad::money::Cbt;
use camarad_tests::app::stack::repository;
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::workspaces::workspace;

fn call(t: &TestApp, user: UserId, agent: AgentId, model: &str, at: Timestamp, micro: i64) -> UsageRecorded {
    recorded(t.app.clock(), (user, agent), model, at, micro)
}

/// A call of a person with an agent that cost so many micro-cbT.
pub fn recorded(
    clock: &dyn Clock,
    (user, agent): (UserId, AgentId),
    model: &str,
    at: Timestamp,
    micro: i64,
) -> UsageRecorded {
    UsageRecorded {
        call_id: CallId::new(clock),
        user_id: user,
        workspace_id: agent.workspace(),
        agent_id: agent,
        conversation_id: None,
        account: user,
        usage: Usage {
            request_id: Some("req-1".into()),
            provider: Some("openai".into()),
            model: Some(model.into()),
            price_version: Some("1".into()),
            input_tokens: 100,
            output_tokens: 20,
            cached_tokens: 10,
            provider_cost_micro_usd: 5,
            latency_ms: 300,
        },
        cost: Cbt::micro(micro),
        status: CallStatus::Completed,
        estimated: false,
        at,
    }
}

/// The message that the outbox sends for it, under an id of SQS.
pub fn message(id: usize, recorded: &UsageRecorded) -> Message {
    let event = CloudEvent {
        specversion: "1.0".into(),
        id: recorded.call_id.to_string(),
        source: "camarad".into(),
        event_type: USAGE_RECORDED.into(),
        time: recorded.at,
        datacontenttype: Some("application/json".into()),
        data: serde_json::to_value(recorded).unwrap(),
    };
    Message {
        id: format!("m{id}"),
        body: serde_json::to_string(&event).unwrap(),
    }
}

pub async fn deliver(t: &TestApp, messages: Vec<Message>) -> Vec<String> {
    metering_consumer::handle(t.app.clone(), messages).await
}

/// Somebody with a workspace, and an agent id in it.
pub async fn studio(t: &TestApp, email: &str) -> (Client, WorkspaceId, AgentId) {
    let ann = t.sign_up(email, Plan::Business).await;
    let id: WorkspaceId = workspace(&ann, "Studio").await.parse().unwrap();
    (ann, id, AgentId::new(id, t.app.clock()))
}

pub async fn stats(client: &Client, id: WorkspaceId, rest: &str) -> Value {
    client
        .get(&format!("/api/usage/stats?workspaceId={id}{rest}"))
        .await
        .json(200)
}

/// A shuffle that is the same in every run.
fn shuffled<T>(mut items: Vec<T>, seed: usize) -> Vec<T> {
    for n in (1..items.len()).rev() {
        items.swap(n, (n * 7_919 + seed * 104_729) % (n + 1));
    }
    items
}

#[tokio::test]
async fn redelivered_and_shuffled_messages_are_counted_once() {
    let t = TestApp::new().await;
    let (ann, one, a) = studio(&t, "ann@example.com").await;
    let (bob, two, b) = studio(&t, "bob@example.com").await;
    let now = t.app.clock().now();
    let events: Vec<_> = (0..150)
        .map(|n| {
            let (user, agent) = if n % 3 == 0 {
                (bob.user.unwrap(), b)
            } else {
                (ann.user.unwrap(), a)
            };
            let at = now - SignedDuration::from_mins(n * 7);
            call(&t, user, agent, ["small", "large"][(n % 2) as usize], at, n)
        })
        .collect();
    let twice: Vec<_> = events
        .iter()
        .chain(events.iter().step_by(2))
        .enumerate()
        .map(|(n, e)| message(n, e))
        .collect();
    for seed in 0..2 {
        let batches: Vec<Vec<Message>> = shuffled(twice.clone(), seed)
            .chunks(40)
            .map(<[Message]>::to_vec)
            .collect();
        let failed = join_all(batches.into_iter().map(|batch| deliver(&t, batch))).await;
        // What met too many others comes again, as SQS would bring it.
        let again: Vec<_> = twice
            .iter()
            .filter(|m| failed.iter().flatten().any(|id| *id == m.id))
            .cloned()
            .collect();
        assert_eq!(deliver(&t, again).await, Vec::<String>::new());
    }
    for (client, id, offset) in [(&ann, one, false), (&bob, two, true)] {
        let mine: Vec<_> = events.iter().filter(|e| e.workspace_id == id).collect();
        let cost = Cbt::micro(mine.iter().map(|e| e.cost.as_micro()).sum());
        for range in ["hour", "day", "month"] {
            for by in ["none", "agent", "model", "member"] {
                let totals = &stats(client, id, &format!("&range={range}&groupBy={by}")).await["totals"];
                assert_eq!(totals["calls"], mine.len(), "{range} {by} {offset}");
                assert_eq!(totals["cost"], cost.to_string());
                assert_eq!(totals["inputTokens"], 100 * mine.len());
            }
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_killed_in_the_middle_leaves_nothing_half_counted() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let now = t.app.clock().now();
    let messages: Vec<_> = (0..300)
        .map(|n| {
            message(
                n,
                &call(&t, ann.user.unwrap(), agent, &format!("m{}", n % 40), now, 1),
            )
        })
        .collect();
    for patience in [5, 15, 30, 60] {
        let work = deliver(&t, messages.clone());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(patience), work).await;
    }
    assert_eq!(deliver(&t, messages).await, Vec::<String>::new());
    for by in ["none", "model"] {
        assert_eq!(
            stats(&ann, id, &format!("&groupBy={by}")).await["totals"]["calls"],
            300,
            "{by}"
        );
    }
}

#[tokio::test]
async fn what_is_no_usage_event_comes_back_and_changes_nothing() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let now = t.app.clock().now();
    let good = call(&t, ann.user.unwrap(), agent, "small", now, 1);
    let spoiled = |spoil: fn(&mut Value)| {
        let mut event: Value = serde_json::from_str(&message(0, &good).body).unwrap();
        spoil(&mut event);
        event.to_string()
    };
    let future = message(
        0,
        &call(
            &t,
            ann.user.unwrap(),
            agent,
            "small",
            now + SignedDuration::from_mins(6),
            1,
        ),
    )
    .body;
    let bodies = [
        String::new(),
        "{".into(),
        "[]".into(),
        spoiled(|e| e["specversion"] = json!("0.3")),
        spoiled(|e| e["type"] = json!("com.camarad.usage.guessed")),
        spoiled(|e| e["id"] = json!("")),
        spoiled(|e| e["datacontenttype"] = json!("text/xml")),
        spoiled(|e| e["data"]["inputTokens"] = json!(-1)),
        spoiled(|e| e["data"]["cost"] = json!("-0.5")),
        spoiled(|e| e["data"]["outputTokens"] = json!(u64::MAX)),
        spoiled(|e| e["data"]["agentId"] = json!("agt_x")),
        spoiled(|e| e["data"]["workspaceId"] = json!("ws_00000000000000000000000000")),
        spoiled(|e| e["data"] = json!(null)),
        future,
    ];
    let before = t.snapshot().await;
    let messages: Vec<_> = bodies
        .into_iter()
        .enumerate()
        .map(|(n, body)| Message {
            id: format!("bad{n}"),
            body,
        })
        .collect();
    let all: Vec<_> = messages.iter().map(|m| m.id.clone()).collect();
    assert_eq!(deliver(&t, messages.clone()).await, all);
    assert_eq!(before, t.snapshot().await);

    let mixed = messages.into_iter().chain([message(1, &good)]).collect();
    assert_eq!(deliver(&t, mixed).await, all);
    assert_eq!(stats(&ann, id, "").await["totals"]["calls"], 1);
}

#[tokio::test]
async fn the_sample_event_is_counted() {
    let t = TestApp::new().await;
    let sample = std::fs::read_to_string(repository().join("events/sqs-metering.json")).unwrap();
    let messages = batch::messages(serde_json::from_str(&sample).unwrap());
    assert_eq!(messages.len(), 1);
    assert_eq!(deliver(&t, messages).await, Vec::<String>::new());
    let items = t.snapshot().await;
    assert_eq!(items.iter().filter(|i| i.contains("usageEvent")).count(), 1);
    assert_eq!(items.iter().filter(|i| i.contains("usageCounter")).count(), 9);
}

#[tokio::test]
async fn events_are_listed_newest_first_in_pages() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let now = t.app.clock().now();
    let events: Vec<_> = (0..5)
        .map(|n| {
            call(
                &t,
                ann.user.unwrap(),
                agent,
                "small",
                now - SignedDuration::from_secs(n),
                n,
            )
        })
        .collect();
    deliver(
        &t,
        events.iter().enumerate().map(|(n, e)| message(n, e)).collect(),
    )
    .await;
    let first = ann
        .get(&format!("/api/usage?workspaceId={id}&limit=3"))
        .await
        .json(200);
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = ann
        .get(&format!("/api/usage?workspaceId={id}&limit=3&cursor={cursor}"))
        .await
        .json(200);
    assert_eq!(second["nextCursor"], Value::Null);
    let seen: Vec<_> = [&first, &second]
        .iter()
        .flat_map(|p| p["items"].as_array().unwrap())
        .cloned()
        .collect();
    let ids: Vec<_> = seen
        .iter()
        .map(|e| e["callId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        events.iter().map(|e| e.call_id.to_string()).collect::<Vec<_>>()
    );
    assert_eq!(
        (&seen[1]["cost"], &seen[1]["status"], &seen[1]["inputTokens"]),
        (&json!("0.000001"), &json!("completed"), &json!(100))
    );
}

#[tokio::test]
async fn stats_fill_empty_buckets_and_divide_them() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let user = ann.user.unwrap();
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut failed = call(
        &t,
        user,
        agent,
        "large",
        at("2026-03-02T23:59:59.999Z"),
        2_500_000,
    );
    failed.status = CallStatus::Failed;
    let events = [
        call(&t, user, agent, "small", at("2026-03-01T00:00:00Z"), 1_000_000),
        call(&t, user, agent, "small", at("2026-03-02T12:00:00Z"), 500_000),
        failed,
        call(&t, user, agent, "small", at("2026-03-05T00:00:00Z"), 9),
    ];
    assert!(
        deliver(
            &t,
            events.iter().enumerate().map(|(n, e)| message(n, e)).collect()
        )
        .await
        .is_empty()
    );

    let span = "&from=2026-03-01T10:00:00Z&to=2026-03-05T00:00:00Z";
    let days = stats(&ann, id, &format!("&range=day&groupBy=model{span}")).await;
    let sums: Vec<_> = days["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (b["start"].as_str().unwrap(), b["calls"].as_i64().unwrap()))
        .collect();
    let expected = [
        ("2026-03-01T00:00:00Z", 1),
        ("2026-03-02T00:00:00Z", 2),
        ("2026-03-03T00:00:00Z", 0),
        ("2026-03-04T00:00:00Z", 0),
    ];
    assert_eq!(sums, expected);
    let groups: BTreeMap<_, _> = days["buckets"][1]["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| (g["key"].as_str().unwrap(), g["cost"].as_str().unwrap()))
        .collect();
    assert_eq!(groups, BTreeMap::from([("small", "0.5"), ("large", "2.5")]));
    assert_eq!(days["buckets"][2]["groups"], json!([]));
    let totals = json!({"calls": 3, "failures": 1, "inputTokens": 300, "outputTokens": 60, "cachedTokens": 30, "cost": "4", "averageLatencyMs": 300});
    assert_eq!(days["totals"], totals);
    assert_eq!(
        (&days["from"], &days["to"]),
        (&json!("2026-03-01T00:00:00Z"), &json!("2026-03-05T00:00:00Z"))
    );

    let hours = stats(
        &ann,
        id,
        "&range=hour&from=2026-03-02T00:00:00Z&to=2026-03-03T00:00:00Z",
    )
    .await;
    let calls: Vec<_> = hours["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["calls"].as_i64().unwrap())
        .collect();
    assert_eq!(
        (calls.len(), calls[12], calls[23], calls.iter().sum::<i64>()),
        (24, 1, 1, 2)
    );
    let months = stats(
        &ann,
        id,
        "&range=month&from=2026-01-01T00:00:00Z&to=2026-04-01T00:00:00Z",
    )
    .await;
    let calls: Vec<_> = months["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["calls"].as_i64().unwrap())
        .collect();
    assert_eq!(calls, [0, 0, 4]);
    assert_eq!(stats(&ann, id, "").await["buckets"].as_array().unwrap().len(), 30);
}

#[tokio::test]
async fn a_query_that_is_not_valid_names_its_parameter() {
    let t = TestApp::new().await;
    let (ann, id, _) = studio(&t, "ann@example.com").await;
    ann.get("/api/usage").await.assert_invalid("query.workspaceId");
    ann.get(&format!("/api/usage?workspaceId={id}&cursor=AAAA"))
        .await
        .assert_invalid("query.cursor");
    for (rest, field) in [
        ("range=week", "query.range"),
        ("timezone=Europe/Atlantis", "query.timezone"),
        ("groupBy=colour", "query.groupBy"),
        ("from=yesterday", "query.from"),
        ("from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z", "query.from"),
        ("range=hour&from=2020-01-01T00:00:00Z", "query.from"),
    ] {
        ann.get(&format!("/api/usage/stats?workspaceId={id}&{rest}"))
            .await
            .assert_invalid(field);
    }
    for (rest, field) in [
        ("groupBy=none", "query.groupBy"),
        ("timezone=%2B02:00", "query.timezone"),
        ("from=2020-01-01T00:00:00Z", "query.from"),
    ] {
        ann.get(&format!("/api/usage/breakdown?workspaceId={id}&{rest}"))
            .await
            .assert_invalid(field);
    }
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    bob.get(&format!("/api/usage/stats?workspaceId={id}&range=week"))
        .await
        .assert_problem(404, "not_found");
}
