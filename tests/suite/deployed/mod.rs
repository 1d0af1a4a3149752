//! The second layer: native functions behind the deployed template, IAM enforced. The main job, and one story per
//! function, for wiring and permissions; what the functions do in all cases is told in process.

mod api_functions;
mod billing;
mod event_functions;
mod main_job;
mod metering;
mod onboarding;
mod permissions;

use camarad_tests::deployed::eventually;
use camarad_tests::visitor::Visitor;
use serde_json::{Value, json};

/// A new workspace with these agents: its id and theirs.
async fn workspace(owner: &Visitor, presets: &[&str]) -> (String, Vec<String>) {
    let made = owner
        .post("/api/workspaces", json!({"name": "Home", "type": "business"}))
        .await;
    let workspace = text(&made.json(201), "id");
    let path = format!("/api/workspaces/{workspace}/agents");
    let made = owner.post(&path, json!({"presetIds": presets})).await.json(201);
    let agents = made["items"].as_array().expect("agents");
    (workspace, agents.iter().map(|agent| text(agent, "id")).collect())
}

fn text(value: &Value, name: &str) -> String {
    let found = value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name}: {value}"));
    found.to_owned()
}

/// The balance, once the trial's grant has come.
async fn granted(owner: &Visitor) -> String {
    eventually("trial grant", async || {
        let balance = owner.get("/api/ledger/balance").await.json(200);
        let balance = text(&balance, "balance");
        (balance != "0").then_some(balance)
    })
    .await
}

/// The sums of a workspace's usage, once `calls` calls have been counted.
async fn counted(owner: &Visitor, workspace: &str, calls: u64) -> Value {
    let path = format!("/api/usage/stats?workspaceId={workspace}&range=day&groupBy=agent");
    eventually("count of the calls", async || {
        let stats = owner.get(&path).await.json(200);
        (stats["totals"]["calls"].as_u64() >= Some(calls)).then_some(stats)
    })
    .await
}
