//! A workspace's settings.

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::store::record::AuditRecord;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::TestApp;
use jiff::SignedDuration;
use serde_json::json;

use crate::desk::{Desk, say};
use crate::workspaces::workspace;

#[tokio::test]
async fn settings_have_defaults_and_merge() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let id = workspace(&ann, "Studio").await;
    let path = format!("/api/workspaces/{id}/settings");
    let first = ann.get(&path).await;
    assert_eq!(first.header("etag"), Some("\"1\""));
    let mut expected = first.json(200);
    let created = expected["updatedAt"].take();
    assert_eq!(
        expected,
        json!({"auditRetentionDays": 90, "defaultModel": null, "defaultTone": "neutral", "defaultLocale": null, "updatedAt": null, "version": 1})
    );
    ann.header("If-None-Match", "\"1\"")
        .get(&path)
        .await
        .assert_empty(304);

    t.clock.advance(SignedDuration::from_secs(5));
    let patch = json!({"auditRetentionDays": 2555, "defaultModel": "gpt-4o-mini", "defaultTone": "technical", "defaultLocale": "de-AT"});
    let second = ann.patch(&path, patch.clone()).await;
    assert_eq!(second.header("etag"), Some("\"2\""));
    let mut settings = second.json(200);
    assert_ne!(settings["updatedAt"].take(), created);
    assert_eq!(
        settings,
        json!({"auditRetentionDays": 2555, "defaultModel": "gpt-4o-mini", "defaultTone": "technical", "defaultLocale": "de-AT", "updatedAt": null, "version": 2})
    );
    let before = t.snapshot().await;
    assert_eq!(ann.patch(&path, patch).await.json(200)["version"], 2);
    assert_eq!(before, t.snapshot().await, "what is so already makes no version");

    let third = ann
        .patch(
            &path,
            json!({"auditRetentionDays": null, "defaultModel": null, "defaultTone": null}),
        )
        .await
        .json(200);
    assert_eq!(
        (
            &third["auditRetentionDays"],
            &third["defaultModel"],
            &third["defaultTone"],
            &third["defaultLocale"]
        ),
        (&json!(90), &json!(null), &json!("neutral"), &json!("de-AT"))
    );
    let records = t
        .app
        .db()
        .list::<AuditRecord>(&keys::audits(&id), &PageRequest::default(), false)
        .await
        .unwrap();
    let told: Vec<_> = records
        .items
        .iter()
        .map(|r| json!([r.action, r.detail]))
        .collect();
    assert_eq!(
        told[1],
        json!(["settings.updated", {
            "auditRetentionDays": {"old": 90, "new": 2555},
            "defaultModel": {"old": null, "new": "gpt-4o-mini"},
            "defaultTone": {"old": null, "new": "technical"},
            "defaultLocale": {"old": null, "new": "de-AT"},
        }])
    );
    assert_eq!(told.len(), 3);
}

#[tokio::test]
async fn admins_change_settings_and_members_only_see_them() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let id = workspace(&ann, "Studio").await;
    let path = format!("/api/workspaces/{id}/settings");
    let (bob, eve) = (t.join(&id, Role::Admin).await, t.join(&id, Role::Member).await);
    bob.patch(&path, json!({"defaultTone": "conversational"}))
        .await
        .json(200);
    let before = t.snapshot().await;
    assert_eq!(eve.get(&path).await.json(200)["defaultTone"], "conversational");
    eve.patch(&path, json!({"defaultTone": null}))
        .await
        .assert_problem(403, "forbidden");
    for (patch, field) in [
        (json!({"auditRetentionDays": 29}), "auditRetentionDays"),
        (json!({"auditRetentionDays": 2556}), "auditRetentionDays"),
        (json!({"auditRetentionDays": -1}), "auditRetentionDays"),
        (json!({"auditRetentionDays": "90"}), "auditRetentionDays"),
        (json!({"defaultModel": "gpt-1"}), "defaultModel"),
        (json!({"defaultTone": "loud"}), "defaultTone"),
        (json!({"defaultLocale": "de_AT"}), "defaultLocale"),
        (json!({"name": "Other"}), "name"),
        (json!({"x": null}), "x"),
    ] {
        bob.patch(&path, patch).await.assert_invalid(field);
    }
    assert_eq!(before, t.snapshot().await);
    t.clock.advance(SignedDuration::from_hours(16 * 24));
    let lapsed = t.sign_in(ann.user.unwrap()).await;
    lapsed
        .patch(&path, json!({"defaultTone": null}))
        .await
        .assert_problem(402, "subscription_required");
    lapsed.get(&path).await.json(200);
}

#[tokio::test]
async fn of_two_admins_with_one_etag_one_wins() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let id = workspace(&ann, "Studio").await;
    let path = format!("/api/workspaces/{id}/settings");
    let bob = t.join(&id, Role::Admin).await.header("If-Match", "\"1\"");
    let ann_knows = ann.header("If-Match", "\"1\"");
    let (a, b) = tokio::join!(
        ann_knows.patch(&path, json!({"auditRetentionDays": 365})),
        bob.patch(&path, json!({"auditRetentionDays": 30}))
    );
    let (won, lost) = if a.status == 200 { (a, b) } else { (b, a) };
    lost.assert_problem(412, "precondition_failed");
    assert_eq!(ann.get(&path).await.json(200), won.json(200));

    // On top of whatever is there both hold, and agents that are counted meanwhile stay counted.
    let agents = format!("/api/workspaces/{id}/agents");
    let (a, b, c) = tokio::join!(
        ann.patch(&path, json!({"defaultLocale": "fr"})),
        ann.patch(&path, json!({"defaultTone": "technical"})),
        ann.post(&agents, json!({"presetIds": ["ceo", "cto"]}))
    );
    assert_eq!((a.status, b.status, c.status), (200, 200, 201));
    let seen = ann.get(&path).await.json(200);
    assert_eq!(
        (&seen["defaultLocale"], &seen["defaultTone"], &seen["version"]),
        (&json!("fr"), &json!("technical"), &json!(4))
    );
    assert_eq!(
        ann.get(&format!("/api/workspaces/{id}")).await.json(200)["agents"],
        2
    );
}

#[tokio::test]
async fn agents_speak_as_their_workspace_says() {
    let d = Desk::open().await;
    let path = format!("/api/workspaces/{}/settings", d.workspace);
    let plain = d.chat("1", say("Hello?")).await.json(200);
    let patch =
        json!({"defaultModel": "claude-haiku-4-5", "defaultTone": "technical", "defaultLocale": "de-AT"});
    d.ann.patch(&path, patch).await.json(200);
    d.t.ai().clear_requests();
    let answer = d.chat("2", say("Hello?")).await.json(200);
    assert_eq!(answer["model"], "claude-haiku-4-5");
    let requests = d.t.ai().requests();
    let sent = requests[0].body.to_string();
    assert!(
        sent.contains("Be precise and technical") && sent.contains("de-AT"),
        "{sent}"
    );
    assert_ne!(
        plain["receipt"]["promptVersion"], answer["receipt"]["promptVersion"],
        "the receipt tells that the prompt was another one"
    );
}
