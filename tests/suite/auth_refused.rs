//! Signing in, and everything about it that must not work.

use camarad_tests::app::{Answer, ORIGIN};
use camarad_tests::peers::oidc::Tamper;
use jiff::SignedDuration;
use serde_json::json;

use crate::auth::{Scene, Started, query, scene};

#[tokio::test]
async fn a_sign_in_is_not_started_with_wishes_that_cannot_be_met() {
    let s = scene().await;
    let before = s.t.snapshot().await;
    let nobody = s.t.anonymous();
    let login = |query: &str| format!("/api/auth/local/login?{query}");
    nobody
        .get(&login("mode=popup"))
        .await
        .assert_invalid("query.mode");
    nobody.get(&login("next=/")).await.assert_invalid("query.next");
    for elsewhere in [
        "https://evil.example/",
        "//evil.example",
        "/%5Cevil.example",
        "evil",
        "",
    ] {
        nobody
            .get(&login(&format!("returnTo={elsewhere}")))
            .await
            .assert_invalid("query.returnTo");
    }
    nobody
        .get("/api/auth/none/login")
        .await
        .assert_problem(404, "not_found");
    nobody
        .get("/api/auth/none/callback?state=x&code=y")
        .await
        .assert_problem(404, "not_found");
    nobody
        .get("/api/auth/local/callback?code=y")
        .await
        .assert_invalid("query");
    assert_eq!(before, s.t.snapshot().await);
}

#[tokio::test]
async fn a_state_works_once_in_its_own_browser_for_ten_minutes() {
    let s = scene().await;
    let (one, two) = (s.start("mode=token").await, s.start("mode=token").await);
    let callback = s.at_provider(&one, "ann@example.com").await;
    let before = s.t.snapshot().await;
    let refused = |answer: Answer| answer.assert_problem(400, "sign_in_failed");

    // Without the cookie, with another browser's, and for another provider: refused, and not used up.
    refused(s.t.anonymous().get(&callback).await);
    refused(s.back(&two, &callback).await);
    refused(s.back(&one, &callback.replace("/local/", "/other/")).await);
    refused(s.back(&one, &callback.replace("state=t.", "state=t.x")).await);
    assert_eq!(before, s.t.snapshot().await);

    s.back(&one, &callback).await.json(200);
    refused(s.back(&one, &callback).await);

    let late = s.at_provider(&two, "ann@example.com").await;
    s.t.clock.advance(SignedDuration::from_secs(600));
    refused(s.back(&two, &late).await);
}

