//! That IAM is enforced at all, without which the other stories would say nothing about roles.

use camarad_tests::deployed;
use serde_json::json;

#[tokio::test]
async fn a_function_whose_role_may_not_write_fails_clearly_and_changes_nothing() {
    let d = deployed::alone().await;
    let ann = d.sign_in("permissions").await;
    let home = json!({"name": "Home", "type": "business"});
    d.deny("workspaces", "dynamodb:PutItem").await;
    let refused = ann.post("/api/workspaces", home.clone()).await;
    let list = ann.get("/api/workspaces").await;
    d.allow_again("workspaces").await;

    refused.assert_problem(500, "internal");
    assert!(
        !refused.body.contains("AccessDenied"),
        "told to a stranger: {}",
        refused.body
    );
    assert_eq!(list.json(200)["items"], json!([]));
    ann.post("/api/workspaces", home).await.json(201);
}
