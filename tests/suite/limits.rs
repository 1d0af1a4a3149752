//! Rate limits: exact across a window's edge whichever instance is asked, told in every answer's headers, and open or
//! closed when the table cannot count.

use camarad::clock::Clock;
use camarad::domain::plans::Plan;
use camarad_tests::app::{Answer, Client, OPERATOR, Setup, TestApp};
use camarad_tests::engine;
use camarad_tests::faults::{Fault, Faults};
use camarad_tests::peers::ai::AiPeer;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use crate::desk::{agent, fund, say, workspace};

const POLICY: &str = "\"user\";q=100;w=60";

async fn still() -> TestApp {
    TestApp::with(Setup {
        db: Some(engine::dynoxide().await),
        still: true,
        ..Setup::default()
    })
    .await
}

/// Moves the clock to so many milliseconds after the beginning of a window of a minute.
fn into_window(t: &TestApp, ms: i64) {
    let since = t.clock.now().as_millisecond().rem_euclid(60_000);
    t.clock.advance(SignedDuration::from_millis(60_000 - since + ms));
}

/// All clients side by side, each with so many requests one after the other, as an instance serves them; how many were
/// admitted.
async fn burst(clients: &[Client], each: usize) -> usize {
    let one = |client: Client| async move {
        let mut admitted = 0;
        for _ in 0..each {
            let answer = client.get("/api/user").await;
            assert!([200, 429].contains(&answer.status), "{}", answer.body);
            admitted += usize::from(answer.status == 200);
        }
        admitted
    };
    join_all(clients.iter().cloned().map(one)).await.into_iter().sum()
}

#[tokio::test]
async fn eight_instances_admit_a_limit_exactly_across_a_windows_edge() {
    let t = still().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let instances: Vec<_> = (0..8).map(|_| ann.of(t.another_service())).collect();
    into_window(&t, 59_990);
    let before = burst(&instances, 9).await;
    assert_eq!(before, 72);
    t.clock.advance(SignedDuration::from_millis(20));
    let after = burst(&instances, 9).await;
    assert_eq!(
        before + after,
        100,
        "what 20 ms around the edge of a window admit"
    );
    // What was refused was taken back, by every instance: half a minute later half of it has slid out.
    t.clock.advance(SignedDuration::from_millis(30_000 - 10));
    let third = burst(&instances, 9).await;
    assert_eq!(after + third, 100 - 36);
    let fourth = burst(&instances, 9).await;
    assert_eq!(fourth, 0);
}

#[tokio::test]
async fn whoever_waits_as_long_as_retry_after_says_is_admitted() {
    let t = still().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    into_window(&t, 1_000);
    for n in 0..4 {
        let mut admitted = 0;
        let refused = loop {
            let answer = ann.get("/api/user").await;
            if answer.status != 200 {
                break answer;
            }
            admitted += 1;
        };
        // A second's worth of the window before is one request, or two.
        let expected = if n == 0 { 100..=100 } else { 1..=2 };
        assert!(expected.contains(&admitted), "{admitted}");
        refused.assert_problem(429, "rate_limited");
        let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
        let told = format!("\"user\";r=0;t={wait}");
        assert_eq!(refused.header("ratelimit"), Some(told.as_str()));
        assert_eq!(refused.header("ratelimit-policy"), Some(POLICY));
        t.clock.advance(SignedDuration::from_secs(wait));
    }
}

#[tokio::test]
async fn a_refused_caller_costs_the_table_nothing_until_there_is_room() {
    let t = still().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    into_window(&t, 1_000);
    for _ in 0..100 {
        ann.get("/api/user").await;
    }
    ann.get("/api/user").await.assert_problem(429, "rate_limited");
    let again = ann.get("/api/user").await;
    again.assert_problem(429, "rate_limited");
    assert_eq!(again.cost.calls, 0);
}

fn told(answer: &Answer) -> (Option<&str>, Option<&str>) {
    (answer.header("ratelimit-policy"), answer.header("ratelimit"))
}

#[tokio::test]
async fn every_answer_to_a_signed_in_caller_tells_where_they_stand() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    let home = workspace(&ann).await;
    let theirs = workspace(&bob).await;
    let answers = [
        (200, ann.get("/api/user").await),
        (404, ann.get(&format!("/api/workspaces/{theirs}")).await),
        (422, ann.post("/api/workspaces", json!({"name": 7})).await),
        (
            415,
            ann.header("Content-Type", "text/plain")
                .post("/api/workspaces", json!({}))
                .await,
        ),
        (
            412,
            ann.header("If-Match", "\"9\"")
                .patch("/api/user", json!({"name": "A"}))
                .await,
        ),
        (403, ann.once("g").post("/api/ledger/grant", json!({})).await),
        (404, ann.get("/api/workspaces/no-id").await),
        (404, ann.get("/api/agents/no-id").await),
        (
            404,
            ann.once("c").post("/api/agents/no-id/chat", say("Hello")).await,
        ),
        (422, ann.get("/api/usage").await),
        (204, ann.delete(&format!("/api/workspaces/{home}")).await),
    ];
    for (n, (status, answer)) in answers.iter().enumerate() {
        assert_eq!(answer.status, *status, "{}", answer.body);
        let (policy, standing) = told(answer);
        assert_eq!(policy, Some(POLICY), "{status}");
        // The first request made the workspace.
        let left = format!("\"user\";r={};t=", 98 - n);
        assert!(
            standing.is_some_and(|s| s.starts_with(&left)),
            "{standing:?} {left}"
        );
    }
    let nobody = t.anonymous().get("/api/user").await;
    assert_eq!((nobody.status, told(&nobody)), (401, (None, None)));
}

