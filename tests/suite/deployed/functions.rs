//! One story per function: each is wired, and its own role lets it do its work.

use camarad_tests::deployed;

#[tokio::test]
async fn meta_answers_health_readiness_document_and_reference() {
    let d = deployed::shared().await;
    let anybody = d.visitor();
    for path in ["/api/health", "/api/health/ready", "/openapi.json", "/docs"] {
        let answer = anybody.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
}
