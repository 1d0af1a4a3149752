//! What every route has in common.

use camarad::domain::plans::Plan;
use camarad_tests::app::TestApp;

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_the_requests_id() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let answer = ann.get("/api/nothing-here").await;
    let problem = answer.assert_problem(404, "not_found");
    assert_eq!(answer.header("x-request-id"), problem["requestId"].as_str());
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}
