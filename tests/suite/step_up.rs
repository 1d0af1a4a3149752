//! Proving once more who one is without a second factor: at a provider that asks again, or with a mailed link.

use camarad::domain::audit::view::views;
use camarad::domain::auth::sessions::Session;
use camarad::store::{Update, keys};
use camarad_tests::app::{Answer, Client, ORIGIN, TestApp};
use camarad_tests::peers::oidc::Tamper;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::{STATE_COOKIE, Scene, Started, audit_records, cookies, query, scene, scene_with_mail};
use crate::auth_magic_link::mailed;

const STEP_UP: &str = "/api/auth/step-up";
const VERIFY: &str = "/api/auth/magic-link/verify";
const LINK_COOKIE: &str = "__Host-camarad-link";

/// Somebody whose sign-in was an hour ago.
struct Stale {
    client: Client,
    tokens: Value,
    user: String,
    session: String,
}

/// Makes a session's sign-in an hour old. The clock stays, as the provider's is the real one.
async fn age(t: &TestApp, client: &Client) -> (String, String) {
    let current = client.get("/api/auth/session").await.json(200);
    let of = |what: &str| current[what]["id"].as_str().unwrap().to_owned();
    let (user, session) = (of("user"), of("session"));
    let old = t.app.clock().now() - SignedDuration::from_hours(1);
    let key = keys::session(user.parse().unwrap(), session.parse().unwrap());
    let update = Update::of(key).set("authenticatedAt", old).unwrap();
    t.app.db().update(&update).await.unwrap();
    (user, session)
}

async fn stale(s: &Scene, email: &str) -> Stale {
    let tokens = s.tokens(email).await;
    let client = s.as_bearer(&tokens);
    let (user, session) = age(&s.t, &client).await;
    Stale {
        client,
        tokens,
        user,
        session,
    }
}

/// Something that asks for a fresh sign-in and changes nothing.
async fn asks_for_more(who: &Client) -> Answer {
    who.delete("/api/user/security/identities/nope").await
}

async fn assert_stale(who: &Client) {
    asks_for_more(who).await.assert_problem(403, "step_up_required");
}

async fn assert_fresh(who: &Client) {
    asks_for_more(who).await.assert_problem(404, "not_found");
}

async fn start(who: &Client, with: &str, mode: &str) -> Started {
    let body = json!({"with": with, "mode": mode, "returnTo": "/security"});
    let answer = who.post(STEP_UP, body).await;
    Started {
        url: answer.json(200)["url"].as_str().unwrap().to_owned(),
        cookie: format!("{STATE_COOKIE}={}", cookies(&answer)[STATE_COOKIE]),
    }
}

/// The whole of it at the provider `local`, as somebody there.
async fn at_provider(s: &Scene, who: &Client, email: &str) -> Answer {
    let started = start(who, "local", "token").await;
    let callback = s.at_provider(&started, email).await;
    s.back(&started, &callback).await
}

async fn failures(s: &Scene, scope: &str) -> Vec<Value> {
    let all = s.audits(scope).await.into_iter();
    all.filter(|(action, _)| action == "user.login_failed")
        .map(|(_, detail)| detail)
        .collect()
}

async fn sessions_of(s: &Scene, user: &str) -> Vec<Session> {
    let of = keys::sessions(user.parse().unwrap());
    s.t.app.db().all::<Session>(&of).await.unwrap()
}

