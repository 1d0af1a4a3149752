//! Refresh tokens: used once, replaced, and dead with their whole family when one comes again.

use std::collections::BTreeSet;

use camarad::domain::auth::sessions::Session;
use camarad::domain::plans::Plan;
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::app::{Answer, Client, ORIGIN, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::auth::cookies;

/// A person with a session whose first refresh token is at hand.
struct Signed {
    t: TestApp,
    user: UserId,
    session: Session,
    token: String,
}

async fn signed_in() -> Signed {
    let t = TestApp::new().await;
    let user = t.sign_up("ann@example.com", Plan::Personal).await.user.unwrap();
    let clock = t.app.clock();
    let context = camarad::context::Context::system("test", clock.now());
    let (session, token) = Session::start(user, "test", &context, clock).unwrap();
    t.app.db().put(&session, None).await.unwrap();
    let token = token.expose();
    Signed {
        t,
        user,
        session,
        token,
    }
}

impl Signed {
    async fn refresh(&self, token: &str) -> Answer {
        self.t
            .anonymous()
            .post("/api/auth/refresh", json!({ "refreshToken": token }))
            .await
    }

    async fn next(&self, token: &str) -> String {
        let tokens: Value = self.refresh(token).await.json(200);
        tokens["refreshToken"].as_str().unwrap().to_owned()
    }

    async fn stored(&self) -> Session {
        self.t
            .app
            .db()
            .get(&keys::session(self.user, self.session.id))
            .await
            .unwrap()
            .unwrap()
    }

    async fn revocations(&self) -> usize {
        let all = self.t.snapshot().await;
        all.iter()
            .filter(|item| item.contains("\"session.revoked\""))
            .count()
    }

    fn bearer(&self, tokens: &Value) -> Client {
        self.t
            .anonymous()
            .with_token(tokens["accessToken"].as_str().unwrap())
    }
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_and_keeps_the_session() {
    let s = signed_in().await;
    s.t.clock.advance(SignedDuration::from_hours(24));
    let tokens = s.refresh(&s.token).await.json(200);
    assert!(tokens.get("user").is_none());
    let session = s.bearer(&tokens).get("/api/auth/session").await.json(200);
    assert_eq!(session["session"]["id"], s.session.id.to_string());
    assert_eq!(session["session"]["expiresAt"], json!(s.session.expires_at));
    assert_eq!(session["session"]["createdAt"], json!(s.session.authenticated_at));
    // Nothing in the table would let its reader refresh.
    let all = s.t.snapshot().await.join("\n");
    let next = tokens["refreshToken"].as_str().unwrap();
    for token in [&s.token, next] {
        assert!(!all.contains(&token[token.len() - 43..]));
    }
}

#[tokio::test]
async fn fifty_racing_refreshes_leave_one_live_successor() {
    let s = signed_in().await;
    let answers = join_all((0..50).map(|_| s.refresh(&s.token))).await;
    let successors: BTreeSet<_> = answers
        .iter()
        .map(|a| a.json(200)["refreshToken"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(successors.len(), 1);
    assert_eq!(s.stored().await.generation, 1);
    s.next(successors.first().unwrap()).await;
    assert_eq!(s.stored().await.generation, 2);
    assert_eq!(s.revocations().await, 0);
}

#[tokio::test]
async fn the_token_before_gives_the_same_successor_for_ten_seconds() {
    let s = signed_in().await;
    let second = s.next(&s.token).await;
    s.t.clock.advance(SignedDuration::from_millis(9_900));
    assert_eq!(s.next(&s.token).await, second);
    s.t.clock.advance(SignedDuration::from_millis(100));
    s.refresh(&s.token).await.assert_problem(401, "unauthenticated");
    s.refresh(&second).await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_token_that_comes_again_ends_its_whole_family() {
    let s = signed_in().await;
    let second = s.next(&s.token).await;
    let tokens = s.refresh(&second).await.json(200);
    let third = tokens["refreshToken"].as_str().unwrap();
    // Two generations old: no grace, however soon.
    s.refresh(&s.token).await.assert_problem(401, "unauthenticated");
    for token in [&s.token, &second, third] {
        s.refresh(token).await.assert_problem(401, "unauthenticated");
    }
    assert!(s.stored().await.revoked_at.is_some());
    assert_eq!(s.revocations().await, 1);
    let ann = s.bearer(&tokens);
    ann.patch("/api/user", json!({"name": "X"}))
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_made_up_token_ends_nobodys_session() {
    let s = signed_in().await;
    let at = s.token.len() - 65;
    let forged = format!("{}{}", &s.token[..at], "A".repeat(65));
    // The session's family, but another secret: that is a token of it that was used before.
    for token in [forged.as_str(), "", "camr_x", &s.token[..at], &"x".repeat(256)] {
        let answer = s.refresh(token).await;
        if token.is_empty() {
            answer.assert_invalid("refreshToken");
        } else {
            answer.assert_problem(401, "unauthenticated");
        }
    }
    assert!(s.stored().await.revoked_at.is_none());
    s.next(&s.token).await;
}

#[tokio::test]
async fn a_session_ends_after_thirty_days_however_often_it_was_refreshed() {
    let s = signed_in().await;
    let mut token = s.token.clone();
    for _ in 0..3 {
        s.t.clock.advance(SignedDuration::from_hours(10 * 24 - 1));
        token = s.next(&token).await;
    }
    s.t.clock.advance(SignedDuration::from_hours(3));
    s.refresh(&token).await.assert_problem(401, "unauthenticated");
    assert_eq!(s.revocations().await, 0);
}

#[tokio::test]
async fn a_browser_refreshes_with_cookies_from_the_frontend_alone() {
    let s = signed_in().await;
    let with = |token: &str| {
        s.t.anonymous()
            .header("Cookie", &format!("__Host-camarad-refresh={token}"))
    };
    let before = s.t.snapshot().await;
    for origin in [None, Some("https://evil.example"), Some("null")] {
        let browser = origin.map_or_else(|| with(&s.token), |o| with(&s.token).header("Origin", o));
        browser
            .send("POST", "/api/auth/refresh", None)
            .await
            .assert_problem(403, "forbidden");
    }
    s.t.anonymous()
        .header("Origin", ORIGIN)
        .send("POST", "/api/auth/refresh", None)
        .await
        .assert_problem(401, "unauthenticated");
    assert_eq!(before, s.t.snapshot().await);

    let answer = with(&s.token)
        .header("Origin", ORIGIN)
        .send("POST", "/api/auth/refresh", None)
        .await;
    answer.assert_empty(204);
    let fresh = cookies(&answer);
    let access = &fresh["__Host-camarad-access"];
    let browser =
        s.t.anonymous()
            .header("Cookie", &format!("__Host-camarad-access={access}"));
    assert_eq!(
        browser.get("/api/user").await.json(200)["email"],
        "ann@example.com"
    );
    assert_ne!(fresh["__Host-camarad-refresh"], s.token);

    s.t.clock.advance(SignedDuration::from_secs(11));
    let reused = with(&s.token)
        .header("Origin", ORIGIN)
        .send("POST", "/api/auth/refresh", None)
        .await;
    reused.assert_problem(401, "unauthenticated");
    assert!(cookies(&reused).values().all(String::is_empty) && cookies(&reused).len() == 2);
}
