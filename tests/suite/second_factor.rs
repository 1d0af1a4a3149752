//! The second factor: set up, asked for at sign-in, guessed at, lost.

use camarad::context::Context;
use camarad::domain::auth::second_factor::{SecondFactor, shown};
use camarad::domain::auth::sessions::Session;
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::app::{Answer, Client, ORIGIN};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::{Scene, cookies, scene, scene_with_mail};

const FACTOR: &str = "/api/user/security/2fa";

/// Ann, who has an authenticator app.
pub struct Ann {
    pub s: Scene,
    pub tokens: Value,
    secret: String,
    pub recovery: Vec<String>,
}

impl Ann {
    pub async fn new() -> Self {
        let s = scene_with_mail().await;
        let tokens = s.tokens("ann@example.com").await;
        let ann = s.as_bearer(&tokens);
        let setup = ann.post(FACTOR, json!({})).await.json(200);
        let secret = setup["secret"].as_str().unwrap().to_owned();
        let code = shown(&secret, s.t.app.clock().now()).unwrap();
        let path = format!("{FACTOR}/verify");
        let codes = ann.post(&path, json!({ "code": code })).await.json(200);
        let codes = codes["recoveryCodes"].as_array().unwrap().iter();
        let recovery = codes.map(|c| c.as_str().unwrap().to_owned()).collect();
        s.t.clock.advance(SignedDuration::from_secs(60));
        Self {
            s,
            tokens,
            secret,
            recovery,
        }
    }

    pub fn user(&self) -> UserId {
        self.tokens["user"]["id"].as_str().unwrap().parse().unwrap()
    }

    pub fn client(&self) -> Client {
        self.s.as_bearer(&self.tokens)
    }

    pub fn code(&self) -> String {
        shown(&self.secret, self.s.t.app.clock().now()).unwrap()
    }

    /// A code that is not right now.
    pub fn wrong(&self) -> String {
        let now = self.s.t.app.clock().now();
        let near =
            [-60, -30, 0, 30, 60].map(|s| shown(&self.secret, now + SignedDuration::from_secs(s)).unwrap());
        let all = (0..10).map(|n| format!("{n:06}"));
        all.into_iter().find(|code| !near.contains(code)).unwrap()
    }

    /// Signs in as far as the provider can say; the token that waits.
    pub async fn waiting(&self) -> String {
        let answer = self.s.whole("mode=token", "ann@example.com").await.json(200);
        assert_eq!(answer["mfaRequired"], true);
        assert!(answer.get("accessToken").is_none(), "{answer}");
        answer["mfaToken"].as_str().unwrap().to_owned()
    }

    /// The same at a time when the provider, whose clock is the real one, could not say so.
    pub async fn begun(&self) -> String {
        let clock = self.s.t.app.clock();
        let context = Context::system("test", clock.now());
        let (session, token) = Session::start(self.user(), "local", &context, clock).unwrap();
        let session = session.waiting(clock.now()).unwrap();
        self.s.t.app.db().put(&session, None).await.unwrap();
        token.expose()
    }

    pub async fn finish(&self, token: &str, with: (&str, &str)) -> Answer {
        let body = json!({"mfaToken": token, with.0: with.1});
        self.s.t.anonymous().post("/api/auth/2fa", body).await
    }
}

#[tokio::test]
async fn a_sign_in_waits_for_the_app_and_is_nothing_before() {
    let a = Ann::new().await;
    assert_eq!(
        a.client().get(FACTOR).await.json(200),
        json!({"enabled": true, "pending": false, "recoveryCodesLeft": 10})
    );
    let token = a.waiting().await;
    // Neither a refresh token nor a session in the list.
    let refresh = json!({ "refreshToken": token });
    a.s.t
        .anonymous()
        .post("/api/auth/refresh", refresh)
        .await
        .assert_problem(401, "unauthenticated");
    let sessions = a.client().get("/api/user/security/sessions").await.json(200);
    assert_eq!(sessions["items"].as_array().unwrap().len(), 1);

    let tokens = a.finish(&token, ("code", &a.code())).await.json(200);
    assert_eq!(tokens["user"]["email"], "ann@example.com");
    a.s.as_bearer(&tokens)
        .patch("/api/user", json!({"name": "Ann"}))
        .await
        .json(200);
    let next = json!({"refreshToken": tokens["refreshToken"]});
    a.s.t.anonymous().post("/api/auth/refresh", next).await.json(200);
    // What waited is used up, and is no refresh token now either.
    a.s.t.clock.advance(SignedDuration::from_secs(60));
    a.finish(&token, ("code", &a.code()))
        .await
        .assert_problem(401, "unauthenticated");
    let scope = tokens["user"]["id"].as_str().unwrap();
    let logins =
        a.s.audits(scope)
            .await
            .into_iter()
            .filter(|(action, _)| action == "user.login");
    let details: Vec<_> = logins.map(|(_, detail)| detail).collect();
    assert_eq!(details.len(), 2, "{details:?}");
    assert!(details.iter().any(|d| d["secondFactor"] == "totp"), "{details:?}");
}