#[tokio::test]
async fn a_provider_that_asks_again_makes_the_same_session_fresh() {
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    assert_stale(&ann.client).await;
    let ways = ann.client.send("POST", STEP_UP, None).await.json(200);
    let expected =
        [("local", "Local"), ("email", "E-mail")].map(|(id, name)| json!({"id": id, "name": name}));
    assert_eq!(ways, json!({ "ways": expected }));

    let before = sessions_of(&s, &ann.user).await;
    let started = start(&ann.client, "local", "token").await;
    let asked = query(&started.url);
    assert_eq!(
        (asked["prompt"].as_str(), asked["max_age"].as_str()),
        ("login", "0")
    );
    let callback = s.at_provider(&started, "ann@example.com").await;
    let answer = s.back(&started, &callback).await;
    let grant = answer.json(200);
    assert!(grant.get("refreshToken").is_none() && answer.header("set-cookie").is_none());
    let fresh = s.as_bearer(&grant);
    let current = fresh.get("/api/auth/session").await.json(200);
    assert_eq!(current["session"]["id"], ann.session);
    // The session is fresh, whichever token shows it, and is the same one.
    for who in [&fresh, &ann.client] {
        assert_fresh(who).await;
    }
    let after = sessions_of(&s, &ann.user).await;
    let mut unchanged = after.clone();
    unchanged[0].authenticated_at = before[0].authenticated_at;
    assert_eq!((after.len(), &unchanged), (1, &before));
    let refresh = json!({"refreshToken": ann.tokens["refreshToken"]});
    s.t.anonymous().post("/api/auth/refresh", refresh).await.json(200);

    let records = audit_records(&s.t, &ann.user).await;
    let record = records.last().unwrap().clone();
    assert_eq!(
        (record.action.as_str(), record.resource.as_str()),
        ("user.login", ann.session.as_str())
    );
    assert_eq!(
        record.detail,
        json!({"stepUp": true, "provider": "local", "method": "oidc"})
    );
    assert!(record.network.is_none() && record.personal.is_some());
    let shown = views(&s.t.app, vec![record]).await.unwrap();
    assert_eq!(shown[0].ip.as_deref(), Some("203.0.113.7"));
    // An answer is good once.
    s.back(&started, &callback)
        .await
        .assert_problem(400, "sign_in_failed");
}

#[tokio::test]
async fn a_browser_goes_back_to_the_frontend_with_a_new_access_cookie_alone() {
    let s = scene().await;
    let answer = s.whole("", "ann@example.com").await;
    let jar: Vec<_> = cookies(&answer)
        .into_iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    let browser = s.t.anonymous().header("Cookie", &jar.join("; "));
    age(&s.t, &browser).await;
    let from_frontend = browser.header("Origin", ORIGIN);
    assert_stale(&from_frontend).await;
    // Another site cannot begin it.
    browser
        .header("Origin", "https://evil.example")
        .post(STEP_UP, json!({"with": "local"}))
        .await
        .assert_problem(403, "forbidden");
    let started = start(&from_frontend, "local", "browser").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let answer = s.back(&started, &callback).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some(format!("{ORIGIN}/security").as_str()))
    );
    assert_eq!(
        cookies(&answer).keys().collect::<Vec<_>>(),
        ["__Host-camarad-access"]
    );
    assert_fresh(&from_frontend).await;
}

#[tokio::test]
async fn somebody_elses_identity_changes_nothing_and_is_on_record() {
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    let bob = s.tokens("bob@example.com").await;
    let bobs = bob["user"]["id"].as_str().unwrap();
    let (before, bobs_log) = (sessions_of(&s, &ann.user).await, s.audits(bobs).await.len());
    // Of another account, and of none yet.
    for email in ["bob@example.com", "eve@example.com"] {
        at_provider(&s, &ann.client, email)
            .await
            .assert_problem(409, "identity_mismatch");
    }
    assert_stale(&ann.client).await;
    assert_eq!(sessions_of(&s, &ann.user).await, before);
    let told = json!({"provider": "local", "method": "oidc", "reason": "identity_mismatch", "stepUp": true});
    assert_eq!(failures(&s, &ann.user).await, [told.clone(), told]);
    assert_eq!(s.audits(bobs).await.len(), bobs_log);
    let items = s.t.snapshot().await.join("\n");
    assert!(!items.contains("eve@example.com"), "nobody new was made");
    let records = audit_records(&s.t, &ann.user).await;
    let failed = records
        .iter()
        .filter(|r| r.action.as_str() == "user.login_failed");
    assert!(
        failed.clone().count() == 2
            && failed
                .clone()
                .all(|r| r.network.is_none() && r.personal.is_some())
    );

    // A browser hears of it in the frontend's address.
    let started = start(&ann.client, "local", "browser").await;
    let callback = s.at_provider(&started, "bob@example.com").await;
    assert_eq!(
        s.back(&started, &callback).await.header("location"),
        Some(format!("{ORIGIN}/?error=identity_mismatch").as_str())
    );
}

