//! A person's preferences: merged, versioned, and one truth with the profile where both tell the same.

use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::CHANGED;
use camarad::store::record::OutboxRecord;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::{Client, TestApp};
use futures_util::future::join_all;
use serde_json::{Value, json};

const PATH: &str = "/api/user/preferences";

async fn ann() -> (TestApp, Client) {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    (t, ann)
}

async fn events(t: &TestApp) -> Vec<Value> {
    let (mut found, first) = (Vec::new(), PageRequest::default());
    for shard in 0..keys::SHARDS {
        let list = keys::outbox_shard(shard);
        let page = t.app.db().list::<OutboxRecord>(&list, &first, false);
        found.extend(page.await.unwrap().items);
    }
    found.retain(|e| e.event_type == CHANGED);
    found.sort_by_key(|e| e.data["version"].as_u64());
    found.into_iter().map(|e| e.data).collect()
}

#[tokio::test]
async fn preferences_that_nobody_set_read_as_their_defaults() {
    let (t, ann) = ann().await;
    let before = t.snapshot().await;
    let answer = ann.get(PATH).await;
    assert_eq!(answer.header("etag"), Some("\"0\""));
    let channels = |in_app, email, push| json!({"inApp": in_app, "email": email, "push": push});
    assert_eq!(
        answer.json(200),
        json!({
            "theme": "system",
            "accentColor": "#4f46e5",
            "personalityTone": "neutral",
            "locale": "en",
            "timezone": "UTC",
            "display": {
                "density": "comfortable",
                "fontSize": "medium",
                "timeFormat": "locale",
                "highContrast": false,
                "reducedMotion": false,
                "sidebarCollapsed": false,
            },
            "notifications": {
                "subscription.renewed": channels(true, true, false),
                "subscription.expired": channels(true, true, true),
                "subscription.trial_ending": channels(true, true, true),
                "agent.limit_reached": channels(true, false, false),
                "workspace.invitation": channels(true, true, true),
                "usage.quota_warning": channels(true, true, true),
                "safety.flagged": channels(true, true, false),
                "payment.failed": channels(true, true, true),
            },
            "digest": "off",
            "version": 0,
        })
    );
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn a_patch_merges_and_null_sets_the_default_again() {
    let (t, ann) = ann().await;
    let mut expected = ann.get(PATH).await.json(200);
    let merge = ann.header("Content-Type", "application/merge-patch+json");
    let first = merge
        .patch(
            PATH,
            json!({
                "theme": "dark",
                "accentColor": "#FF8800",
                "personalityTone": "technical",
                "digest": "weekly",
                "display": {"density": "compact", "reducedMotion": true},
                "notifications": {"payment.failed": {"push": false}, "safety.flagged": {"email": false, "push": true}},
            }),
        )
        .await;
    assert_eq!(first.header("etag"), Some("\"1\""));
    expected["theme"] = json!("dark");
    expected["accentColor"] = json!("#ff8800");
    expected["personalityTone"] = json!("technical");
    expected["digest"] = json!("weekly");
    expected["display"]["density"] = json!("compact");
    expected["display"]["reducedMotion"] = json!(true);
    expected["notifications"]["payment.failed"]["push"] = json!(false);
    expected["notifications"]["safety.flagged"] = json!({"inApp": true, "email": false, "push": true});
    expected["version"] = json!(1);
    assert_eq!(first.json(200), expected);
    assert_eq!(ann.get(PATH).await.json(200), expected);

    let second = json!({
        "theme": null,
        "display": {"density": null},
        "notifications": {"safety.flagged": null, "payment.failed": {"inApp": false}},
    });
    let second = ann.patch(PATH, second).await.json(200);
    expected["theme"] = json!("system");
    expected["display"]["density"] = json!("comfortable");
    expected["notifications"]["payment.failed"]["inApp"] = json!(false);
    expected["notifications"]["safety.flagged"] = json!({"inApp": true, "email": true, "push": false});
    expected["version"] = json!(2);
    assert_eq!(second, expected);

    let third = json!({"accentColor": null, "personalityTone": null, "digest": null, "display": null, "notifications": null});
    let mut third = ann.patch(PATH, third).await.json(200);
    assert_eq!(third["version"], 3);
    third["version"] = json!(0);
    let eve = t.sign_up("eve@example.com", Plan::Personal).await;
    assert_eq!(third, eve.get(PATH).await.json(200), "everything is as at first");
}

#[tokio::test]
async fn what_is_no_preference_is_refused_with_its_path_and_changes_nothing() {
    let (t, ann) = ann().await;
    let before = t.snapshot().await;
    for (patch, field) in [
        (json!({"theme": "pink"}), "theme"),
        (json!({"accentColor": "red"}), "accentColor"),
        (json!({"accentColor": "#12345g"}), "accentColor"),
        (json!({"personalityTone": "rude"}), "personalityTone"),
        (json!({"locale": "de_AT"}), "locale"),
        (json!({"timezone": "Europe/Atlantis"}), "timezone"),
        (json!({"nonsense": null}), "nonsense"),
        (json!({"version": 7}), "version"),
        (json!({"display": "compact"}), "display"),
        (json!({"display": ["compact"]}), "display"),
        (json!({"notifications": []}), "notifications"),
        (json!({"display": {"density": "tight"}}), "display.density"),
        (json!({"display": {"colour": null}}), "display.colour"),
        (
            json!({"display": {"reducedMotion": "yes"}}),
            "display.reducedMotion",
        ),
        (
            json!({"notifications": {"payment.late": {"push": true}}}),
            "notifications.payment.late",
        ),
        (
            json!({"notifications": {"payment.failed": {"fax": true}}}),
            "notifications.payment.failed.fax",
        ),
        (
            json!({"notifications": {"payment.failed": {"push": 1}}}),
            "notifications.payment.failed.push",
        ),
    ] {
        ann.patch(PATH, patch).await.assert_invalid(field);
    }
    ann.patch(PATH, json!([])).await.assert_problem(422, "invalid");
    ann.patch(PATH, json!(null)).await.assert_problem(422, "invalid");
    ann.header("Content-Type", "text/plain")
        .patch(PATH, json!({}))
        .await
        .assert_problem(415, "unsupported_media_type");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn of_two_devices_with_one_etag_one_wins_and_the_other_hears_of_it() {
    let (_t, ann) = ann().await;
    for round in 0..5_u64 {
        let device = ann.header("If-Match", &format!("\"{round}\""));
        let colour = |n: u64| json!({"accentColor": format!("#0000{round}{n}")});
        let (a, b) = tokio::join!(device.patch(PATH, colour(1)), device.patch(PATH, colour(2)));
        let (won, lost) = if a.status == 200 { (a, b) } else { (b, a) };
        lost.assert_problem(412, "precondition_failed");
        assert_eq!(won.json(200)["version"], round + 1);
        let seen = ann.get(PATH).await.json(200);
        assert_eq!(seen, won.json(200), "what was answered 200 is not lost");
    }
}

#[tokio::test]
async fn racing_devices_that_mean_whatever_is_there_lose_nothing() {
    let (_t, ann) = ann().await;
    let patches = [
        json!({"theme": "dark"}),
        json!({"display": {"density": "compact"}}),
        json!({"display": {"fontSize": "large"}}),
        json!({"notifications": {"payment.failed": {"push": false}}}),
        json!({"notifications": {"payment.failed": {"email": false}}}),
        json!({"locale": "de-AT"}),
    ];
    for answer in join_all(patches.iter().map(|p| ann.patch(PATH, p.clone()))).await {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let seen = ann.get(PATH).await.json(200);
    assert_eq!(seen["version"], 6);
    assert_eq!(
        (&seen["theme"], &seen["locale"]),
        (&json!("dark"), &json!("de-AT"))
    );
    assert_eq!(
        (&seen["display"]["density"], &seen["display"]["fontSize"]),
        (&json!("compact"), &json!("large"))
    );
    assert_eq!(
        seen["notifications"]["payment.failed"],
        json!({"inApp": true, "email": false, "push": false})
    );
}

#[tokio::test]
async fn locale_and_time_zone_are_one_value_with_the_profiles() {
    let (_t, ann) = ann().await;
    let patched = ann
        .patch(PATH, json!({"locale": "de-AT", "theme": "dark"}))
        .await
        .json(200);
    assert_eq!(
        (&patched["locale"], &patched["version"]),
        (&json!("de-AT"), &json!(1))
    );
    let profile = ann.get("/api/user").await.json(200);
    assert_eq!(
        (&profile["locale"], &profile["version"]),
        (&json!("de-AT"), &json!(2))
    );

    ann.header("If-Match", "\"2\"")
        .patch("/api/user", json!({"timezone": "Europe/Vienna"}))
        .await
        .json(200);
    let seen = ann.get(PATH).await.json(200);
    assert_eq!(
        (&seen["timezone"], &seen["theme"], &seen["version"]),
        (&json!("Europe/Vienna"), &json!("dark"), &json!(2))
    );
    // A device that knows the preferences from before hears that they have changed.
    ann.header("If-Match", "\"1\"")
        .patch(PATH, json!({"timezone": "UTC"}))
        .await
        .assert_problem(412, "precondition_failed");
    // What only the other one tells is no conflict.
    ann.header("If-Match", "\"3\"")
        .patch("/api/user", json!({"name": "Ann Lee"}))
        .await
        .json(200);
    ann.header("If-Match", "\"2\"")
        .patch(PATH, json!({"theme": null}))
        .await
        .json(200);
    let reset = ann
        .patch(PATH, json!({"locale": null, "timezone": null}))
        .await
        .json(200);
    assert_eq!(
        (&reset["locale"], &reset["timezone"]),
        (&json!("en"), &json!("UTC"))
    );
}

#[tokio::test]
async fn a_change_is_told_to_the_log_by_name_and_to_other_devices_once() {
    let (t, ann) = ann().await;
    let user = ann.user.unwrap().to_string();
    let patch = json!({"theme": "dark", "locale": "fr", "display": {"density": "compact"}, "notifications": {"payment.failed": {"push": false}}});
    let once = ann.once("k");
    let first = once.patch(PATH, patch.clone()).await;
    let again = once.patch(PATH, patch.clone()).await;
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("etag"), Some("\"1\""));
    // What is there already makes no version, no event, no record.
    let before = t.snapshot().await;
    assert_eq!(ann.patch(PATH, patch).await.json(200)["version"], 1);
    assert_eq!(ann.patch(PATH, json!({})).await.json(200)["version"], 1);
    assert_eq!(before, t.snapshot().await);
    ann.patch("/api/user", json!({"timezone": "Europe/Vienna"}))
        .await
        .json(200);
    ann.patch("/api/user", json!({"name": "Ann Lee"})).await.json(200);

    assert_eq!(
        events(&t).await,
        [
            json!({"userId": user, "version": 1}),
            json!({"userId": user, "version": 2})
        ]
    );
    let records = t
        .app
        .db()
        .list::<camarad::store::record::AuditRecord>(&keys::audits(&user), &PageRequest::default(), false)
        .await
        .unwrap();
    let told: Vec<_> = records
        .items
        .iter()
        .map(|r| json!([r.action, r.detail]))
        .collect();
    assert_eq!(
        told[0],
        json!(["settings.updated", {"changed": ["locale", "display.density", "notifications.payment.failed.push", "theme"]}])
    );
    assert_eq!(told[1], json!(["user.updated", {"changed": ["timezone"]}]));
}

#[tokio::test]
async fn a_read_of_what_is_known_has_no_body() {
    let (_t, ann) = ann().await;
    for (path, tag) in [(PATH, "\"0\""), ("/api/user", "\"1\"")] {
        let known = ann
            .header("If-None-Match", &format!("\"77\", W/{tag}"))
            .get(path)
            .await;
        known.assert_empty(304);
        assert_eq!(known.header("etag"), Some(tag));
        assert_eq!(ann.header("If-None-Match", "\"77\"").get(path).await.status, 200);
    }
    ann.patch(PATH, json!({"theme": "dark"})).await.json(200);
    assert_eq!(ann.header("If-None-Match", "\"0\"").get(PATH).await.status, 200);
}

#[tokio::test]
async fn the_stream_of_events_takes_a_change_of_preferences() {
    let (t, ann) = ann().await;
    ann.patch(PATH, json!({"theme": "dark"})).await.json(200);
    t.clock.advance(jiff::SignedDuration::from_mins(2));
    let swept = camarad::domain::outbox::sweep(&t.app).await.unwrap();
    assert_eq!((swept.published, swept.failed), (1, 0));
    assert!(events(&t).await.is_empty());
}