#[tokio::test]
async fn sessions_from_before_go_on() {
    let a = Ann::new().await;
    let refresh = json!({"refreshToken": a.tokens["refreshToken"]});
    let next =
        a.s.t
            .anonymous()
            .post("/api/auth/refresh", refresh)
            .await
            .json(200);
    a.s.as_bearer(&next).get("/api/user").await.json(200);
}

#[tokio::test]
async fn a_code_is_good_once() {
    let a = Ann::new().await;
    let (one, two) = (a.waiting().await, a.waiting().await);
    let code = a.code();
    let answers = join_all([&one, &two].map(|token| a.finish(token, ("code", &code)))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
}

#[tokio::test]
async fn parallel_guesses_are_counted_one_by_one() {
    let a = Ann::new().await;
    let token = a.waiting().await;
    let wrong = a.wrong();
    let answers = join_all((0..30).map(|_| a.finish(&token, ("code", &wrong)))).await;
    let of = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((of(422), of(429)), (5, 25));
    let refused = a.finish(&token, ("code", &a.code())).await;
    refused.assert_problem(429, "rate_limited");
    let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&wait), "{wait}");
    a.s.t.clock.advance(SignedDuration::from_secs(wait + 1));
    a.finish(&token, ("code", &a.code())).await.json(200);
    let scope = a.tokens["user"]["id"].as_str().unwrap();
    let failed =
        a.s.actions(scope)
            .await
            .into_iter()
            .filter(|action| action == "user.login_failed");
    assert_eq!(failed.count(), 5);
}

#[tokio::test]
async fn a_recovery_code_replaces_the_app_once() {
    let a = Ann::new().await;
    let code = a.recovery[3].to_uppercase().replace('-', " ");
    a.finish(&a.waiting().await, ("recoveryCode", &code))
        .await
        .json(200);
    a.finish(&a.waiting().await, ("recoveryCode", &code))
        .await
        .assert_invalid("recoveryCode");
    assert_eq!(a.client().get(FACTOR).await.json(200)["recoveryCodesLeft"], 9);
    let renewed = a
        .client()
        .post(&format!("{FACTOR}/recovery-codes"), json!({}))
        .await
        .json(200);
    a.finish(&a.waiting().await, ("recoveryCode", &a.recovery[4]))
        .await
        .assert_invalid("recoveryCode");
    let new = renewed["recoveryCodes"][0].as_str().unwrap();
    a.finish(&a.waiting().await, ("recoveryCode", new))
        .await
        .json(200);
}

#[tokio::test]
async fn a_sign_in_whose_factor_was_turned_off_meanwhile_starts_again() {
    let a = Ann::new().await;
    let before = a.waiting().await;
    let tokens = a.finish(&a.waiting().await, ("code", &a.code())).await.json(200);
    a.s.as_bearer(&tokens).delete(FACTOR).await.assert_empty(204);
    a.s.t.clock.advance(SignedDuration::from_secs(60));
    a.finish(&before, ("code", &a.code()))
        .await
        .assert_problem(401, "unauthenticated");
    let plain = a.s.tokens("ann@example.com").await;
    assert!(plain["accessToken"].is_string());
    for token in ["camr_x", "", &"x".repeat(256)] {
        assert!([401, 422].contains(&a.finish(token, ("code", "000000")).await.status));
    }
}

