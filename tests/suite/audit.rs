//! Reading audit logs: who may, what they see, pages and filters, and what is left of a person who is gone.

use std::collections::BTreeSet;

use camarad::context::Context;
use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::store::record::{Action, AuditRecord, Scope};
use camarad::store::{Cond, PageRequest, Update, keys};
use camarad_tests::app::{Client, OPERATOR, TestApp};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::workspaces::workspace;

async fn items(client: &Client, path: &str) -> Vec<Value> {
    let page = client.get(path).await.json(200);
    page["items"].as_array().unwrap().clone()
}

/// All pages of a log, with the actions in their order.
async fn pages(client: &Client, path: &str, limit: u32) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let joint = if path.contains('?') { '&' } else { '?' };
        let page = client
            .get(&format!("{path}{joint}limit={limit}{cursor}"))
            .await
            .json(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit as usize);
        ids.extend(items.iter().map(|i| i["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return ids,
        }
    }
}

fn log(workspace: &str) -> String {
    format!("/api/workspaces/{workspace}/audit-logs")
}

#[tokio::test]
async fn an_owner_sees_who_did_what_from_where_newest_first() {
    let t = TestApp::new().await;
    let ann = t
        .sign_up("ann@example.com", Plan::Business)
        .await
        .header("User-Agent", "Firefox/150");
    let home = workspace(&ann, "Home").await;
    ann.patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    let seen = items(&ann, &log(&home)).await;
    let actions: Vec<_> = seen.iter().map(|i| i["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["workspace.updated", "workspace.created"]);
    let newest = &seen[0];
    assert_eq!(newest["actor"], json!({"type": "user", "id": ann.user}));
    assert_eq!(
        (newest["ip"].as_str(), newest["userAgent"].as_str()),
        (Some("203.0.113.7"), Some("Firefox/150"))
    );
    // That it was changed, not to what: a record outlives the name, and the person.
    assert_eq!(newest["detail"], json!({"changed": ["name"]}));
    assert_eq!(
        (newest["resource"].as_str(), newest["erased"].as_bool()),
        (Some(home.as_str()), Some(false))
    );
}

#[tokio::test]
async fn address_and_client_are_nowhere_readable_in_the_stored_record() {
    let t = TestApp::new().await;
    let ann = t
        .sign_up("ann@example.com", Plan::Business)
        .await
        .header("User-Agent", "A-very-odd-client/7");
    let home = workspace(&ann, "Home").await;
    let stored: Vec<_> = t
        .snapshot()
        .await
        .into_iter()
        .filter(|i| i.contains("AUDIT#"))
        .collect();
    assert!(!stored.is_empty());
    for item in &stored {
        assert!(
            !item.contains("203.0.113.7") && !item.contains("odd-client"),
            "{item}"
        );
    }
    // A program with the person's API key: the same.
    let program = t
        .api_key(ann.user.unwrap(), &[KeyScope::WorkspacesWrite], None)
        .await;
    program
        .patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    let newest = &items(&ann, &log(&home)).await[0];
    assert_eq!(
        (newest["actor"]["type"].as_str(), newest["ip"].as_str()),
        (Some("apiKey"), Some("203.0.113.7"))
    );
    assert_eq!(newest["actor"]["userId"], json!(ann.user));
}

#[tokio::test]
async fn whoever_has_no_key_leaves_their_network_and_nothing_more() {
    let t = TestApp::new().await;
    let now = t.app.clock().now();
    let stranger = Context {
        ip: Some("203.0.113.99".into()),
        user_agent: Some("Firefox".into()),
        ..Context::system("tests", now)
    };
    let tx = t
        .app
        .tx(&stranger)
        .audit(Action::UserLoginFailed, Scope::Platform, "google", json!({}))
        .unwrap();
    tx.run().await.unwrap();
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let seen = items(&operator, "/api/audit-logs").await;
    assert_eq!(seen[0]["network"], "203.0.113.0/24");
    assert_eq!(
        (&seen[0]["ip"], &seen[0]["userAgent"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_destroyed_key_leaves_the_record_and_nothing_of_the_person_in_it() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner, "Home").await;
    let ben = t.join(&home, Role::Admin).await;
    ben.patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    assert_eq!(items(&owner, &log(&home)).await[0]["ip"], "203.0.113.7");
    let key = keys::person_key(ben.user.unwrap());
    t.app.db().take(&key, &Cond::item_exists()).await.unwrap();
    let seen = items(&owner, &log(&home)).await;
    assert_eq!(
        (seen[0]["erased"].as_bool(), &seen[0]["ip"]),
        (Some(true), &Value::Null)
    );
    assert_eq!(
        (seen[1]["erased"].as_bool(), seen[1]["ip"].as_str()),
        (Some(false), Some("203.0.113.7"))
    );
}

#[tokio::test]
async fn only_owners_and_admins_see_a_workspaces_log_and_only_operators_the_platforms() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner, "Home").await;
    t.join(&home, Role::Admin).await.get(&log(&home)).await.json(200);
    let member = t.join(&home, Role::Member).await;
    for path in [log(&home), format!("{}/export", log(&home))] {
        member.get(&path).await.assert_problem(403, "forbidden");
        t.sign_up("eve@example.com", Plan::Personal)
            .await
            .get(&path)
            .await
            .assert_problem(404, "not_found");
    }
    owner
        .get("/api/audit-logs")
        .await
        .assert_problem(403, "forbidden");
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let seen = items(&operator, &format!("/api/audit-logs?scope={home}")).await;
    assert_eq!(seen.last().unwrap()["action"], "workspace.created");
    operator
        .get("/api/audit-logs?scope=everything")
        .await
        .assert_invalid("query.scope");
    t.clock.advance(SignedDuration::from_mins(9));
    operator.get("/api/audit-logs").await.json(200);
}

#[tokio::test]
async fn a_person_sees_the_log_of_their_own_account_alone() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    ann.patch("/api/user", json!({"name": "Ann"})).await.json(200);
    let ben = t.sign_up("ben@example.com", Plan::Business).await;
    ben.patch("/api/user", json!({"name": "Ben"})).await.json(200);
    let seen = items(&ann, "/api/user/audit-logs").await;
    assert_eq!(seen.len(), 1);
    assert_eq!(
        (&seen[0]["action"], &seen[0]["resource"]),
        (&json!("user.updated"), &json!(ann.user))
    );
}

/// Records of a log, all at their own moments.
async fn fill(t: &TestApp, scope: Scope, count: usize) -> Vec<String> {
    let actions = [Action::SettingsUpdated, Action::UserLogin, Action::UserLogout];
    let mut ids = Vec::new();
    for n in 0..count {
        t.clock.advance(SignedDuration::from_secs(1));
        let cause = Context::system(if n % 2 == 0 { "even" } else { "odd" }, t.app.clock().now());
        let tx = t
            .app
            .tx(&cause)
            .audit(actions[n % 3], scope, format!("r{}", n % 5), json!({"n": n}))
            .unwrap();
        tx.run().await.unwrap();
    }
    for part in keys::audit_parts(&scope.name()) {
        let page = PageRequest::of(1_000);
        let all = t.app.db().list::<AuditRecord>(&part, &page, true).await.unwrap();
        ids.extend(all.items.into_iter().map(|r| (r.at, r.id.to_string())));
    }
    ids.sort();
    ids.into_iter().rev().map(|(_, id)| id).collect()
}

#[tokio::test]
async fn filters_take_what_they_say_together_and_alone() {
    let t = TestApp::new().await;
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let all = fill(&t, Scope::Platform, 60).await;
    let count = async |query: &str| {
        pages(&operator, &format!("/api/audit-logs?{query}"), 7)
            .await
            .len()
    };
    assert_eq!(pages(&operator, "/api/audit-logs", 7).await, all);
    assert_eq!(count("action=user.login").await, 20);
    assert_eq!(count("action=user.login&action=user.logout").await, 40);
    assert_eq!(count("actor=even").await, 30);
    assert_eq!(count("actor=system&resource=r3").await, 12);
    assert_eq!(count("actor=odd&action=settings.updated&resource=r3").await, 2);
    assert_eq!(count("actor=anonymous").await, 0);
    let at = async |n: usize| {
        let page = operator
            .get(&format!("/api/audit-logs?limit={}", n + 1))
            .await
            .json(200);
        page["items"][n]["at"].as_str().unwrap().to_owned()
    };
    let (late, early) = (at(9).await, at(19).await);
    let between = pages(&operator, &format!("/api/audit-logs?from={early}&to={late}"), 3).await;
    assert_eq!(between, all[10..20], "from is included, to is not");
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_records_are_added() {
    let t = TestApp::new().await;
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let all = fill(&t, Scope::Platform, 30).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = operator
            .get(&format!("/api/audit-logs?limit=4{cursor}"))
            .await
            .json(200);
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|i| i["id"].as_str().unwrap().to_owned()),
        );
        fill(&t, Scope::Platform, 3).await;
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
}

