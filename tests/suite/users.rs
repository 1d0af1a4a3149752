//! A person's own profile and subscription.

use camarad::domain::plans::Plan;
use camarad::store::record::AuditRecord;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

async fn ann() -> (TestApp, Client) {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    (t, ann)
}

async fn audits(t: &TestApp, who: &Client) -> Vec<Value> {
    let list = keys::audits(&who.user.unwrap().to_string());
    let records = t
        .app
        .db()
        .list::<AuditRecord>(&list, &PageRequest::default(), false)
        .await
        .unwrap();
    records
        .items
        .into_iter()
        .map(|r| json!([r.action, r.detail]))
        .collect()
}

#[tokio::test]
async fn a_profile_is_changed_field_by_field() {
    let (t, ann) = ann().await;
    let first = ann.get("/api/user").await;
    assert_eq!(first.header("etag"), Some("\"1\""));
    t.clock.advance(SignedDuration::from_secs(5));

    let patch =
        json!({"name": "  Ann Lee ", "avatarUrl": "https://example.com/a.png", "timezone": "europe/vienna"});
    let second = ann.patch("/api/user", patch).await;
    assert_eq!(second.header("etag"), Some("\"2\""));
    let mut expected = first.json(200);
    expected["name"] = json!("Ann Lee");
    expected["avatarUrl"] = json!("https://example.com/a.png");
    expected["timezone"] = json!("Europe/Vienna");
    expected["version"] = json!(2);
    let user = second.json(200);
    assert_ne!(user["updatedAt"], expected["updatedAt"]);
    expected["updatedAt"] = user["updatedAt"].clone();
    assert_eq!(user, expected);
    assert_eq!(ann.get("/api/user").await.json(200), expected);

    let third = ann
        .patch("/api/user", json!({"avatarUrl": null, "locale": "de-AT"}))
        .await
        .json(200);
    assert_eq!(
        (third.get("avatarUrl"), &third["locale"]),
        (None, &json!("de-AT"))
    );
    // The log has the names of what changed, and no values.
    let changed = |names: &[&str]| json!(["user.updated", {"changed": names}]);
    assert_eq!(
        audits(&t, &ann).await,
        [
            changed(&["name", "avatarUrl", "timezone"]),
            changed(&["avatarUrl", "locale"])
        ]
    );
}