#[tokio::test]
async fn a_sign_in_waits_ten_minutes() {
    let a = Ann::new().await;
    let (in_time, late) = (a.waiting().await, a.waiting().await);
    a.s.t.clock.advance(SignedDuration::from_secs(590));
    a.finish(&in_time, ("code", &a.code())).await.json(200);
    a.s.t.clock.advance(SignedDuration::from_secs(30));
    a.finish(&late, ("code", &a.code()))
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_browser_waits_with_a_cookie_and_finishes_from_the_frontend() {
    let a = Ann::new().await;
    let answer = a.s.whole("returnTo=/agents", "ann@example.com").await;
    assert_eq!(answer.status, 303);
    assert_eq!(
        answer.header("location"),
        Some(format!("{ORIGIN}/?mfa=required&returnTo=%2Fagents").as_str())
    );
    let set = cookies(&answer);
    assert_eq!(set.len(), 1, "{set:?}");
    let browser = a.s.t.anonymous().header(
        "Cookie",
        &format!("__Host-camarad-mfa={}", set["__Host-camarad-mfa"]),
    );
    let body = json!({"code": a.code()});
    for forged in [browser.clone(), browser.header("Origin", "https://evil.example")] {
        forged
            .post("/api/auth/2fa", body.clone())
            .await
            .assert_problem(403, "forbidden");
    }
    let cross = browser
        .header("Origin", ORIGIN)
        .header("Sec-Fetch-Site", "cross-site");
    cross
        .post("/api/auth/2fa", body.clone())
        .await
        .assert_problem(403, "forbidden");
    let done = browser.header("Origin", ORIGIN).post("/api/auth/2fa", body).await;
    done.assert_empty(204);
    let set = cookies(&done);
    assert_eq!(set["__Host-camarad-mfa"], "");
    let access = format!("__Host-camarad-access={}", set["__Host-camarad-access"]);
    a.s.t
        .anonymous()
        .header("Cookie", &access)
        .get("/api/user")
        .await
        .json(200);
}

#[tokio::test]
async fn nothing_in_the_table_lets_its_reader_make_a_code() {
    let a = Ann::new().await;
    let all = a.s.t.snapshot().await.join("\n");
    let bytes = data_encoding::BASE32_NOPAD.decode(a.secret.as_bytes()).unwrap();
    for text in [
        a.secret.clone(),
        data_encoding::BASE64URL_NOPAD.encode(&bytes),
        data_encoding::BASE64.encode(&bytes),
    ] {
        assert!(!all.contains(&text));
    }
    assert!(
        a.recovery
            .iter()
            .all(|code| !all.contains(code.as_str()) && !all.contains(&code.replace('-', "")))
    );
}

#[tokio::test]
async fn a_setup_counts_once_its_first_code_was_seen() {
    let s = scene().await;
    let tokens = s.tokens("ann@example.com").await;
    let ann = s.as_bearer(&tokens);
    let verify = format!("{FACTOR}/verify");
    ann.post(&verify, json!({"code": "000000"}))
        .await
        .assert_problem(409, "two_factor_not_set_up");
    ann.post(&format!("{FACTOR}/recovery-codes"), json!({}))
        .await
        .assert_problem(409, "two_factor_not_set_up");
    ann.delete(FACTOR).await.assert_problem(404, "not_found");
    let first = ann.once("k").post(FACTOR, json!({})).await;
    // The same key brings the same secret back, which the table does not have readable.
    let again = ann.once("k").post(FACTOR, json!({})).await;
    assert_eq!(
        (first.json(200), again.header("idempotency-replayed")),
        (again.json(200), Some("true"))
    );
    let old = first.json(200)["secret"].as_str().unwrap().to_owned();
    assert!(!s.t.snapshot().await.join("\n").contains(&old));
    // Not asked for yet.
    assert!(s.tokens("ann@example.com").await["accessToken"].is_string());
    let setup = ann.post(FACTOR, json!({})).await.json(200);
    let code = |secret: &str| json!({"code": shown(secret, s.t.app.clock().now()).unwrap()});
    if code(&old) != code(setup["secret"].as_str().unwrap()) {
        ann.post(&verify, code(&old)).await.assert_invalid("code");
    }
    ann.post(&verify, json!({"code": "12345"}))
        .await
        .assert_invalid("code");
    ann.post(&verify, code(setup["secret"].as_str().unwrap()))
        .await
        .json(200);
    ann.post(FACTOR, json!({}))
        .await
        .assert_problem(409, "two_factor_enabled");
    let stored: SecondFactor = {
        let user = tokens["user"]["id"].as_str().unwrap().parse().unwrap();
        s.t.app
            .db()
            .get(&keys::second_factor(user))
            .await
            .unwrap()
            .unwrap()
    };
    assert!(stored.active && stored.recovery.len() == 10);
}

#[tokio::test]
async fn a_step_up_makes_the_session_fresh() {
    let a = Ann::new().await;
    let stale = a.s.t.later(&a.client(), SignedDuration::from_hours(1)).await;
    let body = json!({"name": "Robot", "scopes": ["user:read"]});
    let keys = "/api/user/security/api-keys";
    stale
        .post(keys, body.clone())
        .await
        .assert_problem(403, "step_up_required");
    stale
        .post("/api/auth/step-up", json!({}))
        .await
        .assert_invalid("code");
    stale
        .post("/api/auth/step-up", json!({"code": a.wrong()}))
        .await
        .assert_invalid("code");
    let answer = stale
        .post("/api/auth/step-up", json!({"code": a.code()}))
        .await
        .json(200);
    let fresh = stale.with_token(answer["accessToken"].as_str().unwrap());
    fresh.post(keys, body.clone()).await.json(201);
    // The session is fresh, whichever token shows it.
    stale.post(keys, body).await.json(201);
}
