//! A person's sessions: listed, and ended.

use camarad::domain::plans::Plan;
use camarad_tests::app::{Client, TestApp};
use jiff::SignedDuration;
use serde_json::{Value, json};

const SESSIONS: &str = "/api/user/security/sessions";

async fn ids(who: &Client) -> Vec<Value> {
    let list = who.get(SESSIONS).await.json(200);
    list["items"].as_array().unwrap().clone()
}

fn path(session: &Value) -> String {
    format!("{SESSIONS}/{}", session["id"].as_str().unwrap())
}

#[tokio::test]
async fn an_ended_session_writes_nothing_at_once_and_reads_for_ten_minutes_at_most() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    t.clock.advance(SignedDuration::from_secs(5));
    let phone = t.sign_in(ann.user.unwrap()).await;
    let list = ids(&ann).await;
    assert_eq!(
        (list.len(), &list[0]["current"], &list[1]["current"]),
        (2, &json!(false), &json!(true))
    );
    assert_eq!(list[0]["device"], "Unknown device");
    ann.delete(&path(&list[0])).await.assert_empty(204);
    ann.delete(&path(&list[0])).await.assert_problem(404, "not_found");
    phone
        .patch("/api/user", json!({"name": "X"}))
        .await
        .assert_problem(401, "unauthenticated");
    phone.get("/api/user").await.json(200);
    assert_eq!(ids(&ann).await.len(), 1);
    t.clock.advance(SignedDuration::from_secs(631));
    phone
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn nobody_ends_a_session_of_somebody_else() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let bob = t.sign_up("bob@example.com", Plan::Personal).await;
    let before = t.snapshot().await;
    let anns = ids(&ann).await;
    bob.delete(&path(&anns[0])).await.assert_problem(404, "not_found");
    bob.delete(&format!("{SESSIONS}/nonsense"))
        .await
        .assert_problem(404, "not_found");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn all_other_sessions_end_together_and_the_same_key_tells_the_same() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let user = ann.user.unwrap();
    let mut others = Vec::new();
    for _ in 0..45 {
        others.push(t.sign_in(user).await);
    }
    let revoke = format!("{SESSIONS}/revoke-others");
    let stale = t.later(&ann, SignedDuration::from_mins(16)).await;
    stale
        .post(&revoke, json!({}))
        .await
        .assert_problem(403, "step_up_required");
    let fresh = t.sign_in(user).await;
    let first = fresh.once("k").post(&revoke, json!({})).await;
    assert_eq!(first.json(200), json!({"revoked": 46}));
    assert_eq!(ids(&fresh).await.len(), 1);
    for other in others.iter().chain([&stale]).step_by(9) {
        other
            .patch("/api/user", json!({"name": "X"}))
            .await
            .assert_problem(401, "unauthenticated");
    }
    let again = fresh.once("k").post(&revoke, json!({})).await;
    assert_eq!(again.body, first.body);
    fresh.patch("/api/user", json!({"name": "Ann"})).await.json(200);
    assert_eq!(
        fresh.post(&revoke, json!({})).await.json(200),
        json!({"revoked": 0})
    );
}
