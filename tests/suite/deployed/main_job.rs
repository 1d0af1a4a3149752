//! The product's main job, through every deployed part of it.

use camarad::clock::SystemClock;
use camarad::ids::UserId;
use camarad::money::Cbt;
use camarad::store::keys;
use camarad_tests::deployed::{self, Deployed, eventually};
use camarad_tests::peers::ai::{Call, Received, Wire, compose};
use camarad_tests::sse::{self, Heard};
use camarad_tests::visitor::Visitor;
use serde_json::{Value, json};

use super::{counted, granted, text, workspace};

const QUESTION: &str = "We have twelve paying customers. What should the main job be this week?";

#[tokio::test]
async fn somebody_signs_in_asks_an_agent_and_pays_for_exactly_what_came() {
    let d = deployed::shared().await;
    let ann = d.sign_in("main.job").await;
    let user: UserId = text(&ann.get("/api/user").await.json(200), "id").parse().unwrap();
    assert_eq!(granted(&ann).await, "40000");
    let (workspace, agents) = workspace(&ann, &["ceo", "cto"]).await;

    let receipt = ask(&d, &ann, &agents[0]).await;
    let cost = cbt(&receipt["cost"]);
    assert!(cost > Cbt::ZERO, "{receipt}");

    assert_ledger(&ann, cost).await;
    assert_journal_moves_into_rows(&d, user).await;

    let stats = counted(&ann, &workspace, 1).await;
    assert_eq!(stats["totals"]["calls"], 1);
    assert_eq!(stats["totals"]["cost"], receipt["cost"]);
    let events = ann
        .get(&format!("/api/usage?workspaceId={workspace}"))
        .await
        .json(200);
    assert_eq!(events["items"][0]["callId"], receipt["callId"], "{events}");
}

/// Asks, checks what was heard against what the provider said, and gives the receipt.
async fn ask(d: &Deployed, ann: &Visitor, agent: &str) -> Value {
    let path = format!("/api/agents/{agent}/stream");
    let answer = d.post_streaming(ann, &path, &json!({"message": QUESTION})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/event-stream")
    );
    let heard = sse::hear_text(&answer.body).await;
    assert_eq!(
        (heard[0].name.as_str(), heard.last().unwrap().name.as_str()),
        ("start", "done")
    );
    assert_eq!(sse::text(&heard), said(&d.ai.requests()));

    let receipt = receipt(&heard);
    let read = ann
        .get(&format!("/api/agents/{agent}/calls/{}", text(&receipt, "callId")))
        .await;
    assert_eq!(read.json(200)["cost"], receipt["cost"]);
    receipt
}

/// What the provider answered to the question.
fn said(requests: &[Received]) -> String {
    let ours = requests.iter().find(|r| r.body.to_string().contains(QUESTION));
    let asked = ours.expect("the provider was asked");
    let wire = if asked.path.ends_with("/messages") {
        Wire::Anthropic
    } else {
        Wire::OpenAi
    };
    compose(&Call::parse(wire, &asked.body).expect("a call"))
}

fn receipt(heard: &[Heard]) -> Value {
    let receipt = &heard.last().unwrap().data["receipt"];
    assert_eq!(receipt["status"], "completed", "{receipt}");
    receipt.clone()
}

/// Grant, hold, consume; the deltas add up to the balance, and nothing is held any more.
async fn assert_ledger(ann: &Visitor, cost: Cbt) {
    let entries = ann.get("/api/ledger").await.json(200);
    let entries = entries["items"].as_array().unwrap();
    let kinds: Vec<_> = entries.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["consume", "hold", "grant"]);
    let sum: i128 = entries
        .iter()
        .map(|e| i128::from(cbt(&e["delta"]).as_micro()))
        .sum();
    let balance = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(sum, i128::from(cbt(&balance["balance"]).as_micro()));
    assert_eq!(cbt(&entries[0]["delta"]).as_micro(), -cost.as_micro());
    assert_eq!(balance["held"], "0");
}

/// The table's stream wakes the outbox function, which leaves no entry in the ledger's head.
async fn assert_journal_moves_into_rows(d: &Deployed, account: UserId) {
    let app = d.app(std::sync::Arc::new(SystemClock));
    eventually("flushed ledger", async || {
        let head = app
            .db()
            .get_doc(&keys::ledger_head(account))
            .await
            .unwrap()
            .unwrap();
        (head.field::<u32>("jn").unwrap() == Some(0)).then_some(())
    })
    .await;
}

fn cbt(value: &Value) -> Cbt {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}
