//! Agents: made from presets, exactly to the limits.

use camarad::domain::agents::presets::PRESETS;
use camarad::domain::plans::Plan;
use camarad::domain::users::Account;
use camarad::domain::workspaces::Workspace;
use camarad::store::keys;
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// Somebody with a workspace, and the path of its agents.
async fn studio(t: &TestApp, plan: Plan) -> (Client, String) {
    let ann = t.sign_up("ann@example.com", plan).await;
    let path = another(&ann).await;
    (ann, path)
}

async fn another(ann: &Client) -> String {
    let made = ann
        .post("/api/workspaces", json!({"name": "Studio", "type": "business"}))
        .await
        .json(201);
    format!("/api/workspaces/{}/agents", made["id"].as_str().unwrap())
}

fn presets(ids: &[&str]) -> Value {
    json!({"presetIds": ids})
}

/// The counters of the account and of the workspace: agents, agents, active ones.
async fn counts(t: &TestApp, ann: &Client, path: &str) -> (u32, u32, u32) {
    let id = path.split('/').nth(3).unwrap().parse().unwrap();
    let workspace: Workspace = t.app.db().get(&keys::workspace(id)).await.unwrap().unwrap();
    let account: Account = t
        .app
        .db()
        .get(&keys::account(ann.user.unwrap()))
        .await
        .unwrap()
        .unwrap();
    (account.agents, workspace.agents, workspace.active_agents)
}

#[tokio::test]
async fn presets_are_public_and_do_not_show_their_prompts() {
    let t = TestApp::new().await;
    let answer = t.anonymous().get("/api/agent-presets").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    let all = answer.json(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 40);
    let shown: Vec<_> = all["items"][0].as_object().unwrap().keys().collect();
    assert_eq!(shown, ["description", "domain", "icon", "id", "name"]);
    for preset in &PRESETS {
        assert!(!answer.body.contains(&preset.prompt[..40]), "{}", preset.id);
    }
    let developers = t
        .anonymous()
        .get("/api/agent-presets?domain=developer")
        .await
        .json(200);
    let developers = developers["items"].as_array().unwrap();
    assert!(developers.len() == 10 && developers.iter().all(|p| p["domain"] == "developer"));
    t.anonymous()
        .get("/api/agent-presets?domain=castle")
        .await
        .assert_invalid("query.domain");
}

#[tokio::test]
async fn agents_are_made_listed_changed_and_deleted() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let made = ann.post(&path, presets(&["ceo", "cto"])).await.json(201);
    let ids: Vec<_> = made["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["presetId"].clone())
        .collect();
    assert_eq!(ids, ["ceo", "cto"]);
    assert_eq!(made["items"][0]["active"], true);
    assert_eq!(ann.get(&path).await.json(200), made);
    let ceo = format!("/api/agents/{}", made["items"][0]["id"].as_str().unwrap());
    assert_eq!(ann.get(&ceo).await.json(200), made["items"][0]);
    assert_eq!(counts(&t, &ann, &path).await, (2, 2, 2));

    let changed = ann
        .patch(&ceo, json!({"name": "Boss", "active": false}))
        .await
        .json(200);
    assert_eq!(
        (&changed["name"], &changed["active"], &changed["version"]),
        (&json!("Boss"), &json!(false), &json!(2))
    );
    assert_eq!(ann.get(&ceo).await.json(200), changed);
    assert_eq!(counts(&t, &ann, &path).await, (2, 2, 1));

    ann.delete(&ceo).await.assert_empty(204);
    ann.get(&ceo).await.assert_problem(404, "not_found");
    ann.delete(&ceo).await.assert_problem(404, "not_found");
    assert_eq!(counts(&t, &ann, &path).await, (1, 1, 1));
}

#[tokio::test]
async fn an_unknown_preset_is_named_and_nothing_is_made() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let before = t.snapshot().await;
    ann.post(&path, presets(&["ceo", "nobody"]))
        .await
        .assert_invalid("presetIds[1]");
    ann.post(&path, presets(&[])).await.assert_invalid("presetIds");
    ann.post(&path, presets(&["ceo"; 21]))
        .await
        .assert_invalid("presetIds");
    ann.post(&path, json!({"presetIds": ["ceo"], "model": "x"}))
        .await
        .assert_invalid("model");
    ann.post(&path, json!({"presetIds": "ceo"}))
        .await
        .assert_invalid("presetIds");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn twenty_parallel_requests_for_five_places_make_five_agents() {
    let t = TestApp::new().await;
    let (ann, first) = studio(&t, Plan::Personal).await;
    let second = another(&ann).await;
    let answers =
        join_all((0..20).map(|n| ann.post(if n % 2 == 0 { &first } else { &second }, presets(&["ceo"]))))
            .await;
    assert_eq!(answers.iter().filter(|a| a.status == 201).count(), 5);
    for refused in answers.iter().filter(|a| a.status != 201) {
        refused.assert_problem(403, "plan_limit");
    }
    let ((account, one, _), (_, two, _)) = (counts(&t, &ann, &first).await, counts(&t, &ann, &second).await);
    assert_eq!((account, one + two), (5, 5));
}

#[tokio::test]
async fn a_batch_beyond_the_limit_makes_none() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Personal).await;
    ann.post(&path, presets(&["ceo"])).await.json(201);
    let before = t.snapshot().await;
    ann.post(&path, presets(&["cto"; 5]))
        .await
        .assert_problem(403, "plan_limit");
    ann.post(&path, presets(&["cto"; 20]))
        .await
        .assert_problem(403, "plan_limit");
    assert_eq!(before, t.snapshot().await);
    ann.post(&path, presets(&["cto"; 4])).await.json(201);
}

