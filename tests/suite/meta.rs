//! Health, the OpenAPI document, the reference.

use camarad_tests::app::TestApp;
use camarad_tests::app::stack::repository;
use data_encoding::BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn the_service_is_alive_and_ready() {
    let t = TestApp::new().await;
    for path in ["/api/health", "/api/health/ready"] {
        assert_eq!(t.anonymous().get(path).await.json(200)["status"], "ok");
    }
}

#[tokio::test]
async fn without_its_table_the_service_is_alive_and_not_ready() {
    let t = TestApp::new().await;
    t.dynamodb
        .delete_table()
        .table_name("camarad")
        .send()
        .await
        .unwrap();
    t.anonymous().get("/api/health").await.json(200);
    let answer = t.anonymous().get("/api/health/ready").await;
    answer.assert_problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn the_document_is_served_and_not_sent_twice() {
    let t = TestApp::new().await;
    let answer = t.anonymous().get("/openapi.json").await;
    let document: Value = answer.json(200);
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let etag = answer.header("etag").unwrap().to_owned();
    for known in [etag.clone(), format!("\"other\", W/{etag}"), "*".into()] {
        let again = t
            .anonymous()
            .header("If-None-Match", &known)
            .get("/openapi.json")
            .await;
        again.assert_empty(304);
        assert_eq!(again.header("etag"), Some(etag.as_str()));
    }
    t.anonymous()
        .header("If-None-Match", "\"other\"")
        .get("/openapi.json")
        .await
        .json(200);
}

#[tokio::test]
async fn the_reference_shows_every_operation_and_runs_nothing() {
    let t = TestApp::new().await;
    let answer = t.anonymous().get("/docs").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/html; charset=utf-8"))
    );
    let text = std::fs::read_to_string(repository().join("clients/openapi.json")).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    for methods in document["paths"].as_object().unwrap().values() {
        for operation in methods.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(answer.body.contains(&format!("<article id=\"{id}\">")), "{id}");
        }
    }
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    let style = answer
        .body
        .split("<style>")
        .nth(1)
        .unwrap()
        .split("</style>")
        .next()
        .unwrap();
    let hash = BASE64.encode(&Sha256::digest(style));
    assert!(policy.contains(&format!("'sha256-{hash}'")), "{policy}");
    for forbidden in ["<script", "http://", "https://", "style=\"", "onclick"] {
        assert!(!answer.body.contains(forbidden), "{forbidden}");
    }
}
