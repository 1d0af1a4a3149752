//! The third layer: `cargo lambda watch`, for what only real HTTP shows, and that a developer's loop works.

use camarad::domain::plans::Plan;
use camarad_tests::app::TestApp;
use camarad_tests::watched::Watched;
use serde_json::json;

#[tokio::test]
async fn a_developers_stack_answers_over_http() {
    let t = TestApp::with_ai().await;
    let watched = Watched::start(&t);
    watched.await_function("/api/agent-presets").await;
    let token = t.sign_up("ann@example.com", Plan::Business).await.token.unwrap();
    let ann = watched.visitor().with_token(&token);
    let workspace = ann.post("/api/workspaces", json!({"name": "Home", "type": "business"})).await.json(201);
    println!("{workspace}");
}
