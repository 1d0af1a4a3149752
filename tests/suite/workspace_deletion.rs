//! Workspaces that are deleted, with everything in them and with what comes at the same time.

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::workspaces::delete;
use camarad::ids::WorkspaceId;
use camarad_tests::app::TestApp;
use futures_util::future::join_all;
use serde_json::json;

use crate::workspaces::{account, workspace};

#[tokio::test]
async fn a_key_that_took_the_last_place_still_finds_its_answer() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    workspace(&ann, "one").await;
    workspace(&ann, "two").await;
    let first = ann
        .once("k")
        .post("/api/workspaces", json!({"name": "Three", "type": "personal"}))
        .await;
    let again = ann
        .once("k")
        .post("/api/workspaces", json!({"name": "Three", "type": "personal"}))
        .await;
    assert_eq!((first.status, &first.body), (201, &again.body));
    let gone = format!("/api/workspaces/{}", first.json(201)["id"].as_str().unwrap());
    ann.once("d").delete(&gone).await.assert_empty(204);
    ann.once("d").delete(&gone).await.assert_empty(204);
    assert_eq!(account(&t, &ann).await.workspaces, 2);
}

#[tokio::test]
async fn the_purge_of_a_deleted_workspace_leaves_no_item_of_it() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let bob = t.join(&id, Role::Member).await;
    let ws: WorkspaceId = id.parse().unwrap();
    let presets = json!({"presetIds": ["ceo", "cto", "ceo"]});
    let agents = ann
        .post(&format!("/api/workspaces/{id}/agents"), presets)
        .await
        .json(201);
    let first = agents["items"][0]["id"].as_str().unwrap();
    ann.delete(&format!("/api/agents/{first}"))
        .await
        .assert_empty(204);

    delete::purge(&t.app, ws).await.unwrap();
    assert_eq!(
        ann.get(&format!("/api/workspaces/{id}/agents")).await.json(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    ann.delete(&format!("/api/workspaces/{id}"))
        .await
        .assert_empty(204);
    let account = account(&t, &ann).await;
    assert_eq!((account.workspaces, account.agents), (0, 0));
    delete::purge(&t.app, ws).await.unwrap();
    delete::purge(&t.app, ws).await.unwrap();
    let left: Vec<_> = t
        .snapshot()
        .await
        .into_iter()
        .filter(|i| i.contains(&id) || i.contains(&ws.body()))
        .collect();
    let unexpected: Vec<_> = left
        .iter()
        .filter(|i| {
            !["audit", "auditChain", "outbox"]
                .iter()
                .any(|kind| i.contains(&format!("S(\"{kind}\")")))
        })
        .collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(bob.get("/api/workspaces").await.json(200), json!({"items": []}));
}

#[tokio::test]
async fn an_agent_that_comes_while_its_workspace_goes_leaves_the_count_exact() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(workspace(&ann, &format!("w{n}")).await);
    }
    let caller = &ann;
    let work = ids.iter().map(|id| async move {
        let (agents, path) = (
            format!("/api/workspaces/{id}/agents"),
            format!("/api/workspaces/{id}"),
        );
        let (made, gone) = tokio::join!(
            caller.post(&agents, json!({"presetIds": ["ceo"]})),
            caller.delete(&path)
        );
        assert!([201, 403, 404].contains(&made.status), "{}", made.body);
        gone.assert_empty(204);
    });
    join_all(work).await;
    let account = account(&t, &ann).await;
    assert_eq!((account.workspaces, account.agents), (0, 0));
}