#[tokio::test]
async fn no_tampered_id_token_signs_anybody_in() {
    let s = scene().await;
    let expected = [
        "id_token_signature",
        "id_token_audience",
        "id_token_issuer",
        "id_token_nonce",
        "id_token_expired",
        "id_token_at_hash",
        "id_token_key",
        "id_token_malformed",
    ];
    for how in Tamper::ALL {
        s.peer.tamper(how).await.unwrap();
        let answer = s.whole("mode=token", "ann@example.com").await;
        let problem = answer.assert_problem(400, "sign_in_failed");
        assert!(!problem.to_string().contains("id_token"), "{problem}");
    }
    let failures = s.audits("platform").await;
    let reasons: std::collections::BTreeSet<_> = failures
        .iter()
        .map(|(_, detail)| detail["reason"].as_str().unwrap())
        .collect();
    // The clock stands still, so that their order is nobody's.
    assert_eq!(reasons, std::collections::BTreeSet::from(expected));
    assert!(failures.iter().all(|(action, _)| action == "user.login_failed"));
    // Nothing but those records was written.
    assert!(
        s.t.snapshot()
            .await
            .iter()
            .all(|item| item.contains("AUDIT#platform"))
    );
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found_at_most_once_a_minute() {
    let s = scene().await;
    s.tokens("ann@example.com").await;
    s.peer.rotate_keys(true).await.unwrap();
    s.tokens("ann@example.com").await;
    s.peer.rotate_keys(true).await.unwrap();
    s.whole("mode=token", "ann@example.com")
        .await
        .assert_problem(400, "sign_in_failed");
    s.t.clock.advance(SignedDuration::from_secs(30));
    s.whole("mode=token", "ann@example.com")
        .await
        .assert_problem(400, "sign_in_failed");
    s.t.clock.advance(SignedDuration::from_secs(31));
    s.tokens("ann@example.com").await;
}

#[tokio::test]
async fn an_answer_of_another_issuer_or_of_none_is_refused() {
    let s = scene().await;
    for change in [
        |c: &str| c.replace("iss=http", "iss=https"),
        |c: &str| c.replace("iss=", "was="),
    ] {
        let started = s.start("mode=token").await;
        let callback = change(&s.at_provider(&started, "ann@example.com").await);
        s.back(&started, &callback)
            .await
            .assert_problem(400, "sign_in_failed");
    }
    let reasons: Vec<_> = s
        .audits("platform")
        .await
        .into_iter()
        .map(|(_, d)| d["reason"].clone())
        .collect();
    assert_eq!(reasons, ["response_issuer", "response_issuer"]);
}

#[tokio::test]
async fn a_made_up_code_is_refused() {
    let s = scene().await;
    let started = s.start("mode=token").await;
    let state = &query(&started.url)["state"];
    let iss = &s.peer.issuer;
    let answer = s
        .back(
            &started,
            &format!("/api/auth/local/callback?code=made-up&state={state}&iss={iss}"),
        )
        .await;
    answer.assert_problem(400, "sign_in_failed");
    assert_eq!(s.audits("platform").await[0].1["reason"], "code_refused");
}

#[tokio::test]
async fn a_browser_hears_of_a_refusal_in_the_frontends_address() {
    let s = scene().await;
    let told = |answer: Answer, code: &str| {
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(
            answer.header("location"),
            Some(format!("{ORIGIN}/?error={code}").as_str())
        );
        assert!(answer.header("set-cookie").is_none());
    };
    let started = s.start("returnTo=/x").await;
    let state = &query(&started.url)["state"];
    let iss = &s.peer.issuer;
    let refusal = format!("/api/auth/local/callback?error=access_denied&state={state}&iss={iss}");
    told(s.back(&started, &refusal).await, "access_denied");
    told(s.back(&started, &refusal).await, "sign_in_failed");
    told(
        s.whole("", "bob+unverified@example.com").await,
        "email_not_verified",
    );

    let program = s.start("mode=token").await;
    let state = &query(&program.url)["state"];
    let refusal = format!("/api/auth/local/callback?error=access_denied&state={state}&iss={iss}");
    s.back(&program, &refusal)
        .await
        .assert_problem(403, "access_denied");
    s.whole("mode=token", "bob+unverified@example.com")
        .await
        .assert_problem(403, "email_not_verified");
}

#[tokio::test]
async fn an_address_that_is_taken_opens_no_account_for_another_identity() {
    let s = scene().await;
    let ann = s.tokens("ann@example.com").await;
    let started = s.start_at("other", "mode=token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    s.back(&started, &callback)
        .await
        .assert_problem(409, "account_exists");
    assert_eq!(
        s.audits("platform").await[0].1,
        json!({"provider": "other", "method": "oidc", "reason": "account_exists"})
    );
    assert_eq!(s.actions(ann["user"]["id"].as_str().unwrap()).await.len(), 2);
}

#[tokio::test]
async fn a_provider_that_is_gone_is_told_as_such() {
    let s = scene().await;
    let (program, browser) = (s.start("mode=token").await, s.start("").await);
    let callbacks = [
        s.at_provider(&program, "ann@example.com").await,
        s.at_provider(&browser, "ann@example.com").await,
    ];
    let Scene { t, peer } = s;
    drop(peer);
    let back = |started: &Started, callback: &str| {
        let client = t.anonymous().header("Cookie", &started.cookie);
        let callback = callback.to_owned();
        async move { client.get(&callback).await }
    };
    back(&program, &callbacks[0])
        .await
        .assert_problem(502, "upstream_failed");
    let told = back(&browser, &callbacks[1]).await;
    assert_eq!(
        told.header("location"),
        Some(format!("{ORIGIN}/?error=upstream_failed").as_str())
    );
    // What the provider said about itself is remembered for an hour; then it has to be there.
    assert_eq!(
        t.anonymous().get("/api/auth/local/login?mode=token").await.status,
        303
    );
}

#[tokio::test]
async fn a_provider_that_calls_itself_by_another_name_is_not_believed() {
    let s = scene().await;
    let answer = s.t.anonymous().get("/api/auth/slash/login?mode=token").await;
    answer.assert_problem(502, "upstream_failed");
}
