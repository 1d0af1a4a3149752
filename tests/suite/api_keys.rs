//! API keys: what programs sign in with.

use camarad::domain::auth::api_keys::{ApiKey, KeyScope};
use camarad::domain::plans::Plan;
use camarad::ids::{UserId, WorkspaceId};
use camarad::store::record::AuditRecord;
use camarad::store::{Cond, PageRequest, keys};
use camarad_tests::app::{Client, ORIGIN, TestApp};
use jiff::SignedDuration;
use serde_json::json;

use crate::desk::{agent, workspace};

async fn stored(t: &TestApp, user: UserId) -> Vec<ApiKey> {
    let page = PageRequest::default();
    t.app
        .db()
        .list(&keys::api_keys(user), &page, false)
        .await
        .unwrap()
        .items
}

async fn ann(t: &TestApp) -> (Client, UserId) {
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let user = ann.user.unwrap();
    (ann, user)
}

#[tokio::test]
async fn a_key_of_one_workspace_knows_of_no_other_place() {
    let t = TestApp::new().await;
    let (ann, user) = ann(&t).await;
    let (home, office) = (workspace(&ann).await, workspace(&ann).await);
    let (there, elsewhere) = (agent(&ann, &home).await, agent(&ann, &office).await);
    let only: WorkspaceId = home.parse().unwrap();
    let program = t.api_key(user, KeyScope::ALL, Some(only)).await;
    for path in [format!("/api/workspaces/{home}"), format!("/api/agents/{there}")] {
        program.get(&path).await.json(200);
    }
    let missing = WorkspaceId::new(t.app.clock());
    for path in [
        format!("/api/workspaces/{office}"),
        format!("/api/workspaces/{missing}"),
        format!("/api/agents/{elsewhere}"),
        format!("/api/usage?workspaceId={office}"),
    ] {
        program.get(&path).await.assert_problem(404, "not_found");
    }
    for path in ["/api/user", "/api/workspaces", "/api/ledger/balance"] {
        program.get(path).await.assert_problem(403, "insufficient_scope");
    }
}

