//! What an OpenID provider is asked beside the ID token, and how often.

use camarad::domain::audit::view::views;
use camarad::store::record::AuditRecord;
use camarad_tests::peers::oidc::{Tamper, Userinfo};
use jiff::SignedDuration;
use serde_json::json;

use crate::auth::{Scene, audit_records, query, scene};

#[tokio::test]
async fn an_address_that_the_id_token_leaves_out_comes_from_userinfo() {
    let s = scene().await;
    s.peer.leave_out_email(None).await.unwrap();
    let tokens = s.tokens("ann@example.com").await;
    assert_eq!(tokens["user"]["email"], "ann@example.com");
    assert_eq!(s.peer.asked("/me").await.unwrap(), 1);
    // An ID token that has it is enough.
    s.tokens("ann@example.com").await;
    assert_eq!(s.peer.asked("/me").await.unwrap(), 1);
}

#[tokio::test]
async fn userinfo_of_somebody_else_or_without_a_verified_address_signs_nobody_in() {
    let s = scene().await;
    let wrong = [
        (Userinfo::WrongSub, 400, "sign_in_failed", "userinfo_subject"),
        (Userinfo::WithoutSub, 400, "sign_in_failed", "userinfo_malformed"),
        (
            Userinfo::WithoutEmail,
            403,
            "email_not_verified",
            "email_not_verified",
        ),
        (
            Userinfo::Unverified,
            403,
            "email_not_verified",
            "email_not_verified",
        ),
    ];
    for (userinfo, status, code, reason) in wrong {
        s.peer.leave_out_email(Some(userinfo)).await.unwrap();
        let answer = s.whole("mode=token", "ann@example.com").await;
        answer.assert_problem(status, code);
        let last = s.audits("platform").await;
        assert!(
            last.iter().any(|(_, detail)| detail["reason"] == reason),
            "{userinfo:?}: {last:?}"
        );
    }
    let items = s.t.snapshot().await;
    assert!(
        items.iter().all(|item| item.contains("AUDIT#platform")),
        "{items:?}"
    );
}

#[tokio::test]
async fn a_flood_of_made_up_key_ids_asks_the_provider_once_a_minute_and_stops_nobody_else() {
    let s = scene().await;
    s.tokens("ann@example.com").await;
    let before = (asked_for_keys(&s).await, asked_for_metadata(&s).await);
    assert_eq!(before, (1, 1));
    for minute in 1..=2 {
        for _ in 0..5 {
            s.peer.tamper(Tamper::UnknownKid).await.unwrap();
            s.whole("mode=token", "mallory@example.com")
                .await
                .assert_problem(400, "sign_in_failed");
        }
        assert_eq!(
            (asked_for_keys(&s).await, asked_for_metadata(&s).await),
            (1 + minute, 1 + minute)
        );
        s.tokens("ann@example.com").await;
        s.t.clock.advance(SignedDuration::from_secs(61));
    }
    // In the middle of the flood the provider changes its keys: within a minute they are known.
    s.peer.tamper(Tamper::UnknownKid).await.unwrap();
    s.whole("mode=token", "mallory@example.com").await;
    s.peer.rotate_keys(true).await.unwrap();
    s.whole("mode=token", "ann@example.com")
        .await
        .assert_problem(400, "sign_in_failed");
    s.t.clock.advance(SignedDuration::from_secs(60));
    s.tokens("ann@example.com").await;
    assert_eq!(asked_for_keys(&s).await, 5);
}

async fn asked_for_keys(s: &Scene) -> u64 {
    s.peer.asked("/jwks").await.unwrap()
}

async fn asked_for_metadata(s: &Scene) -> u64 {
    let path = "/.well-known/openid-configuration";
    s.peer.asked(path).await.unwrap()
}

#[tokio::test]
async fn a_provider_that_failed_is_left_alone_for_some_seconds() {
    let s = scene().await;
    let failing = || async {
        let answer = s.t.anonymous().get("/api/auth/slash/login?mode=token").await;
        answer.assert_problem(502, "upstream_failed");
        asked_for_metadata(&s).await
    };
    let first = failing().await;
    for _ in 0..3 {
        assert_eq!(failing().await, first);
    }
    s.t.clock.advance(SignedDuration::from_secs(6));
    assert_eq!(failing().await, first + 1);
    // The one that is well is not held up by it.
    s.tokens("ann@example.com").await;
}

#[tokio::test]
async fn a_sign_in_and_a_failed_one_are_recorded_with_who_came_how_and_from_where() {
    let s = scene().await;
    let started = s.start("mode=token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let browser = s.t.anonymous().header("Cookie", &started.cookie);
    let answer = browser.header("User-Agent", "Story/1.0").get(&callback).await;
    let user = answer.json(200)["user"]["id"].as_str().unwrap().to_owned();
    let login = record(&s, &user, "user.login").await;
    assert_eq!(login.detail, json!({"provider": "local", "method": "oidc"}));
    let shown = views(&s.t.app, vec![login]).await.unwrap();
    assert_eq!(shown[0].ip.as_deref(), Some("203.0.113.7"));
    assert_eq!(shown[0].user_agent.as_deref(), Some("Story/1.0"));

    let started = s.start("mode=token").await;
    let state = &query(&started.url)["state"];
    let denied = format!(
        "/api/auth/local/callback?error=access_denied&state={state}&iss={}",
        s.peer.issuer
    );
    let browser = s.t.anonymous().header("Cookie", &started.cookie);
    browser
        .header("User-Agent", "Story/1.0")
        .get(&denied)
        .await
        .assert_problem(403, "access_denied");
    let failed = record(&s, "platform", "user.login_failed").await;
    assert_eq!(
        failed.detail,
        json!({"provider": "local", "method": "oidc", "reason": "denied"})
    );
    // Somebody who is not signed in has no key that could be destroyed: their network is kept, and no more.
    assert_eq!(failed.network.as_deref(), Some("203.0.113.0/24"));
    assert_eq!(failed.personal, None);
}

async fn record(s: &Scene, scope: &str, action: &str) -> AuditRecord {
    let mut records = audit_records(&s.t, scope).await.into_iter();
    records.find(|r| r.action.as_str() == action).unwrap()
}
