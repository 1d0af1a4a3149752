//! Further ways to sign in: linked with consent, listed, taken away.

use camarad::domain::audit::view::views;
use camarad_tests::app::{Answer, Client, ORIGIN};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::{STATE_COOKIE, Scene, Started, audit_records, audits, cookies, scene, scene_with_mail};

const IDENTITIES: &str = "/api/user/security/identities";

/// Starts linking `other` to this person's account.
async fn start(who: &Client, mode: &str) -> Started {
    let answer = who
        .post(
            IDENTITIES,
            json!({"provider": "other", "mode": mode, "returnTo": "/security"}),
        )
        .await;
    let cookie = format!("{STATE_COOKIE}={}", cookies(&answer)[STATE_COOKIE]);
    Started {
        url: answer.json(201)["url"].as_str().unwrap().to_owned(),
        cookie,
    }
}

/// Links what the provider knows under this address.
pub async fn link(s: &Scene, who: &Client, email: &str) -> Answer {
    let started = start(who, "token").await;
    let callback = s.at_provider(&started, email).await;
    s.back(&started, &callback).await
}

async fn listed(who: &Client) -> Vec<Value> {
    let page = who.get(IDENTITIES).await.json(200);
    page["items"].as_array().unwrap().clone()
}

async fn id_of(who: &Client, provider: &str) -> String {
    let all = listed(who).await;
    let found = all.iter().find(|i| i["provider"] == provider);
    found.unwrap_or_else(|| panic!("{all:?}"))["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn signed_in(s: &Scene, provider: &str, email: &str) -> Answer {
    let started = s.start_at(provider, "mode=token").await;
    let callback = s.at_provider(&started, email).await;
    s.back(&started, &callback).await
}

#[tokio::test]
async fn somebody_links_a_second_provider_and_signs_in_with_it() {
    let s = scene().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&tokens);
    signed_in(&s, "other", "ann@example.com")
        .await
        .assert_problem(409, "account_exists");
    link(&s, &ann, "ann@example.com").await.assert_empty(204);
    let again = signed_in(&s, "other", "ann@example.com").await.json(200);
    assert_eq!(again["user"]["id"], tokens["user"]["id"]);

    let all = listed(&ann).await;
    let shown: Vec<_> = all.iter().map(|i| (&i["provider"], &i["email"])).collect();
    let email = json!("ann@example.com");
    assert_eq!(shown, [(&json!("local"), &email), (&json!("other"), &email)]);
    assert!(all.iter().all(|i| i.get("subject").is_none()), "{all:?}");
    let user = tokens["user"]["id"].as_str().unwrap();
    let linked = audits(&s.t, user).await;
    let linked: Vec<_> = linked.iter().filter(|(a, _)| a == "identity.linked").collect();
    assert_eq!(linked.len(), 1);
    assert_eq!(linked[0].1, json!({"provider": "other", "method": "oidc"}));
}

#[tokio::test]
async fn where_an_identity_was_linked_from_is_sealed_for_its_person() {
    let s = scene().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&tokens);
    let started = start(&ann, "token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let browser = s.t.anonymous().header("Cookie", &started.cookie);
    let browser = browser
        .header("User-Agent", "AnnsBrowser/7.0")
        .from("198.51.100.77");
    browser.get(&callback).await.assert_empty(204);
    let user = tokens["user"]["id"].as_str().unwrap();
    let records = audit_records(&s.t, user).await;
    let linked = records.iter().find(|r| r.action.as_str() == "identity.linked");
    let linked = linked.unwrap().clone();
    assert!(
        linked.network.is_none() && linked.personal.is_some(),
        "{linked:?}"
    );
    let table = s.t.snapshot().await.join("\n");
    assert!(!table.contains("AnnsBrowser") && !table.contains("198.51.100"));
    let shown = views(&s.t.app, vec![linked]).await.unwrap();
    assert_eq!(
        (shown[0].ip.as_deref(), shown[0].user_agent.as_deref()),
        (Some("198.51.100.77"), Some("AnnsBrowser/7.0"))
    );
}

#[tokio::test]
async fn an_identity_with_another_verified_address_can_be_linked_and_an_unverified_one_cannot() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    link(&s, &ann, "ann+unverified@work.example")
        .await
        .assert_problem(403, "email_not_verified");
    link(&s, &ann, "ann@work.example").await.assert_empty(204);
    let by_work = signed_in(&s, "other", "ann@work.example").await.json(200);
    assert_eq!(by_work["user"]["email"], "ann@example.com");
    // Linked once more: it stays as it is.
    link(&s, &ann, "ann@work.example").await.assert_empty(204);
    assert_eq!(listed(&ann).await.len(), 2);
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_linked() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    let bob = s.whole("mode=token", "bob@example.com").await.json(200);
    let bob = s.as_bearer(&bob);
    link(&s, &bob, "shared@example.com").await.assert_empty(204);
    let before = s.t.snapshot().await;
    link(&s, &ann, "shared@example.com")
        .await
        .assert_problem(409, "identity_taken");
    assert_eq!(before, s.t.snapshot().await);
    assert_eq!((listed(&ann).await.len(), listed(&bob).await.len()), (1, 2));
}

