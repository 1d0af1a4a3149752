//! What every route has in common.

use std::fmt::Write;
use std::time::Duration;

use axum::routing::get;
use camarad::domain::plans::Plan;
use camarad::http::edge;
use camarad_tests::app::{Answer, Client, ORIGIN, TestApp};
use camarad_tests::faults::{Fault, Faults, PLANTED};
use camarad_tests::routes;
use jiff::SignedDuration;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

use crate::desk::workspace;
use crate::logged::Lines;

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_the_requests_id() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let answer = ann.get("/api/nothing-here").await;
    let problem = answer.assert_problem(404, "not_found");
    assert_eq!(answer.header("x-request-id"), problem["requestId"].as_str());
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

fn shown(out: &mut String, what: &str, answer: &Answer) {
    let mut problem: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{what}"
    );
    assert_eq!(problem["status"], answer.status, "{what}");
    problem["requestId"] = json!("…");
    let more: Vec<_> = ["www-authenticate", "allow"]
        .iter()
        .filter_map(|n| answer.header(n).map(|v| format!("  {n}: {v}")))
        .collect();
    let wait = if answer.header("retry-after").is_some() {
        "  retry-after: …"
    } else {
        ""
    };
    writeln!(
        out,
        "{} {what}{}{wait}\n{problem}\n",
        answer.status,
        more.concat()
    )
    .unwrap();
}

async fn too_often(t: &TestApp, ann: &Client) -> Answer {
    t.clock.advance(SignedDuration::from_mins(3));
    loop {
        let answer = ann.get("/api/user").await;
        if answer.status != 200 {
            return answer;
        }
    }
}

