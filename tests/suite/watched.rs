//! The third layer: `cargo lambda watch`, for what only real HTTP shows, and that a developer's loop works.

use std::time::Duration;

use camarad::domain::plans::Plan;
use camarad_tests::app::{Client, ORIGIN, Setup, TestApp, trial};
use camarad_tests::peers::ai::{AiPeer, Options};
use camarad_tests::sse::{self, Heard};
use camarad_tests::watched::Watched;
use serde_json::json;

/// Between two words of the provider's answer.
const PAUSE: Duration = Duration::from_millis(20);

/// Over a provider that speaks slowly enough to tell its words apart.
async fn test_app() -> TestApp {
    let options = Options {
        chunk_delay: PAUSE,
        ..Options::default()
    };
    let ai = AiPeer::start_with(options).await.expect("the AI peer starts");
    TestApp::with(Setup {
        ai: Some(ai),
        ..Setup::default()
    })
    .await
}

/// Somebody with the trial's cbT.
async fn sign_up(t: &TestApp) -> Client {
    let client = t.sign_up("ann@example.com", Plan::Business).await;
    trial::begin(&t.app, client.user.unwrap(), Plan::Business).await;
    client
}

#[tokio::test]
async fn the_main_job_streams_over_http() {
    let t = test_app().await;
    let watched = Watched::start(&t);
    for path in ["/api/health", "/api/agent-presets"] {
        watched.await_function(path).await;
    }
    let browser = watched
        .visitor()
        .header("origin", ORIGIN)
        .header("access-control-request-method", "POST");
    let preflight = browser.send("OPTIONS", "/api/workspaces", None).await;
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some(ORIGIN),
        "{preflight:?}"
    );

    let ann = watched.visitor().with_token(&sign_up(&t).await.token.unwrap());
    let home = json!({"name": "Home", "type": "business"});
    let workspace = ann.post("/api/workspaces", home).await.json(201);
    let agents = format!("/api/workspaces/{}/agents", workspace["id"].as_str().unwrap());
    let agents = ann.post(&agents, json!({"presetIds": ["ceo"]})).await.json(201);
    let stream = format!(
        "/api/agents/{}/stream",
        agents["items"][0]["id"].as_str().unwrap()
    );
    // The first call waits for the function to be built.
    let answer = ann.post(&stream, json!({"message": "Are you there?"})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);

    let answer = ann
        .open("POST", &stream, Some(&json!({"message": "What now?"})))
        .await;
    assert_eq!(answer.status().as_u16(), 200);
    let heard = sse::hear(Box::pin(answer.bytes_stream())).await;
    assert_one_after_the_other(&heard);
    let receipt = &heard.last().unwrap().data["receipt"];
    assert_eq!(receipt["status"], "completed", "{receipt}");
}

/// The deltas came while the provider spoke, not all together at its end.
fn assert_one_after_the_other(heard: &[Heard]) {
    let deltas: Vec<_> = heard.iter().filter(|e| e.name == "delta").collect();
    assert!(deltas.len() > 10, "{heard:?}");
    let (first, last) = (deltas[0].after, deltas[deltas.len() - 1].after);
    let speech = PAUSE * u32::try_from(deltas.len() - 1).unwrap();
    // Half of it leaves room for a busy machine, on which late words come in one piece.
    assert!(last - first > speech / 2, "{deltas:?}");
    let moments = deltas
        .windows(2)
        .filter(|pair| pair[1].after - pair[0].after > PAUSE / 2);
    assert!(moments.count() > deltas.len() / 4, "{deltas:?}");
}
