//! Signing out, also when there is little left to sign out of.

use camarad_tests::app::{Answer, Client, ORIGIN};
use jiff::SignedDuration;
use serde_json::json;

use crate::auth::{Scene, audit_records, cookies, scene};

/// A browser that has signed in: what it sends.
async fn browser_of(s: &Scene, email: &str) -> Client {
    let jar: Vec<_> = cookies(&s.whole("", email).await)
        .into_iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    s.t.anonymous().header("Cookie", &jar.join("; "))
}

fn all_gone(answer: &Answer) -> bool {
    let set = cookies(answer);
    set.len() == 5 && set.values().all(String::is_empty)
}

#[tokio::test]
async fn a_browser_signs_out_after_its_access_token_is_over() {
    let s = scene().await;
    let browser = browser_of(&s, "ann@example.com").await;
    let user = browser.get("/api/user").await.json(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    s.t.clock.advance(SignedDuration::from_mins(11));
    // Not for another site, with cookies or without, and its answer leaves the cookies alone.
    for (elsewhere, status) in [(browser.clone(), 403), (s.t.anonymous(), 401)] {
        let elsewhere = elsewhere.header("Origin", "https://evil.example");
        let refused = elsewhere.send("POST", "/api/auth/logout", None).await;
        assert_eq!(refused.status, status, "{}", refused.body);
        assert!(refused.header("set-cookie").is_none());
    }
    let here = browser.header("Origin", ORIGIN);
    let out = here.send("POST", "/api/auth/logout", None).await;
    out.assert_empty(204);
    assert!(all_gone(&out));
    here.send("POST", "/api/auth/refresh", None)
        .await
        .assert_problem(401, "unauthenticated");
    // Once more, and the record is written once, with who it was and where.
    let again = here.send("POST", "/api/auth/logout", None).await;
    again.assert_empty(204);
    assert!(all_gone(&again));
    let records = audit_records(&s.t, &user).await;
    let outs: Vec<_> = records
        .iter()
        .filter(|r| r.action.as_str() == "user.logout")
        .collect();
    assert_eq!(outs.len(), 1);
    assert!(outs[0].actor.person().is_some() && outs[0].personal.is_some());
}

#[tokio::test]
async fn a_browser_whose_session_is_no_more_still_loses_its_cookies() {
    let s = scene().await;
    let tokens = s.tokens("bob@example.com").await;
    let made_up = format!("{}x", &tokens["refreshToken"].as_str().unwrap()[..110]);
    for jar in ["a=b".to_owned(), format!("__Host-camarad-refresh={made_up}")] {
        let browser = s.t.anonymous().header("Cookie", &jar).header("Origin", ORIGIN);
        let out = browser.send("POST", "/api/auth/logout", None).await;
        out.assert_problem(401, "unauthenticated");
        assert!(all_gone(&out), "{jar}");
    }
    s.as_bearer(&tokens)
        .patch("/api/user", json!({"name": "Bob"}))
        .await
        .json(200);
    // Nothing of a browser survives its account.
    let browser = browser_of(&s, "ann@example.com").await.header("Origin", ORIGIN);
    let body = json!({"confirm": "DELETE"}).to_string();
    let deleted = browser.send("DELETE", "/api/user", Some(body)).await;
    assert_eq!(deleted.status, 202, "{}", deleted.body);
    assert!(all_gone(&deleted));
}
