//! Usage events of other services: checked one by one, counted once by their source and id.

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::plans::Plan;
use camarad::ids::{AgentId, UserId, WorkspaceId};
use camarad_tests::app::{Client, OPERATOR, TestApp, serve};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::audit_walk_scenes::{BROWSER, Ready};
use crate::usage::{deliver, message, recorded, stats, studio};

const ONE: &str = "application/cloudevents+json";
const MANY: &str = "application/cloudevents-batch+json";

/// A request that succeeds, as the audit walk sends it.
pub async fn scene(t: &TestApp, operator: Option<UserId>) -> Ready {
    let owner = match operator {
        Some(known) => known,
        None => t.sign_up(OPERATOR, Plan::Personal).await.user.unwrap(),
    };
    let program = t.api_key(owner, &[KeyScope::UsageRecord], None).await;
    Ready {
        who: program.header("User-Agent", BROWSER).header("Content-Type", ONE),
        path: "/api/usage/record".into(),
        body: Some(event_of_service(t).to_string()),
        user: Some(owner),
    }
}

/// An event of a service about a call of this moment.
fn event_of_service(t: &TestApp) -> Value {
    let clock = t.app.clock();
    let agent = AgentId::new(WorkspaceId::new(clock), clock);
    event(t, UserId::new(clock), agent)
}

fn event(t: &TestApp, user: UserId, agent: AgentId) -> Value {
    let clock = t.app.clock();
    let recorded = recorded(clock, (user, agent), "small", clock.now(), 7);
    let mut event: Value = serde_json::from_str(&message(0, &recorded).body).unwrap();
    event["source"] = json!("camarad/importer");
    event
}

async fn service(t: &TestApp) -> Client {
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let made = operator
        .post(
            "/api/user/security/api-keys",
            json!({"name": "Importer", "scopes": ["usage:record"]}),
        )
        .await
        .json(201);
    t.anonymous().with_token(made["key"].as_str().unwrap())
}

async fn send(who: &Client, media_type: &str, body: &Value) -> camarad_tests::app::Answer {
    let who = who.header("Content-Type", media_type);
    who.post("/api/usage/record", body.clone()).await
}

#[tokio::test]
async fn events_of_a_service_go_through_the_queue_and_are_counted_once() {
    let t = TestApp::new().await;
    let (ann, id, agent) = studio(&t, "ann@example.com").await;
    let user = ann.user.unwrap();
    let service = service(&t).await;
    let one = event(&t, user, agent);
    assert_eq!(
        send(&service, ONE, &one).await.json(202),
        json!({"accepted": 1, "refused": []})
    );
    let mut late = event(&t, user, agent);
    late["data"]["at"] = json!(t.app.clock().now() - SignedDuration::from_hours(24 * 89));
    // The same id is the same event, whatever else is in it.
    let mut again = event(&t, user, agent);
    again["id"] = one["id"].clone();
    let many = json!([late, one, again, event(&t, user, agent)]);
    assert_eq!(
        send(&service, MANY, &many).await.json(202),
        json!({"accepted": 4, "refused": []})
    );
    assert_eq!(
        stats(&ann, id, "").await["totals"]["calls"],
        0,
        "not before the consumer has it"
    );
    let messages = t.taken(|config| &config.metering_queue_url).await;
    assert_eq!(messages.len(), 1 + 3, "twice in one request is once in the queue");
    assert_eq!(deliver(&t, messages.clone()).await, Vec::<String>::new());
    assert_eq!(deliver(&t, messages).await, Vec::<String>::new());
    let year = stats(&ann, id, "&range=month").await;
    assert_eq!(
        (&year["totals"]["calls"], &year["totals"]["cost"]),
        (&json!(3), &json!("0.000021"))
    );
    assert_eq!(
        stats(&ann, id, "").await["totals"]["calls"],
        2,
        "a late one is counted in its own time"
    );
    let page = ann.get(&format!("/api/usage?workspaceId={id}")).await.json(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_wrong_is_refused_by_itself_and_changes_nothing() {
    let t = TestApp::new().await;
    let service = service(&t).await;
    let good = event_of_service(&t);
    let spoiled = |spoil: fn(&mut Value)| {
        let mut event = good.clone();
        spoil(&mut event);
        event
    };
    let mut early = good.clone();
    early["data"]["at"] = json!(t.app.clock().now() + SignedDuration::from_mins(6));
    let mut old = good.clone();
    old["data"]["at"] = json!(t.app.clock().now() - SignedDuration::from_hours(24 * 91));
    let bad = [
        (spoiled(|e| e["source"] = json!("elsewhere")), "source"),
        (spoiled(|e| e["source"] = json!("camarad")), "source"),
        (spoiled(|e| e["type"] = json!("x")), "type"),
        (spoiled(|e| e["data"]["inputTokens"] = json!(-1)), "data"),
        (early, "data.at"),
        (old, "data.at"),
    ];
    for (event, field) in &bad {
        send(&service, ONE, event).await.assert_invalid(field);
    }
    let mut all: Vec<_> = bad.iter().map(|(event, _)| event.clone()).collect();
    all.push(good.clone());
    let done = send(&service, MANY, &json!(all)).await.json(202);
    assert_eq!(done["accepted"], 1);
    let refused: Vec<_> = done["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["errors"][0]["field"].clone())
        .collect();
    assert_eq!(
        refused,
        bad.iter().map(|(_, field)| json!(field)).collect::<Vec<_>>()
    );
    assert_eq!(t.taken(|config| &config.metering_queue_url).await.len(), 1);
    send(&service, MANY, &json!([])).await.assert_invalid("body");
    send(&service, MANY, &good).await.assert_invalid("body");
    send(&service, MANY, &json!(vec![good.clone(); 101]))
        .await
        .assert_invalid("body");
    send(&service, "application/json", &good)
        .await
        .assert_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn only_a_service_of_an_operator_brings_events_and_only_as_long_as_they_are_one() {
    let t = TestApp::new().await;
    let good = event_of_service(&t);
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    send(&ann, ONE, &good).await.assert_problem(403, "forbidden");
    ann.post(
        "/api/user/security/api-keys",
        json!({"name": "Importer", "scopes": ["usage:record"]}),
    )
    .await
    .assert_problem(403, "forbidden");
    let hers = t.api_key(ann.user.unwrap(), &[KeyScope::UsageRecord], None).await;
    send(&hers, ONE, &good).await.assert_problem(403, "forbidden");
    let service = service(&t).await;
    send(&service, ONE, &good).await.json(202);
    let mut retired = t.app.config().clone();
    retired.operators.clear();
    let without = service.of(serve(&t.instance_with(retired)));
    send(&without, ONE, &good).await.assert_problem(403, "forbidden");
    let operator = t.sign_in(service_owner(&t).await).await;
    send(&operator, ONE, &good).await.assert_problem(403, "forbidden");
}

async fn service_owner(t: &TestApp) -> UserId {
    let all = t.snapshot().await;
    let profile = all
        .iter()
        .find(|i| i.contains(&format!("S(\"{OPERATOR}\")")))
        .unwrap();
    let id = profile
        .split("\"USER#")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    id.parse().unwrap()
}