#[tokio::test]
async fn a_provider_that_did_not_ask_again_makes_nothing_fresh() {
    let s = scene().await;
    let ann = stale(&s, "ann@example.com").await;
    for tamper in [Tamper::OldAuthTime, Tamper::WithoutAuthTime] {
        s.peer.tamper(tamper).await.unwrap();
        at_provider(&s, &ann.client, "ann@example.com")
            .await
            .assert_problem(400, "sign_in_failed");
    }
    assert_stale(&ann.client).await;
    let reasons: Vec<_> = failures(&s, &ann.user)
        .await
        .iter()
        .map(|d| d["reason"].clone())
        .collect();
    assert_eq!(reasons, ["id_token_auth_time", "id_token_auth_time"]);
    // A sign-in does not ask when it was, and one that lies about it is one.
    s.peer.tamper(Tamper::OldAuthTime).await.unwrap();
    s.tokens("ann@example.com").await;
}

#[tokio::test]
async fn a_step_up_needs_the_browser_and_the_session_that_asked() {
    let s = scene().await;
    let ann = stale(&s, "ann@example.com").await;
    let started = start(&ann.client, "local", "token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let other = s.start("mode=token").await;
    s.back(&other, &callback)
        .await
        .assert_problem(400, "sign_in_failed");
    s.t.anonymous()
        .get(&callback)
        .await
        .assert_problem(400, "sign_in_failed");
    assert_stale(&ann.client).await;
    // Whoever cancels is told so, in the account's log.
    let cancelled = start(&ann.client, "local", "token").await;
    let state = &query(&cancelled.url)["state"];
    let denied = format!(
        "/api/auth/local/callback?error=access_denied&state={state}&iss={}",
        s.peer.issuer
    );
    s.back(&cancelled, &denied)
        .await
        .assert_problem(403, "access_denied");
    assert_eq!(failures(&s, &ann.user).await.last().unwrap()["reason"], "denied");

    ann.client
        .post("/api/auth/logout", json!({}))
        .await
        .assert_empty(204);
    s.back(&started, &callback)
        .await
        .assert_problem(401, "unauthenticated");
    let left = sessions_of(&s, &ann.user).await;
    assert!(left[0].revoked_at.is_some() && left.len() == 1, "{left:?}");
}

#[tokio::test]
async fn what_is_no_way_of_theirs_is_told_by_its_field() {
    let s = scene().await;
    let ann = stale(&s, "ann@example.com").await;
    let ways = ann.client.post(STEP_UP, json!({})).await.json(200);
    assert_eq!(ways["ways"].as_array().unwrap().len(), 1, "{ways}");
    let before = s.t.snapshot().await;
    for (body, field) in [
        (json!({"with": "other"}), "with"),
        (json!({"with": "none"}), "with"),
        (json!({"with": "email"}), "with"),
        (json!({"with": "local", "returnTo": "//evil.example"}), "returnTo"),
        (json!({"code": "123456"}), "code"),
        (json!({"recoveryCode": "abcd-efgh-jkmn-pqrs"}), "recoveryCode"),
        (json!({"with": "local", "code": "123456"}), "with"),
    ] {
        ann.client.post(STEP_UP, body).await.assert_invalid(field);
    }
    assert_eq!(before, s.t.snapshot().await);
    let session = &ann.session;
    assert!(before.iter().any(|item| item.contains(session)));
}

/// Asks for the mail; its link, and the cookie of the browser that asked.
async fn link(s: &Scene, who: &Client, mode: &str) -> (String, String) {
    let body = json!({"with": "email", "mode": mode, "returnTo": "/security"});
    let answer = who.post(STEP_UP, body).await;
    assert_eq!(answer.json(200), json!({"mailed": true}));
    let cookie = format!("{LINK_COOKIE}={}", cookies(&answer)[LINK_COOKIE]);
    (mailed(&s.t).await, cookie)
}

/// Opens a link in a browser and presses the button.
async fn confirm(s: &Scene, link: &str, cookie: Option<&str>) -> Answer {
    let browser = match cookie {
        Some(cookie) => s.t.anonymous().header("Cookie", cookie),
        None => s.t.anonymous(),
    };
    let page = browser.header("Accept", "application/json").get(link).await;
    let nonce = page.json(200)["nonce"].as_str().unwrap().to_owned();
    let cookie = format!("{LINK_COOKIE}={}", cookies(&page)[LINK_COOKIE]);
    let token = &query(&format!("https://x.test{link}"))["token"];
    let browser = s.t.anonymous().header("Cookie", &cookie);
    browser
        .post(VERIFY, json!({"token": token, "nonce": nonce}))
        .await
}

#[tokio::test]
async fn a_mailed_link_makes_the_session_fresh_in_the_browser_that_asked() {
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    let (link, cookie) = link(&s, &ann.client, "token").await;
    let mail = s.t.mails().await.last().unwrap().clone();
    assert_eq!(mail["Subject"], "Confirm that it is you");
    let page = s.t.anonymous().header("Cookie", &cookie).get(&link).await;
    assert!(
        page.body.contains("<h1>Confirm that it is you</h1>"),
        "{}",
        page.body
    );
    assert_stale(&ann.client).await;
    // Whoever else opens it, a mail scanner or somebody who is talked into it, confirms nothing and does not use it up.
    for elsewhere in [None, Some(format!("{LINK_COOKIE}={}", "A".repeat(43)))] {
        confirm(&s, &link, elsewhere.as_deref())
            .await
            .assert_problem(400, "sign_in_failed");
    }
    assert_stale(&ann.client).await;
    assert_eq!(failures(&s, &ann.user).await.len(), 2);

    let grant = confirm(&s, &link, Some(&cookie)).await.json(200);
    assert!(grant.get("refreshToken").is_none(), "{grant}");
    assert_fresh(&s.as_bearer(&grant)).await;
    let sessions = sessions_of(&s, &ann.user).await;
    assert_eq!(
        (sessions.len(), sessions[0].id.to_string()),
        (1, ann.session.clone())
    );
    let last = s.audits(&ann.user).await.last().unwrap().clone();
    let told = json!({"stepUp": true, "provider": "email", "method": "magic_link"});
    assert_eq!(last, ("user.login".into(), told));
    confirm(&s, &link, Some(&cookie))
        .await
        .assert_problem(400, "sign_in_failed");
}

#[tokio::test]
async fn a_browser_confirms_and_goes_on_and_a_session_that_has_ended_is_not_brought_back() {
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    let (first, cookie) = link(&s, &ann.client, "browser").await;
    let answer = confirm(&s, &first, Some(&cookie)).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some(format!("{ORIGIN}/security").as_str()))
    );
    assert_eq!(
        cookies(&answer).keys().collect::<Vec<_>>(),
        ["__Host-camarad-access"]
    );

    let (second, cookie) = link(&s, &ann.client, "token").await;
    ann.client
        .post("/api/auth/logout", json!({}))
        .await
        .assert_empty(204);
    confirm(&s, &second, Some(&cookie))
        .await
        .assert_problem(401, "unauthenticated");
    let (third, cookie) = {
        let again = stale(&s, "ann@example.com").await;
        link(&s, &again.client, "token").await
    };
    s.t.clock.advance(SignedDuration::from_mins(16));
    confirm(&s, &third, Some(&cookie))
        .await
        .assert_problem(400, "sign_in_failed");
    assert_eq!(sessions_of(&s, &ann.user).await.len(), 2);
}