#[tokio::test]
async fn what_is_refused_before_anybody_is_asked_who_they_are_counts_for_nobody_and_tells_no_limit() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let first = ann.get("/api/user").await;
    assert!(
        first
            .header("ratelimit")
            .is_some_and(|s| s.starts_with("\"user\";r=99;"))
    );
    let long = format!("/api/user?{}", "x".repeat(8_193));
    let heavy = ann.header("X-Much", &"x".repeat(16 * 1024));
    let large = Some(" ".repeat(256 * 1024 + 1));
    for (status, answer) in [
        (414, ann.get(&long).await),
        (431, heavy.get("/api/user").await),
        (413, ann.send("PATCH", "/api/user", large).await),
        (422, ann.get("/api/user?made=up").await),
        (422, ann.get("/api/workspaces?limit=1&limit=2").await),
        (404, ann.get("/api/made-up").await),
        (405, ann.delete("/api/user/subscription").await),
    ] {
        assert_eq!(
            (answer.status, told(&answer)),
            (status, (None, None)),
            "{}",
            answer.body
        );
        assert_eq!(answer.cost.calls, 0, "{status}");
    }
    let next = ann.get("/api/user").await;
    assert!(
        next.header("ratelimit")
            .is_some_and(|s| s.starts_with("\"user\";r=98;"))
    );
}

#[tokio::test]
async fn of_several_limits_the_one_that_leaves_least_is_named() {
    let t = TestApp::with_ai().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    fund(&t, ann.user.unwrap(), camarad::money::Cbt::whole(100)).await;
    let agent = agent(&ann, &workspace(&ann).await).await;
    let answer = ann
        .once("1")
        .post(&format!("/api/agents/{agent}/chat"), say("Hello"))
        .await;
    answer.json(200);
    let both = format!("{POLICY}, \"agent\";q=100;w=3600");
    let (policy, standing) = told(&answer);
    assert_eq!(policy, Some(both.as_str()));
    assert!(
        standing.is_some_and(|s| s.starts_with("\"user\";r=97;")),
        "{standing:?}"
    );
}

#[tokio::test]
async fn sign_in_takes_so_many_posts_of_an_address_and_knows_no_other() {
    let t = still().await;
    into_window(&t, 1_000);
    let post = |who: Client| async move { who.post("/api/auth/refresh", json!({"refreshToken": "x"})).await };
    for _ in 0..100 {
        post(t.anonymous()).await.assert_problem(401, "unauthenticated");
    }
    let refused = post(t.anonymous()).await;
    refused.assert_problem(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"auth\";q=100;w=60"));
    post(t.anonymous().from("198.51.100.9"))
        .await
        .assert_problem(401, "unauthenticated");
}

/// An app whose table can be told to fail, with somebody and their agent.
async fn fragile() -> (TestApp, Faults, Client, String) {
    let faults = Faults::new(1);
    let t = TestApp::with(Setup {
        ai: Some(AiPeer::start().await.unwrap()),
        faults: Some(faults.clone()),
        ..Setup::default()
    })
    .await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    fund(&t, ann.user.unwrap(), camarad::money::Cbt::whole(100)).await;
    let agent = agent(&ann, &workspace(&ann).await).await;
    (t, faults, ann, agent)
}

#[tokio::test]
async fn when_the_table_does_not_count_ordinary_requests_pass() {
    let (_t, faults, ann, _) = fragile().await;
    for fault in [Fault::Unsent, Fault::Throttled, Fault::InternalError] {
        faults.whenever(Some(("RATE#user", fault)));
        let answer = ann.get("/api/user").await;
        assert_eq!(answer.status, 200, "{fault:?}: {}", answer.body);
        assert_eq!(told(&answer), (Some(POLICY), None), "{fault:?}");
    }
}

