//! Workspaces: made to the plan's limit, seen by their members alone, deleted with everything in them.

use std::collections::BTreeSet;

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::users::Account;
use camarad::ids::WorkspaceId;
use camarad::store::{Update, keys};
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

fn studio() -> Value {
    json!({"name": "Studio", "type": "business"})
}

/// Makes a workspace and answers its id.
pub async fn workspace(client: &Client, name: &str) -> String {
    let made = client
        .post("/api/workspaces", json!({"name": name, "type": "personal"}))
        .await
        .json(201);
    made["id"].as_str().unwrap().to_owned()
}

/// The account of a person.
pub async fn account(t: &TestApp, client: &Client) -> Account {
    t.app
        .db()
        .get(&keys::account(client.user.unwrap()))
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn a_workspace_is_made_listed_renamed_and_deleted() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let made = ann
        .post(
            "/api/workspaces",
            json!({"name": "  Studio ", "type": "business"}),
        )
        .await
        .json(201);
    assert_eq!(
        (&made["name"], &made["type"], &made["role"]),
        (&json!("Studio"), &json!("business"), &json!("owner"))
    );
    let path = format!("/api/workspaces/{}", made["id"].as_str().unwrap());
    assert_eq!(ann.get(&path).await.json(200), made);
    assert_eq!(
        ann.get("/api/workspaces").await.json(200),
        json!({"items": [made]})
    );

    t.clock.advance(SignedDuration::from_secs(5));
    let renamed = ann.patch(&path, json!({"name": "Atelier"})).await.json(200);
    assert_eq!(
        (&renamed["name"], &renamed["version"]),
        (&json!("Atelier"), &json!(2))
    );
    assert_ne!(renamed["updatedAt"], made["updatedAt"]);
    assert_eq!(ann.get(&path).await.json(200), renamed);

    ann.delete(&path).await.assert_empty(204);
    ann.get(&path).await.assert_problem(404, "not_found");
    ann.patch(&path, json!({"name": "Back"}))
        .await
        .assert_problem(404, "not_found");
    ann.delete(&path).await.assert_problem(404, "not_found");
    assert_eq!(ann.get("/api/workspaces").await.json(200), json!({"items": []}));
    assert_eq!(account(&t, &ann).await.workspaces, 0);
}

#[tokio::test]
async fn each_change_of_a_workspace_leaves_its_audit_record() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    ann.patch(&format!("/api/workspaces/{id}"), json!({"name": "Atelier"}))
        .await
        .json(200);
    ann.delete(&format!("/api/workspaces/{id}"))
        .await
        .assert_empty(204);
    let items = t.snapshot().await;
    let of = |action: &str| {
        items
            .iter()
            .filter(|i| i.contains("S(\"audit\")") && i.contains(action))
            .count()
    };
    let counts = ["workspace.created", "workspace.updated", "workspace.deleted"].map(of);
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test]
async fn twenty_parallel_requests_for_three_places_make_three_workspaces() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let answers = join_all((0..20).map(|_| ann.post("/api/workspaces", studio()))).await;
    let made = answers.iter().filter(|a| a.status == 201).count();
    assert_eq!(made, 3);
    for refused in answers.iter().filter(|a| a.status != 201) {
        refused.assert_problem(403, "plan_limit");
    }
    assert_eq!(account(&t, &ann).await.workspaces, 3);
    let listed = ann.get("/api/workspaces").await.json(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 3);

    let first = listed["items"][0]["id"].as_str().unwrap();
    ann.delete(&format!("/api/workspaces/{first}"))
        .await
        .assert_empty(204);
    ann.post("/api/workspaces", studio()).await.json(201);
    ann.post("/api/workspaces", studio())
        .await
        .assert_problem(403, "plan_limit");
}

#[tokio::test]
async fn the_same_key_twenty_times_at_once_makes_one_workspace() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let keyed = ann.once("one and the same");
    let answers = join_all((0..20).map(|_| keyed.post("/api/workspaces", studio()))).await;
    let bodies: BTreeSet<_> = answers.iter().map(|a| (a.status, a.body.clone())).collect();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(answers[0].status, 201);
    let replayed = answers
        .iter()
        .filter(|a| a.header("idempotency-replayed") == Some("true"))
        .count();
    assert_eq!(replayed, 19);
    assert_eq!(account(&t, &ann).await.workspaces, 1);

    let before = t.snapshot().await;
    let changed = keyed
        .post("/api/workspaces", json!({"name": "Other", "type": "business"}))
        .await;
    changed.assert_problem(422, "idempotency_key_reused");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn wrong_input_names_its_field_and_changes_nothing() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let before = t.snapshot().await;
    let long = "x".repeat(101);
    for (body, field) in [
        (json!({"name": "", "type": "business"}), "name"),
        (json!({"name": " \u{a0} ", "type": "business"}), "name"),
        (json!({"name": long, "type": "business"}), "name"),
        (json!({"name": 7, "type": "business"}), "name"),
        (json!({"name": "a", "type": "castle"}), "type"),
        (json!({"name": "a"}), "type"),
        (json!({"name": "a", "type": "business", "plan": "custom"}), "plan"),
    ] {
        ann.post("/api/workspaces", body).await.assert_invalid(field);
    }
    let path = format!("/api/workspaces/{id}");
    ann.patch(&path, json!({})).await.assert_invalid("body");
    ann.patch(&path, json!({"name": ""})).await.assert_invalid("name");
    ann.patch(&path, json!({"type": "agency"}))
        .await
        .assert_invalid("type");
    ann.send("POST", "/api/workspaces", Some("{".into()))
        .await
        .assert_problem(400, "malformed");
    ann.get("/api/workspaces?limit=0")
        .await
        .assert_invalid("query.limit");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn a_lapsed_trial_is_read_only_but_can_delete() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    t.clock.advance(SignedDuration::from_hours(24 * 15 + 1));
    let ann = t.sign_in(ann.user.unwrap()).await;
    let path = format!("/api/workspaces/{id}");
    let before = t.snapshot().await;
    ann.post("/api/workspaces", studio())
        .await
        .assert_problem(402, "subscription_required");
    ann.patch(&path, json!({"name": "New"}))
        .await
        .assert_problem(402, "subscription_required");
    assert_eq!(before, t.snapshot().await);
    ann.get(&path).await.json(200);
    ann.delete(&path).await.assert_empty(204);
}