#[tokio::test]
async fn a_link_for_a_step_up_goes_to_the_accounts_address_at_most_five_times_an_hour() {
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    for _ in 0..5 {
        link(&s, &ann.client, "token").await;
    }
    let over = ann.client.post(STEP_UP, json!({"with": "email"})).await;
    over.assert_problem(429, "rate_limited");
    let mails = s.t.mails().await;
    assert!(mails.iter().all(|m| m.to_string().contains("ann@example.com")) && mails.len() == 5);
}

#[tokio::test]
async fn whoever_turned_a_second_factor_on_meanwhile_needs_it() {
    use camarad::domain::auth::second_factor::shown;
    const FACTOR: &str = "/api/user/security/2fa";
    let s = scene_with_mail().await;
    let ann = stale(&s, "ann@example.com").await;
    let started = start(&ann.client, "local", "token").await;
    let callback = s.at_provider(&started, "ann@example.com").await;
    let (link, cookie) = link(&s, &ann.client, "token").await;

    let other = s.as_bearer(&s.tokens("ann@example.com").await);
    let setup = other.post(FACTOR, json!({})).await.json(200);
    let code = shown(setup["secret"].as_str().unwrap(), s.t.app.clock().now()).unwrap();
    let verify = format!("{FACTOR}/verify");
    other.post(&verify, json!({ "code": code })).await.json(200);

    s.back(&started, &callback)
        .await
        .assert_problem(401, "unauthenticated");
    confirm(&s, &link, Some(&cookie))
        .await
        .assert_problem(401, "unauthenticated");
    assert_stale(&ann.client).await;
    for body in [json!({"with": "local"}), json!({"with": "email"}), json!({})] {
        ann.client.post(STEP_UP, body).await.assert_invalid("code");
    }
}