#[tokio::test]
async fn a_wrong_query_is_named() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    for (query, field) in [
        ("limit=0", "query.limit"),
        ("limit=5&limit=6", "query.limit"),
        ("cursor=eA", "query.cursor"),
        ("action=user.fly", "query.action"),
        ("from=monday", "query.from"),
        ("order=oldest", "query.order"),
        ("scope=platform", "query.scope"),
    ] {
        ann.get(&format!("/api/user/audit-logs?{query}"))
            .await
            .assert_invalid(field);
    }
    ann.get("/api/user/audit-logs/export?format=xml")
        .await
        .assert_invalid("query.format");
    ann.get("/api/user/audit-logs/export?limit=3")
        .await
        .assert_invalid("query.limit");
}

#[tokio::test]
async fn whoever_asks_too_often_is_recorded_once_a_window() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let mut refused = 0;
    for _ in 0..115 {
        refused += usize::from(ann.get("/api/user").await.status == 429);
    }
    assert!(refused >= 10, "{refused}");
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let path = format!("/api/audit-logs?scope={}", ann.user.unwrap());
    let seen = items(&operator, &path).await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0]["action"], "api.rate_limited");
    assert_eq!(seen[0]["detail"], json!({"limit": 100, "windowSeconds": 60}));
    // Who was refused is known, so address and client are sealed for them.
    assert_eq!(
        (&seen[0]["ip"], seen[0].get("network")),
        (&json!("203.0.113.7"), None)
    );
}