#[tokio::test]
async fn a_key_has_the_rights_of_its_owner_at_the_time_and_no_more() {
    let t = TestApp::new().await;
    let (ann, _) = ann(&t).await;
    let home = workspace(&ann).await;
    let path = format!("/api/workspaces/{home}");
    let member = t.join(&home, camarad::domain::permissions::Role::Member).await;
    let user = member.user.unwrap();
    let program = t.api_key(user, KeyScope::ALL, None).await;
    program.get(&path).await.json(200);
    program
        .patch(&path, json!({"name": "X"}))
        .await
        .assert_problem(403, "forbidden");
    let row = keys::member(home.parse().unwrap(), user);
    t.app
        .db()
        .take(&row, &Cond::item_exists())
        .await
        .unwrap()
        .unwrap();
    program.get(&path).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn an_expired_key_and_a_deleted_one_open_nothing_at_once() {
    let t = TestApp::new().await;
    let (_, user) = ann(&t).await;
    let (old, gone) = (
        t.api_key(user, KeyScope::ALL, None).await,
        t.api_key(user, KeyScope::ALL, None).await,
    );
    gone.get("/api/user").await.json(200);
    let key = keys::api_key(user, stored(&t, user).await[1].id);
    t.app
        .db()
        .take(&key, &Cond::item_exists())
        .await
        .unwrap()
        .unwrap();
    gone.get("/api/user").await.assert_problem(401, "unauthenticated");
    old.get("/api/user").await.json(200);
    t.clock.advance(SignedDuration::from_hours(24 * 30));
    old.get("/api/user").await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_cookie_is_no_place_for_an_api_key() {
    let t = TestApp::new().await;
    let (_, user) = ann(&t).await;
    let program = t.api_key(user, KeyScope::ALL, None).await;
    let cookie = format!("__Host-camarad-access={}", program.token.unwrap());
    let browser = t.anonymous().header("Cookie", &cookie).header("Origin", ORIGIN);
    browser
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_last_use_is_noted_at_most_once_in_five_minutes_and_for_the_real_key_alone() {
    let t = TestApp::new().await;
    let (_, user) = ann(&t).await;
    let program = t.api_key(user, KeyScope::ALL, None).await;
    let last = async || stored(&t, user).await[0].last_used_at;
    assert_eq!(last().await, None);
    let forged = t.api_key(UserId::new(t.app.clock()), KeyScope::ALL, None).await;
    forged.get("/api/user").await;
    assert_eq!(last().await, None);
    let answer = program.get("/api/user").await;
    let first = last().await.unwrap();
    // Beside the read of the key, not after it.
    assert_eq!(answer.cost.serial, 2, "{:?}", answer.cost);
    program.get("/api/user").await.json(200);
    t.clock.advance(SignedDuration::from_secs(290));
    program.get("/api/user").await.json(200);
    assert_eq!(last().await, Some(first));
    t.clock.advance(SignedDuration::from_secs(10));
    program.get("/api/user").await.json(200);
    assert!(last().await.unwrap().duration_since(first) >= SignedDuration::from_mins(5));
}

#[tokio::test]
async fn the_audit_log_names_the_key_and_the_person() {
    let t = TestApp::new().await;
    let (_, user) = ann(&t).await;
    let program = t.api_key(user, &[KeyScope::UserWrite], None).await;
    program
        .patch("/api/user", json!({"name": "Robot"}))
        .await
        .json(200);
    let id = stored(&t, user).await[0].id;
    let page = PageRequest::default();
    let log = keys::audits(&user.to_string());
    let records = t.app.db().list::<AuditRecord>(&log, &page, false).await.unwrap();
    let actor = serde_json::to_value(&records.items[0].actor).unwrap();
    assert_eq!(actor, json!({"type": "apiKey", "id": id, "user": user}));
}

#[tokio::test]
async fn idempotency_keys_of_a_person_and_of_their_programs_do_not_meet() {
    let t = TestApp::new().await;
    let (ann, user) = ann(&t).await;
    let program = t.api_key(user, KeyScope::ALL, None).await;
    let body = json!({"name": "Home", "type": "business"});
    let mut made = std::collections::BTreeSet::new();
    for who in [&ann, &program, &program] {
        let answer = who.once("same").post("/api/workspaces", body.clone()).await;
        made.insert(answer.json(201)["id"].to_string());
    }
    assert_eq!(made.len(), 2);
}

#[tokio::test]
async fn a_keys_requests_are_counted_by_key() {
    let t = TestApp::new().await;
    let (ann, user) = ann(&t).await;
    let program = t.api_key(user, KeyScope::ALL, None).await;
    let other = t.api_key(user, KeyScope::ALL, None).await;
    // A window begins now, so that the minute does not end in the middle.
    let into = t.app.clock().now().as_second() % 60;
    t.clock.advance(SignedDuration::from_secs(60 - into));
    for _ in 0..100 {
        program.get("/api/user").await.json(200);
    }
    program.get("/api/user").await.assert_problem(429, "rate_limited");
    other.get("/api/user").await.json(200);
    ann.get("/api/user").await.json(200);
}

const KEYS: &str = "/api/user/security/api-keys";

fn order(name: &str) -> serde_json::Value {
    json!({"name": name, "scopes": ["user:read", "agents:use"]})
}

#[tokio::test]
async fn a_key_is_shown_once_and_works() {
    let t = TestApp::new().await;
    let (ann, user) = ann(&t).await;
    let made = ann.once("k").post(KEYS, order("Robot")).await;
    let body = made.json(201);
    let key = body["key"].as_str().unwrap();
    assert!(key.starts_with("cbk_test_"));
    assert!(
        body["apiKey"]["hint"]
            .as_str()
            .unwrap()
            .ends_with(&key[key.len() - 4..])
    );
    t.anonymous().with_token(key).get("/api/user").await.json(200);
    // The same Idempotency-Key brings it back, byte for byte; the table has it nowhere.
    let again = ann.once("k").post(KEYS, order("Robot")).await;
    assert_eq!(
        (again.body.as_str(), again.header("idempotency-replayed")),
        (made.body.as_str(), Some("true"))
    );
    assert_eq!(stored(&t, user).await.len(), 1);
    assert!(!t.snapshot().await.join("\n").contains(&key[9 + 52..]));
    let list = ann.get(KEYS).await.json(200);
    assert_eq!(list["items"][0]["id"], body["apiKey"]["id"]);
    assert!(list["items"][0]["lastUsedAt"].is_string() && list["items"][0].get("secretHash").is_none());
    let days = stored(&t, user).await[0]
        .expires_at
        .duration_since(t.app.clock().now())
        .as_hours()
        / 24;
    assert!((89..=90).contains(&days), "{days}");

    let path = format!("{KEYS}/{}", body["apiKey"]["id"].as_str().unwrap());
    ann.delete(&path).await.assert_empty(204);
    ann.delete(&path).await.assert_problem(404, "not_found");
    t.anonymous()
        .with_token(key)
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
    let log = keys::audits(&user.to_string());
    let records = t
        .app
        .db()
        .list::<AuditRecord>(&log, &PageRequest::default(), false)
        .await
        .unwrap();
    let actions: Vec<_> = records.items.iter().map(|r| r.action.as_str()).collect();
    assert_eq!(actions, ["api_key.created", "api_key.revoked"]);
}

#[tokio::test]
async fn a_bad_order_names_its_field_and_a_stale_session_makes_no_key() {
    let t = TestApp::new().await;
    let (ann, _) = ann(&t).await;
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    let foreign = workspace(&bob).await;
    let before = t.snapshot().await;
    for (body, field) in [
        (json!({"name": "x", "scopes": []}), "scopes"),
        (json!({"name": "x", "scopes": ["everything"]}), "scopes[0]"),
        (json!({"name": "", "scopes": ["user:read"]}), "name"),
        (
            json!({"name": "x", "scopes": ["user:read"], "expiresInDays": 366}),
            "expiresInDays",
        ),
        (
            json!({"name": "x", "scopes": ["user:read"], "expiresInDays": 0}),
            "expiresInDays",
        ),
        (
            json!({"name": "x", "scopes": ["user:read"], "admin": true}),
            "admin",
        ),
    ] {
        ann.post(KEYS, body).await.assert_invalid(field);
    }
    let elsewhere = json!({"name": "x", "scopes": ["user:read"], "workspaceId": foreign});
    ann.post(KEYS, elsewhere).await.assert_problem(404, "not_found");
    let stale = t.later(&ann, SignedDuration::from_mins(16)).await;
    stale
        .post(KEYS, order("late"))
        .await
        .assert_problem(403, "step_up_required");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn an_account_has_at_most_twenty_five_keys_however_many_are_made_at_once() {
    let t = TestApp::new().await;
    let (ann, user) = ann(&t).await;
    let names: Vec<_> = (0..35).map(|n| format!("Robot {n}")).collect();
    let mut refused = 0;
    for few in names.chunks(12) {
        let answers =
            futures_util::future::join_all(few.iter().map(|name| ann.post(KEYS, order(name)))).await;
        for answer in answers.iter().filter(|a| a.status != 201) {
            answer.assert_problem(409, "api_key_limit");
            refused += 1;
        }
    }
    assert_eq!((stored(&t, user).await.len(), refused), (25, 10));
    // Room again once one is deleted, or all have expired.
    ann.delete(&format!("{KEYS}/{}", stored(&t, user).await[0].id))
        .await
        .assert_empty(204);
    ann.post(KEYS, order("one more")).await.json(201);
    t.clock.advance(SignedDuration::from_hours(24 * 90));
    let later = t.sign_in(user).await;
    later.post(KEYS, order("years later")).await.json(201);
    assert_eq!(stored(&t, user).await.len(), 1);
}

#[tokio::test]
async fn a_program_talks_to_an_agent_with_its_key() {
    let d = crate::desk::Desk::open().await;
    let program =
        d.t.api_key(d.ann.user.unwrap(), &[KeyScope::AgentsUse], None)
            .await;
    let answer = program
        .once("c")
        .post(&d.chat_path(), crate::desk::say("Hello"))
        .await;
    let again = program
        .once("c")
        .post(&d.chat_path(), crate::desk::say("Hello"))
        .await;
    assert_eq!(answer.json(200)["callId"], again.json(200)["callId"]);
    d.settled().await;
    d.assert_spent(crate::desk::cbt(&answer.json(200)["receipt"]["cost"]))
        .await;
}
