//! One story per function: each is wired, and its own role lets it do its work.

use camarad_tests::deployed;

#[tokio::test]
async fn anybody_sees_the_forty_presets_and_nothing_that_needs_a_token() {
    let d = deployed::shared().await;
    let presets = d.visitor().get("/api/agent-presets").await.json(200);
    assert_eq!(presets["items"].as_array().map(Vec::len), Some(40));
    let refused = d.visitor().get("/api/workspaces").await;
    refused.assert_problem(401, "unauthenticated");
}