#[tokio::test]
async fn what_is_no_profile_changes_nothing() {
    let (t, ann) = ann().await;
    let before = t.snapshot().await;
    let long = "x".repeat(101);
    for (patch, field) in [
        (json!({"name": ""}), "name"),
        (json!({"name": long}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"avatarUrl": "http://example.com/a.png"}), "avatarUrl"),
        (json!({"avatarUrl": "javascript:alert(1)"}), "avatarUrl"),
        (json!({"locale": "de_AT"}), "locale"),
        (json!({"locale": null}), "locale"),
        (json!({"timezone": "Europe/Atlantis"}), "timezone"),
        (json!({"email": "eve@example.com"}), "email"),
        (json!({"version": 7}), "version"),
    ] {
        ann.patch("/api/user", patch).await.assert_invalid(field);
    }
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn a_change_that_changes_nothing_makes_no_version() {
    let (t, ann) = ann().await;
    let before = t.snapshot().await;
    for patch in [json!({}), json!({"name": "ann"}), json!({"avatarUrl": null})] {
        assert_eq!(ann.patch("/api/user", patch).await.json(200)["version"], 1);
    }
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_refused() {
    let (t, ann) = ann().await;
    let seen = |tag: &str| ann.header("If-Match", tag);
    assert_eq!(
        seen("\"1\"")
            .patch("/api/user", json!({"name": "A"}))
            .await
            .status,
        200
    );
    let before = t.snapshot().await;
    for stale in ["\"1\"", "W/\"2\"", "\"abc\"", "2", ""] {
        seen(stale)
            .patch("/api/user", json!({"name": "B"}))
            .await
            .assert_problem(412, "precondition_failed");
    }
    assert_eq!(before, t.snapshot().await);
    assert_eq!(
        seen("\"1\", \"2\"")
            .patch("/api/user", json!({"name": "B"}))
            .await
            .status,
        200
    );
    assert_eq!(
        seen("*").patch("/api/user", json!({"name": "C"})).await.json(200)["version"],
        4
    );
}

#[tokio::test]
async fn a_change_that_does_not_say_on_top_of_what_changes_nothing() {
    let (t, ann) = ann().await;
    let studio = json!({"name": "Studio", "type": "personal"});
    let made = ann.post("/api/workspaces", studio).await.json(201);
    let settings = format!("/api/workspaces/{}/settings", made["id"].as_str().unwrap());
    let stranger = t.sign_up("eve@example.com", Plan::Business).await;
    let before = t.snapshot().await;
    for (path, patch) in [
        ("/api/user", json!({"name": "Annabel"})),
        ("/api/user/preferences", json!({"theme": "dark"})),
        (settings.as_str(), json!({"defaultTone": "technical"})),
    ] {
        let unknowing = ann.without("If-Match");
        unknowing
            .patch(path, patch.clone())
            .await
            .assert_problem(428, "precondition_required");
        // Who may not know of the resource does not learn of it so.
        t.anonymous()
            .without("If-Match")
            .patch(path, patch)
            .await
            .assert_problem(401, "unauthenticated");
    }
    stranger
        .without("If-Match")
        .patch(&settings, json!({"defaultTone": "technical"}))
        .await
        .assert_problem(404, "not_found");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn of_racing_changes_with_one_etag_one_wins_and_on_purpose_all_do() {
    let (t, ann) = ann().await;
    let device = ann.header("If-Match", "\"1\"");
    let patches: Vec<_> = (0..8).map(|n| json!({"name": format!("Device {n}")})).collect();
    let answers = join_all(patches.iter().map(|p| device.patch("/api/user", p.clone()))).await;
    let mut statuses: Vec<_> = answers.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);

    let fields = [
        json!({"name": "Ann"}),
        json!({"locale": "de"}),
        json!({"timezone": "Europe/Vienna"}),
    ];
    for answer in join_all(fields.iter().map(|p| ann.patch("/api/user", p.clone()))).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let user = ann.get("/api/user").await.json(200);
    assert_eq!(
        (
            &user["name"],
            &user["locale"],
            &user["timezone"],
            &user["version"]
        ),
        (&json!("Ann"), &json!("de"), &json!("Europe/Vienna"), &json!(5))
    );
    assert_eq!(audits(&t, &ann).await.len(), 4);
}

#[tokio::test]
async fn a_repeated_change_is_answered_as_the_first_time() {
    let (t, ann) = ann().await;
    let once = ann.once("k1").header("If-Match", "\"1\"");
    let first = once.patch("/api/user", json!({"name": "A"})).await;
    let before = t.snapshot().await;
    let again = once.patch("/api/user", json!({"name": "A"})).await;
    assert_eq!(
        (again.status, &again.body, again.header("etag")),
        (200, &first.body, Some("\"2\""))
    );
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    once.patch("/api/user", json!({"name": "B"}))
        .await
        .assert_problem(422, "idempotency_key_reused");
    assert_eq!(before, t.snapshot().await);

    // A key under which nothing changed is used, too: it does not act later.
    let idle = ann.once("k2");
    assert_eq!(
        idle.patch("/api/user", json!({"name": "A"})).await.json(200)["version"],
        2
    );
    ann.patch("/api/user", json!({"name": "B"})).await.json(200);
    assert_eq!(
        idle.patch("/api/user", json!({"name": "A"})).await.json(200)["version"],
        2
    );
    assert_eq!(ann.get("/api/user").await.json(200)["name"], "B");
}

#[tokio::test]
async fn a_subscription_tells_its_limits_and_the_end_of_its_trial() {
    let (t, ann) = ann().await;
    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(
        (
            &subscription["plan"],
            &subscription["status"],
            &subscription["limits"],
            &subscription["usage"]
        ),
        (
            &json!("business"),
            &json!("trialing"),
            &json!({"workspaces": 10, "agents": 10, "members": 5}),
            &json!({"workspaces": 0, "agents": 0})
        )
    );
    let eve = t.sign_up("eve@example.com", Plan::Agency).await;
    assert_eq!(
        eve.get("/api/user/subscription").await.json(200)["limits"]["workspaces"],
        Value::Null
    );

    t.clock.advance(SignedDuration::from_hours(15 * 24));
    let later = t.sign_in(ann.user.unwrap()).await;
    assert_eq!(
        later.get("/api/user/subscription").await.json(200)["status"],
        "expired"
    );
}