#[tokio::test]
async fn when_the_table_does_not_count_money_and_sign_in_are_refused() {
    let (t, faults, ann, agent) = fragile().await;
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let chat = format!("/api/agents/{agent}/chat");
    let grant = json!({"userId": ann.user, "amount": "10", "reason": "goodwill"});
    let homes = ann.get("/api/workspaces").await.json(200);
    let allocation = format!(
        "/api/workspaces/{}/allocation",
        homes["items"][0]["id"].as_str().unwrap()
    );
    for fault in [Fault::Unsent, Fault::Throttled] {
        faults.whenever(Some(("RATE#agent", fault)));
        let answer = ann.once("k").post(&chat, say("Hello")).await;
        answer.assert_problem(503, "unavailable");
        assert!(answer.header("retry-after").is_some());
        faults.whenever(Some(("RATE#user", fault)));
        let granted = operator.once("g").post("/api/ledger/grant", grant.clone()).await;
        granted.assert_problem(503, "unavailable");
        let name = || ann.once("m");
        let wish = crate::onboarding_undone::wish();
        for answer in [
            name()
                .post("/api/billing/checkout", json!({"planId": "personal"}))
                .await,
            name().post("/api/billing/topup", json!({"cbt": "10000"})).await,
            name()
                .post("/api/billing/change-plan", json!({"planId": "agency"}))
                .await,
            name().post("/api/billing/cancel", json!({})).await,
            name().post("/api/onboarding/complete", wish).await,
            name().put(&allocation, json!({"limit": "100"})).await,
        ] {
            answer.assert_problem(503, "unavailable");
        }
        faults.whenever(Some(("RATE#auth", fault)));
        let refresh = t
            .anonymous()
            .post("/api/auth/refresh", json!({"refreshToken": "x"}))
            .await;
        refresh.assert_problem(503, "unavailable");
    }
    assert_eq!(t.ai().requests().len(), 0);
    faults.whenever(None);
    ann.once("k").post(&chat, say("Hello")).await.json(200);
    operator
        .once("g")
        .post("/api/ledger/grant", grant)
        .await
        .json(201);
}

#[tokio::test]
async fn a_caller_who_comes_back_after_long_pauses_leaves_no_pile_of_counts() {
    let t = still().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let db = t.app.db();
    let who = ann.user.unwrap().to_string();
    for _ in 0..60 {
        let limit = camarad::store::limits::USER;
        t.app.limits().hit(db, limit, &who, t.clock.now()).await.unwrap();
        t.clock.advance(SignedDuration::from_mins(40));
    }
    let key = camarad::store::keys::rate("user", &who);
    let left = db.get_doc(&key).await.unwrap().unwrap();
    let text = format!("{left:?}");
    assert!(
        text.matches("\"n2").count() + text.matches("\"n3").count() <= 18,
        "{text}"
    );
}

#[tokio::test]
async fn an_address_may_ask_a_thousand_times_an_hour_what_needs_no_sign_in() {
    let t = still().await;
    let outside = t.outside();
    for n in 0..1_000 {
        let answer = outside.get("/api/health").await;
        assert_eq!(answer.status, 200, "{n}");
    }
    let refused = outside.get("/api/agent-presets").await;
    refused.assert_problem_without_id(429, "rate_limited");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"ip\";q=1000;w=3600"));
    let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(
        refused.header("ratelimit"),
        Some(format!("\"ip\";r=0;t={wait}").as_str())
    );
    outside.from("198.51.100.9").get("/api/health").await.json(200);
    // Who is signed in is counted by person, whatever else their address does.
    let token = t.sign_up("ann@example.com", Plan::Personal).await.token.unwrap();
    outside.with_token(&token).get("/api/user").await.json(200);
    t.clock.advance(SignedDuration::from_secs(wait));
    outside.get("/api/health").await.json(200);
}

#[test]
fn the_stand_in_looks_at_the_paths_that_the_firewall_looks_at() {
    let firewall = &camarad_tests::app::template::template()["Resources"]["Firewall"]["Properties"]["Rules"];
    let rules = firewall.as_sequence().unwrap();
    let rule = rules
        .iter()
        .find(|r| r["Name"].as_str() == Some("public-rate"))
        .unwrap();
    let limit = &rule["Statement"]["RateBasedStatement"];
    let (requests, seconds) = (
        limit["Limit"].as_u64().unwrap(),
        limit["EvaluationWindowSec"].as_u64().unwrap(),
    );
    let an_hour = requests * 3_600 / seconds;
    assert!((990..=1_010).contains(&an_hour), "{an_hour} an hour");
    let scope = &limit["ScopeDownStatement"]["AndStatement"]["Statements"];
    let regex = |s: &serde_yaml_ng::Value| {
        s["RegexMatchStatement"]["RegexString"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (pattern, own) = (regex(&scope[0]), regex(&scope[1]["NotStatement"]["Statement"]));
    assert_eq!(own, "/api/auth/(refresh|session)$");
    let beginning = pattern.strip_suffix("(/|$)").unwrap().replace('\\', "");
    assert_eq!(
        beginning,
        "/(api/(auth|agent-presets|health)|.well-known|docs|openapi.json)"
    );
    for route in camarad_tests::routes::live() {
        let own = ["/api/auth/refresh", "/api/auth/session"].contains(&route.path.as_str());
        let covered = own || camarad_tests::gateway::is_public(&route.path);
        assert!(covered || route.audience != "public", "{}", route.name());
    }
    for other in [
        "/api/auth/refresh",
        "/api/authx",
        "/api/user",
        "/documents",
        "/api",
    ] {
        assert!(!camarad_tests::gateway::is_public(other), "{other}");
    }
}