#[tokio::test]
async fn each_kind_of_refusal_is_a_problem_document_of_its_own() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let home = workspace(&ann).await;
    let path = format!("/api/workspaces/{home}");
    let text = ann.header("Content-Type", "text/plain");
    let old = ann.header("If-Match", "\"9\"");
    let big = json!({"name": "x".repeat(300_000)});
    let long = format!("/api/workspaces?cursor={}", "x".repeat(9_000));
    let heavy = ann.header("X-Much", &"x".repeat(17_000));
    for n in 0..2 {
        ann.post(
            "/api/workspaces",
            json!({"name": n.to_string(), "type": "personal"}),
        )
        .await
        .json(201);
    }
    ann.once("k")
        .patch("/api/user", json!({"name": "Ann"}))
        .await
        .json(200);
    let member = t.join(&home, camarad::domain::permissions::Role::Member).await;
    let agents = format!("{path}/agents");
    let its = crate::desk::agent(&ann, &home).await;
    let resting = format!("/api/agents/{its}");
    ann.patch(&resting, json!({"active": false})).await.json(200);
    let asked = ann
        .once("c")
        .post(&format!("{resting}/chat"), json!({"message": "Hello"}))
        .await;
    let mut out = String::new();
    for (what, answer) in [
        ("no JSON", ann.send("PATCH", "/api/user", Some("{".into())).await),
        ("nobody", t.anonymous().get("/api/user").await),
        ("not this role", member.delete(&path).await),
        (
            "not this plan",
            ann.post("/api/workspaces", json!({"name": "x", "type": "personal"}))
                .await,
        ),
        ("nothing there", ann.get("/api/workspaces/none").await),
        ("not this method", ann.delete("/api/user/subscription").await),
        ("not in this state", asked),
        (
            "too many for the plan",
            ann.post(&agents, json!({"presetIds": vec!["ceo"; 11]})).await,
        ),
        (
            "changed since",
            old.patch("/api/user", json!({"name": "A"})).await,
        ),
        (
            "not on top of what",
            ann.without("If-Match")
                .patch("/api/user", json!({"name": "A"}))
                .await,
        ),
        ("too large", ann.patch("/api/user", big).await),
        ("too long", ann.get(&long).await),
        ("no JSON type", text.patch("/api/user", json!({})).await),
        (
            "not these fields",
            ann.post("/api/workspaces", json!({"name": "", "type": "castle"}))
                .await,
        ),
        (
            "not this field",
            ann.patch("/api/user", json!({"admin": true})).await,
        ),
        (
            "twice",
            ann.send("PATCH", "/api/user", Some(r#"{"name":"a","name":"b"}"#.into()))
                .await,
        ),
        ("not this parameter", ann.get("/api/workspaces?page=2").await),
        (
            "a used key",
            ann.once("k").patch("/api/user", json!({"name": "Bea"})).await,
        ),
        ("too much before the body", heavy.get("/api/user").await),
        ("too often", too_often(&t, &ann).await),
    ] {
        shown(&mut out, what, &answer);
    }
    insta::assert_snapshot!("refusals", out);
}

#[tokio::test]
async fn the_frontend_may_read_and_write_with_cookies_and_no_other_page_may() {
    let t = TestApp::new().await;
    let preflight = |origin: &str, path: &str| {
        let from = t.anonymous().header("Origin", origin);
        let from = from.header("Access-Control-Request-Method", "PATCH");
        let path = path.to_owned();
        async move { from.send("OPTIONS", &path, None).await }
    };
    let ours = preflight(ORIGIN, "/api/user").await;
    assert_eq!(ours.header("access-control-allow-origin"), Some(ORIGIN));
    assert_eq!(ours.header("access-control-allow-credentials"), Some("true"));
    for name in [
        "x-request-id",
        "x-content-type-options",
        "strict-transport-security",
        "content-security-policy",
    ] {
        assert!(ours.header(name).is_some(), "a preflight without {name}");
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        assert!(
            ours.header("access-control-allow-methods")
                .unwrap()
                .contains(method),
            "{method}"
        );
    }
    for theirs in [
        "https://evil.example",
        "https://app.camarad.test.evil.example",
        "null",
        "http://app.camarad.test",
    ] {
        let answer = preflight(theirs, "/api/user").await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{theirs}");
        let read = t
            .anonymous()
            .header("Origin", theirs)
            .get("/api/agent-presets")
            .await;
        assert_eq!(read.header("access-control-allow-origin"), None, "{theirs}");
    }
    // Refusals can be read too, with what they say.
    let refused = t.anonymous().header("Origin", ORIGIN).get("/api/user").await;
    refused.assert_problem(401, "unauthenticated");
    assert_eq!(refused.header("access-control-allow-origin"), Some(ORIGIN));
    let exposed = refused.header("access-control-expose-headers").unwrap();
    for name in [
        "etag",
        "retry-after",
        "ratelimit",
        "ratelimit-policy",
        "idempotency-replayed",
        "x-request-id",
    ] {
        assert!(exposed.split(',').any(|e| e.trim() == name), "{name}: {exposed}");
    }
    assert!(refused.header("vary").is_some_and(|v| v.contains("origin")));
}

#[tokio::test]
async fn every_answer_of_every_route_has_the_security_headers() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    for route in routes::live() {
        t.clock.advance(SignedDuration::from_secs(1));
        for who in [&ann, &t.anonymous()] {
            let answer = who
                .send(&route.method, &route.path.replace(['{', '}'], ""), None)
                .await;
            let name = route.name();
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{name}");
            assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{name}");
            assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{name}");
            assert!(answer.header("strict-transport-security").is_some(), "{name}");
            assert!(
                answer
                    .header("content-security-policy")
                    .is_some_and(|p| p.contains("default-src 'none'") && p.contains("base-uri 'none'")),
                "{name}"
            );
            assert!(answer.header("x-request-id").is_some(), "{name}");
            let public = route.audience == "public" && answer.status < 400;
            assert!(
                public || answer.header("cache-control") == Some("no-store"),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn bounds_are_exact_and_kept_before_anything_is_read() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let path = |n: usize| format!("/api/{}", "x".repeat(n - 5));
    ann.get(&path(2_048)).await.assert_problem(404, "not_found");
    ann.get(&path(2_049)).await.assert_problem(414, "uri_too_long");
    let query = |n: usize| format!("/api/workspaces?cursor={}", "x".repeat(n - 7));
    ann.get(&query(8_192)).await.assert_problem(422, "invalid");
    ann.get(&query(8_193)).await.assert_problem(414, "uri_too_long");
    let body = |n: usize| format!("{{\"name\":\"{}\"}}", "x".repeat(n - 11));
    let send = |body: String| ann.send("PATCH", "/api/user", Some(body));
    send(body(256 * 1024)).await.assert_invalid("name");
    let large = send(body(256 * 1024 + 1)).await;
    large.assert_problem(413, "payload_too_large");
    let heavy = ann
        .header("X-Much", &"x".repeat(16 * 1024))
        .get("/api/user")
        .await;
    heavy.assert_problem(431, "headers_too_large");
    for answer in [large, heavy] {
        assert_eq!(answer.cost.calls, 0);
    }
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    send(deep(32)).await.assert_problem(422, "invalid");
    send(deep(33)).await.assert_problem(400, "malformed");
}

async fn broken() -> String {
    panic!("a fault that {} planted", PLANTED[1])
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(60)).await;
    "late"
}

#[tokio::test]
async fn a_panic_is_an_opaque_500_and_what_takes_too_long_a_504() {
    let t = TestApp::new().await;
    let routes = OpenApiRouter::new()
        .route("/api/broken", get(broken))
        .route("/api/slow", get(slow));
    let who = t
        .anonymous()
        .of(edge::service(routes, t.app.clone(), Duration::from_millis(50)));
    let panicked = who.get("/api/broken").await;
    let problem = panicked.assert_problem(500, "internal");
    assert!(!panicked.body.contains(PLANTED[1]) && problem["detail"] == "an unexpected error occurred");
    let late = who.get("/api/slow").await;
    late.assert_problem(504, "timeout");
    assert!(late.header("retry-after").is_some());
}

/// What must not be read in an answer or a log: what the faults plant, the caller's token, and what our insides look like.
fn assert_clean(what: &str, text: &str, token: &str) {
    let insides = [
        "arn:aws",
        "USER#",
        "WS#",
        "RATE#",
        "ONCE#",
        "SES#",
        "dynamodb:",
        "panicked",
        ".rs:",
        "aws_sdk",
    ];
    for word in PLANTED.iter().chain(&insides).chain([&token]) {
        assert!(!text.contains(word), "{what} has {word}: {text}");
    }
}

#[tokio::test]
async fn nothing_of_the_inside_shows_in_answers_or_logs_whatever_fails() {
    let (lines, _guard) = Lines::listen(Some(PLANTED[0].to_owned()));

    let faults = Faults::new(3);
    let t = TestApp::over(&faults).await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let home = workspace(&ann).await;
    let token = ann.token.clone().unwrap();
    let mut failures = 0;
    for fault in [Fault::Denied, Fault::Unsent] {
        for route in routes::live() {
            // What another test logged first, while nobody listened to it, would stay silent here.
            tracing::callsite::rebuild_interest_cache();
            t.clock.advance(SignedDuration::from_secs(2));
            for text in ["USER#", "WS#", "TransactItems"] {
                faults.whenever(Some((text, fault)));
                let path = route.path.replace("{id}", &home).replace(['{', '}'], "");
                let body = route.is_write().then(|| "{}".to_owned());
                let answer = ann.once("k").send(&route.method, &path, body).await;
                failures += u32::from(answer.status >= 500);
                let headers = format!("{:?}", answer.headers);
                let documents = ["/openapi.json", "/docs"].contains(&route.path.as_str());
                if !documents {
                    assert_clean(&route.name(), &answer.body, &token);
                }
                assert_clean(&route.name(), &headers, &token);
            }
            faults.whenever(None);
        }
    }
    assert!(failures > 20, "{failures}");
    let [table, role, account] = PLANTED;
    let words = format!("Bearer {token}, arn:aws:iam::{account}:role/{role} on {table}");
    tracing::error!(cause = words, "what somebody else said");
    let logged = lines.text();
    assert!(
        logged.contains("[arn]") && logged.contains("\"request\""),
        "{logged}"
    );
    logged
        .lines()
        .for_each(|line| assert_clean("a log", line, &token));
}