#[tokio::test]
async fn a_stranger_finds_nothing_and_a_member_may_only_look() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let path = format!("/api/workspaces/{id}");
    let before = t.snapshot().await;
    let missing = format!("/api/workspaces/{}", WorkspaceId::new(t.app.clock()));
    for path in [&path, &missing, "/api/workspaces/ws_nonsense"] {
        bob.get(path).await.assert_problem(404, "not_found");
        bob.get(&format!("{path}/members"))
            .await
            .assert_problem(404, "not_found");
        bob.patch(path, json!({"name": "Mine"}))
            .await
            .assert_problem(404, "not_found");
        bob.delete(path).await.assert_problem(404, "not_found");
        t.anonymous()
            .get(path)
            .await
            .assert_problem(401, "unauthenticated");
    }
    assert_eq!(before, t.snapshot().await);

    let bob = t.join(&id, Role::Member).await;
    assert_eq!(bob.get(&path).await.json(200)["role"], "member");
    assert_eq!(
        bob.get("/api/workspaces").await.json(200)["items"][0]["role"],
        "member"
    );
    bob.patch(&path, json!({"name": "Mine"}))
        .await
        .assert_problem(403, "forbidden");
    let bob = t.join(&id, Role::Admin).await;
    bob.patch(&path, json!({"name": "Ours"})).await.json(200);
    bob.delete(&path).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn members_are_listed_with_their_names() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let bob = t.join(&id, Role::Member).await;
    let members = bob.get(&format!("/api/workspaces/{id}/members")).await.json(200);
    let members = members["items"].as_array().unwrap();
    let of = |client: &Client| {
        members
            .iter()
            .find(|m| m["userId"] == json!(client.user))
            .unwrap()
    };
    assert_eq!(members.len(), 2);
    assert_eq!(
        (&of(&ann)["name"], &of(&ann)["role"]),
        (&json!("ann"), &json!("owner"))
    );
    assert_eq!(of(&ann)["email"], "ann@example.com");
    assert_eq!(of(&bob)["role"], "member");
}

#[tokio::test]
async fn workspaces_come_in_pages() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    for n in 0..5 {
        t.clock.advance(SignedDuration::from_millis(1));
        workspace(&ann, &format!("w{n}")).await;
    }
    let (mut names, mut path) = (Vec::new(), "/api/workspaces?limit=2".to_owned());
    loop {
        let page = ann.get(&path).await.json(200);
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|w| w["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/workspaces?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["w0", "w1", "w2", "w3", "w4"]);
    let id = workspace(&ann, "last").await;
    for (path, prefix) in [
        ("/api/workspaces".to_owned(), "WS#~"),
        (format!("/api/workspaces/{id}/members"), "MEMBER#~"),
    ] {
        let beyond = camarad::store::page::cursor(prefix);
        assert_eq!(
            ann.get(&format!("{path}?cursor={beyond}")).await.json(200),
            json!({"items": []})
        );
    }
}

#[tokio::test]
async fn parallel_renames_all_happen_one_after_the_other() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let path = format!("/api/workspaces/{}", workspace(&ann, "Studio").await);
    let answers = join_all((0..4).map(|n| ann.patch(&path, json!({"name": format!("n{n}")})))).await;
    let versions: BTreeSet<_> = answers
        .iter()
        .map(|a| a.json(200)["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, BTreeSet::from([2, 3, 4, 5]));
}

#[tokio::test]
async fn a_downgrade_between_read_and_commit_cannot_be_used() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    for n in 0..3 {
        workspace(&ann, &format!("w{n}")).await;
    }
    let down = Update::of(keys::account(ann.user.unwrap()))
        .set("plan", Plan::Personal)
        .unwrap();
    t.app.db().update(&down).await.unwrap();
    ann.post("/api/workspaces", studio())
        .await
        .assert_problem(403, "plan_limit");
}