#[tokio::test]
async fn linking_needs_the_browser_and_the_session_that_asked() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    let started = start(&ann, "token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    // Another browser, and none.
    let mallory = s.start_at("other", "mode=token").await;
    s.back(&mallory, &callback)
        .await
        .assert_problem(400, "sign_in_failed");
    s.t.anonymous()
        .get(&callback)
        .await
        .assert_problem(400, "sign_in_failed");
    // The session ends before the provider has answered.
    ann.post("/api/auth/logout", json!({})).await.assert_empty(204);
    let before = s.t.snapshot().await.len();
    s.back(&started, &callback)
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!(
        s.t.snapshot().await.len(),
        before - 1,
        "the attempt alone is gone"
    );
    let back = s.as_bearer(&s.tokens("ann@example.com").await);
    assert_eq!(listed(&back).await.len(), 1);
}

#[tokio::test]
async fn a_browser_goes_back_to_the_frontend_with_its_cookies_as_they_were() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    let started = start(&ann, "browser").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let answer = s.back(&started, &callback).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some(format!("{ORIGIN}/security").as_str()))
    );
    assert!(answer.header("set-cookie").is_none());
    let bob = s.as_bearer(&s.tokens("bob@example.com").await);
    let started = start(&bob, "browser").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let answer = s.back(&started, &callback).await;
    assert_eq!(
        answer.header("location"),
        Some(format!("{ORIGIN}/?error=identity_taken").as_str())
    );
}

#[tokio::test]
async fn linking_and_unlinking_need_a_fresh_sign_in() {
    let s = scene_with_mail().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&tokens);
    let id = id_of(&ann, "local").await;
    s.t.clock.advance(SignedDuration::from_mins(16));
    let renewal = json!({"refreshToken": tokens["refreshToken"]});
    let renewed = s.t.anonymous().post("/api/auth/refresh", renewal).await.json(200);
    let ann = s.as_bearer(&renewed);
    ann.post(IDENTITIES, json!({"provider": "other"}))
        .await
        .assert_problem(403, "step_up_required");
    ann.delete(&format!("{IDENTITIES}/{id}"))
        .await
        .assert_problem(403, "step_up_required");
    assert_eq!(listed(&ann).await.len(), 1);
}

#[tokio::test]
async fn where_mail_is_sent_every_identity_can_go_and_signs_in_no_more() {
    let s = scene_with_mail().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&tokens);
    let path = format!("{IDENTITIES}/{}", id_of(&ann, "local").await);
    let stranger = s.as_bearer(&s.tokens("bob@example.com").await);
    stranger.delete(&path).await.assert_problem(404, "not_found");
    ann.once("k").delete(&path).await.assert_empty(204);
    ann.once("k").delete(&path).await.assert_empty(204);
    ann.delete(&path).await.assert_problem(404, "not_found");
    assert!(listed(&ann).await.is_empty());
    // The address still is the account's: by mail, or after linking again.
    s.whole("mode=token", "ann@example.com")
        .await
        .assert_problem(409, "account_exists");
    let user = tokens["user"]["id"].as_str().unwrap();
    let gone = audits(&s.t, user).await;
    let gone: Vec<_> = gone.iter().filter(|(a, _)| a == "identity.unlinked").collect();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].1, json!({"provider": "local"}));
}

#[tokio::test]
async fn where_no_mail_is_sent_the_last_identity_stays_whoever_races() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    let local = format!("{IDENTITIES}/{}", id_of(&ann, "local").await);
    ann.delete(&local).await.assert_problem(409, "last_identity");
    link(&s, &ann, "ann@example.com").await.assert_empty(204);
    let other = format!("{IDENTITIES}/{}", id_of(&ann, "other").await);
    let (one, two) = tokio::join!(ann.delete(&local), ann.delete(&other));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{} {}", one.body, two.body);
    assert_eq!(listed(&ann).await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_linked_is_told_by_its_field() {
    let s = scene().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    let before = s.t.snapshot().await;
    for (body, field) in [
        (json!({"provider": "none"}), "provider"),
        (
            json!({"provider": "other", "returnTo": "//evil.example"}),
            "returnTo",
        ),
        (json!({"provider": "other", "plan": "agency"}), "plan"),
    ] {
        ann.post(IDENTITIES, body).await.assert_invalid(field);
    }
    ann.delete(&format!("{IDENTITIES}/nope"))
        .await
        .assert_problem(404, "not_found");
    assert_eq!(before, s.t.snapshot().await);
}