#[tokio::test]
async fn a_program_that_asks_too_often_is_recorded_once_a_window_and_a_made_up_key_is_not() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let program = t.api_key(ann.user.unwrap(), &[KeyScope::UserRead], None).await;
    let forged = program.with_token(&crate::walk::with_another_secret(
        program.token.as_deref().unwrap(),
    ));
    for who in [forged, program] {
        let mut refused = 0;
        for _ in 0..115 {
            refused += usize::from(who.get("/api/user").await.status == 429);
        }
        assert!(refused >= 10, "{refused}");
    }
    let seen = items(&ann, "/api/user/audit-logs").await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(
        (&seen[0]["action"], &seen[0]["actor"]["type"], &seen[0]["ip"]),
        (
            &json!("api.rate_limited"),
            &json!("apiKey"),
            &json!("203.0.113.7")
        )
    );
}

#[tokio::test]
async fn a_workspaces_records_are_kept_as_long_as_its_settings_say() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let home = workspace(&ann, "Home").await;
    let settings = format!("/api/workspaces/{home}/settings");
    ann.patch(&settings, json!({"auditRetentionDays": 400}))
        .await
        .json(200);
    ann.patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    let records: Vec<AuditRecord> = t.app.db().part(&keys::audits(&home), "0", "~").await.unwrap();
    let kept = |r: &AuditRecord| r.expires_at.duration_since(r.at).as_hours() / 24;
    assert_eq!(records.first().map(kept), Some(90));
    assert_eq!(records.last().map(kept), Some(400));
}

#[tokio::test]
async fn a_plan_says_how_long_a_workspace_may_keep_its_records() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let home = workspace(&ann, "Home").await;
    let settings = format!("/api/workspaces/{home}/settings");
    let before = t.snapshot().await;
    ann.patch(&settings, json!({"auditRetentionDays": 366}))
        .await
        .assert_problem(403, "plan_limit");
    assert_eq!(before, t.snapshot().await);
    ann.patch(&settings, json!({"auditRetentionDays": 365}))
        .await
        .json(200);
    // After a downgrade the setting stays, and holds as far as the plan goes.
    let id = home.parse().unwrap();
    let kept = Update::of(keys::workspace(id))
        .set("auditRetentionDays", 2_555)
        .unwrap();
    t.app.db().update(&kept).await.unwrap();
    assert_eq!(ann.get(&settings).await.json(200)["auditRetentionDays"], 365);
    ann.patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    let records: Vec<AuditRecord> = t.app.db().part(&keys::audits(&home), "0", "~").await.unwrap();
    let days = |r: &AuditRecord| r.expires_at.duration_since(r.at).as_hours() / 24;
    assert_eq!(records.last().map(days), Some(365));
}

#[tokio::test]
async fn records_that_have_lived_to_their_end_are_not_shown() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    ann.patch("/api/user", json!({"name": "Ann"})).await.json(200);
    t.clock.advance(SignedDuration::from_hours(24 * 89));
    let ann = t.sign_in(ann.user.unwrap()).await;
    assert_eq!(items(&ann, "/api/user/audit-logs").await.len(), 1);
    t.clock.advance(SignedDuration::from_hours(24 + 1));
    let ann = t.sign_in(ann.user.unwrap()).await;
    assert_eq!(items(&ann, "/api/user/audit-logs").await.len(), 0);
}

#[test]
fn every_action_of_the_product_has_its_name() {
    let text =
        std::fs::read_to_string(camarad_tests::app::stack::repository().join("milestones/M17-audit.md"))
            .unwrap();
    let listed = text
        .split("**Actions**:")
        .nth(1)
        .unwrap()
        .split("\n- **")
        .next()
        .unwrap();
    let listed: BTreeSet<_> = listed
        .split([',', ' ', '\n'])
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.contains('.'))
        .collect();
    let known: BTreeSet<_> = Action::ALL.iter().map(|a| a.as_str()).collect();
    assert!(listed.len() >= 28, "{listed:?}");
    assert_eq!(listed.difference(&known).collect::<Vec<_>>(), [&""; 0]);
}