#[tokio::test]
async fn ten_agents_are_active_in_a_workspace_and_more_may_rest() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Agency).await;
    ann.post(&path, presets(&["ceo"; 9])).await.json(201);
    ann.post(&path, presets(&["cto"; 2]))
        .await
        .assert_problem(403, "plan_limit");
    let resting = ann
        .post(
            &path,
            json!({"presetIds": ["cto", "cto", "cto"], "active": false}),
        )
        .await
        .json(201);
    assert_eq!(counts(&t, &ann, &path).await, (12, 12, 9));
    let paths: Vec<_> = resting["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| format!("/api/agents/{}", a["id"].as_str().unwrap()))
        .collect();
    let answers = join_all(paths.iter().map(|p| ann.patch(p, json!({"active": true})))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 1);
    assert_eq!(counts(&t, &ann, &path).await, (12, 12, 10));
}

#[tokio::test]
async fn an_agent_that_is_deleted_twice_at_once_is_counted_down_once() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let made = ann.post(&path, presets(&["ceo", "cto"])).await.json(201);
    let ceo = format!("/api/agents/{}", made["items"][0]["id"].as_str().unwrap());
    let off = json!({"active": false});
    let (a, b, c) = tokio::join!(ann.delete(&ceo), ann.delete(&ceo), ann.patch(&ceo, off));
    assert_eq!(
        [&a, &b].iter().filter(|x| x.status == 204).count(),
        1,
        "{a:?} {b:?}"
    );
    assert!([200, 404].contains(&c.status), "{c:?}");
    assert_eq!(counts(&t, &ann, &path).await, (1, 1, 1));
}

#[tokio::test]
async fn a_repeated_key_makes_and_deletes_once() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let keyed = ann.once("make");
    let answers = join_all((0..10).map(|_| keyed.post(&path, presets(&["ceo", "cto"])))).await;
    assert!(
        answers
            .iter()
            .all(|a| a.status == 201 && a.body == answers[0].body),
        "{answers:?}"
    );
    keyed
        .post(&path, presets(&["ceo"]))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let ceo = format!(
        "/api/agents/{}",
        answers[0].json(201)["items"][0]["id"].as_str().unwrap()
    );
    for _ in 0..3 {
        ann.once("delete").delete(&ceo).await.assert_empty(204);
    }
    assert_eq!(counts(&t, &ann, &path).await, (1, 1, 1));
}

#[tokio::test]
async fn an_agent_asks_for_a_model_of_the_catalogue_or_for_the_default_one() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let made = ann.post(&path, presets(&["ceo"])).await.json(201);
    let ceo = format!("/api/agents/{}", made["items"][0]["id"].as_str().unwrap());
    let chosen = ann.patch(&ceo, json!({"model": "gpt-4o"})).await.json(200);
    assert_eq!(chosen["model"], "gpt-4o");
    let before = t.snapshot().await;
    ann.patch(&ceo, json!({"model": "gpt-0"}))
        .await
        .assert_invalid("model");
    ann.patch(&ceo, json!({"model": 4})).await.assert_invalid("model");
    ann.patch(&ceo, json!({})).await.assert_invalid("body");
    ann.patch(&ceo, json!({"name": ""})).await.assert_invalid("name");
    assert_eq!(before, t.snapshot().await);
    let renamed = ann.patch(&ceo, json!({"name": "Boss"})).await.json(200);
    assert_eq!(renamed["model"], "gpt-4o");
    let default = ann.patch(&ceo, json!({"model": null})).await.json(200);
    assert_eq!((default.get("model"), &default["name"]), (None, &json!("Boss")));
}

#[tokio::test]
async fn a_stranger_finds_no_agent() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    let made = ann.post(&path, presets(&["ceo"])).await.json(201);
    let ceo = format!("/api/agents/{}", made["items"][0]["id"].as_str().unwrap());
    let before = t.snapshot().await;
    for path in [ceo.as_str(), "/api/agents/agt_nonsense"] {
        bob.get(path).await.assert_problem(404, "not_found");
        bob.patch(path, json!({"name": "Mine"}))
            .await
            .assert_problem(404, "not_found");
        bob.delete(path).await.assert_problem(404, "not_found");
        t.anonymous()
            .get(path)
            .await
            .assert_problem(401, "unauthenticated");
    }
    bob.post(&path, presets(&["ceo"]))
        .await
        .assert_problem(404, "not_found");
    bob.get(&path).await.assert_problem(404, "not_found");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn a_lapsed_trial_makes_and_changes_no_agents() {
    let t = TestApp::new().await;
    let (ann, path) = studio(&t, Plan::Business).await;
    let made = ann.post(&path, presets(&["ceo"])).await.json(201);
    let ceo = format!("/api/agents/{}", made["items"][0]["id"].as_str().unwrap());
    t.clock.advance(SignedDuration::from_hours(24 * 15 + 1));
    let ann = t.sign_in(ann.user.unwrap()).await;
    let before = t.snapshot().await;
    ann.post(&path, presets(&["ceo"]))
        .await
        .assert_problem(402, "subscription_required");
    ann.patch(&ceo, json!({"name": "New"}))
        .await
        .assert_problem(402, "subscription_required");
    assert_eq!(before, t.snapshot().await);
    ann.get(&ceo).await.json(200);
    ann.delete(&ceo).await.assert_empty(204);
}
