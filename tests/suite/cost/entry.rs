//! What coming in and going for good cost in DynamoDB.

use camarad::domain::auth::second_factor::shown;
use camarad::ids::UserId;
use camarad_tests::app::{Answer, TestApp};
use jiff::SignedDuration;
use serde_json::json;

use super::Ledger;
use crate::account_deletion::delete;
use crate::auth_magic_link::mailed;
use crate::onboarding_undone::{COMPLETE, wish};
use crate::usage_record;

/// A link is asked for, opened and followed: the three answers.
async fn followed(t: &TestApp, email: &str) -> [Answer; 3] {
    let wish = json!({"email": email, "mode": "token"});
    let sent = t.anonymous().post("/api/auth/magic-link", wish).await;
    let link = mailed(t).await;
    let opened = t
        .anonymous()
        .header("Accept", "application/json")
        .get(&link)
        .await;
    let cookie = opened.header("set-cookie").unwrap().split(';').next().unwrap();
    let proof = json!({"token": link.split("token=").nth(1), "nonce": opened.json(200)["nonce"]});
    let browser = t.anonymous().header("Cookie", cookie);
    let signed_in = browser.post("/api/auth/magic-link/verify", proof).await;
    [sent, opened, signed_in]
}

/// Somebody new follows a mailed link and renews the session; comes again, and once more with a second factor.
pub(super) async fn mailed_links(l: &mut Ledger, t: &TestApp) {
    const VERIFY: &str = "POST /api/auth/magic-link/verify";
    let email = "careful@example.com";
    let [sent, opened, signed_up] = followed(t, email).await;
    l.row("POST /api/auth/magic-link", "", &sent);
    l.row("GET /api/auth/magic-link/verify", "", &opened);
    l.row(VERIFY, "somebody new", &signed_up);
    let tokens = signed_up.json(200);
    let token = json!({"refreshToken": tokens["refreshToken"]});
    let renewed = t.anonymous().post("/api/auth/refresh", token).await;
    l.row("POST /api/auth/refresh", "", &renewed);
    let [.., signed_in] = followed(t, email).await;
    l.row(VERIFY, "somebody known", &signed_in);

    let path = "/api/user/security/2fa";
    let careful = t.anonymous().with_token(tokens["accessToken"].as_str().unwrap());
    let setup = careful.post(path, json!({})).await.json(200);
    let code = || shown(setup["secret"].as_str().unwrap(), t.app.clock().now()).unwrap();
    let verify = format!("{path}/verify");
    careful.post(&verify, json!({"code": code()})).await.json(200);
    let [.., waits] = followed(t, email).await;
    l.row(VERIFY, "it waits for more", &waits);
    t.clock.advance(SignedDuration::from_secs(60));
    let proof = json!({"mfaToken": waits.json(200)["mfaToken"], "code": code()});
    let signed_in = t.anonymous().post("/api/auth/2fa", proof).await;
    l.row("POST /api/auth/2fa", "", &signed_in);
}

/// Somebody new looks at their onboarding; somebody leaves.
pub(super) async fn lives(l: &mut Ledger, t: &TestApp) {
    let new = t.newcomer("new@example.com").await;
    t.executions.hold(true);
    let begun = new.once("1").post(COMPLETE, wish()).await.json(202);
    let path = format!("/api/onboarding/{}", begun["executionId"].as_str().unwrap());
    l.row("GET /api/onboarding/{executionId}", "", &new.get(&path).await);
    let gone = t.newcomer("gone@example.com").await;
    l.row("DELETE /api/user", "", &delete(&gone).await);
    let status = gone.get("/api/user/deletion").await;
    l.row("GET /api/user/deletion", "", &status);
}

/// A service tells of what it used.
pub(super) async fn recorded(l: &mut Ledger, t: &TestApp, operator: UserId) {
    let ready = usage_record::scene(t, Some(operator)).await;
    let answer = ready.who.send("POST", &ready.path, ready.body).await;
    l.row("POST /api/usage/record", "one event", &answer);
}
