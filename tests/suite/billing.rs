//! Subscriptions, from the first page to the last invoice.

use camarad_tests::billing::{GOOD, LATER_DECLINED, Shop, days};
use jiff::SignedDuration;
use serde_json::json;

#[tokio::test]
async fn a_trial_begins_with_a_card_and_brings_the_plans_cbt_once() {
    let shop = Shop::open().await;
    let ann = shop.t.newcomer("ann@example.com").await;
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("business"), &json!("trialing"))
    );
    assert_eq!(
        (&seen["trialAvailable"], &seen["readOnly"]),
        (&json!(false), &json!(false))
    );
    // Fifteen days from the moment of paying, to the second; Stripe's time stands meanwhile.
    let ends: jiff::Timestamp = seen["trialEndsAt"].as_str().unwrap().parse().unwrap();
    let now = shop.t.app.clock().now();
    assert_eq!(ends.as_second() - now.as_second(), 15 * 24 * 60 * 60);
    let log = ann.get("/api/user/audit-logs?limit=100").await.json(200);
    let begun = log["items"].as_array().unwrap().iter();
    let begun: Vec<_> = begun.filter(|r| r["action"] == "subscription.created").collect();
    assert_eq!(begun.len(), 1, "{log}");
    let said = &begun[0]["detail"]["after"];
    assert_eq!(
        (&said["plan"], &said["status"], said["subscription"].is_string()),
        (&json!("business"), &json!("trialing"), true),
        "{begun:?}"
    );
    assert_eq!(
        shop.entries(&ann).await,
        [(
            "grant".into(),
            "40000".into(),
            "Trial of the Business plan".into()
        )]
    );
    let again = ann
        .once("again")
        .post("/api/billing/checkout", json!({"planId": "agency"}))
        .await;
    again.assert_problem(409, "already_subscribed");
    // It lasts them all.
    shop.pass(ends.duration_since(now) - SignedDuration::from_mins(2))
        .await;
    shop.settle().await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    assert_eq!(shop.subscription(&ann).await["status"], json!("trialing"));
    let ann = shop.later(&ann, SignedDuration::ZERO).await;
    assert_eq!(shop.subscription(&ann).await["status"], json!("active"));
}

/// What the clock does every minute: cbT that expired leave the ledger.
async fn swept(shop: &Shop) {
    scheduled::handle(shop.t.app.clone(), scheduled::Job::Sweep)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_whole_life_of_a_subscription() {
    let shop = Shop::open().await;
    let ann = shop.t.newcomer("ann@example.com").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    // The trial ends, and the first month is paid.
    shop.pass(days(15) + SignedDuration::from_hours(2)).await;
    shop.settle().await;
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("personal"), &json!("active"))
    );
    // A renewal.
    shop.pass(days(31)).await;
    shop.settle().await;
    swept(&shop).await;
    // A larger plan, in mid-period, after a look at what it costs.
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    let preview = ann
        .get("/api/billing/change-plan/preview?planId=business")
        .await
        .json(200);
    assert!(preview["dueNow"].as_i64().unwrap() > 0, "{preview}");
    ann.once("up")
        .post("/api/billing/change-plan", json!({"planId": "business"}))
        .await
        .json(200);
    shop.settle().await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("business"), &json!("active"))
    );
    // A renewal that cannot be charged: a week of full use, told once.
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    shop.pass(days(31)).await;
    shop.settle().await;
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["readOnly"]),
        (&json!("past_due"), &json!(false)),
        "{seen}"
    );
    assert!(seen["graceEndsAt"].is_string());
    // Nobody pays, until Stripe gives up.
    shop.pass(days(20)).await;
    shop.settle().await;
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    let seen = shop.subscription(&ann).await;
    let over = seen["status"] == "expired" || seen["status"] == "canceled";
    assert!(over && seen["readOnly"] == json!(true), "{seen}");
    let refused = ann
        .post("/api/workspaces", json!({"name": "Home", "type": "personal"}))
        .await;
    refused.assert_problem(402, "subscription_required");
    let entries = shop.entries(&ann).await;
    let granted: Vec<_> = entries.iter().filter(|(kind, ..)| kind == "grant").collect();
    assert_eq!(granted.len(), 4, "trial, two months, an upgrade: {entries:#?}");
    let log = ann.get("/api/user/audit-logs?limit=100").await.json(200);
    // The older records are over.
    for action in ["subscription.updated", "subscription.cancelled"] {
        assert!(
            log["items"]
                .as_array()
                .unwrap()
                .iter()
                .any(|r| r["action"] == action),
            "{action}"
        );
    }
    // For whoever wants to read it: CAMARAD_LIFE=file.
    if let Some(file) = std::env::var_os("CAMARAD_LIFE") {
        let lines = json!({"ledger": ann.get("/api/ledger?limit=100").await.json(200), "audit": log,
            "invoices": ann.get("/api/billing/invoices").await.json(200), "subscription": seen});
        std::fs::write(file, serde_json::to_string_pretty(&lines).unwrap()).unwrap();
    }
}

#[test]
fn the_catalogue_that_stripe_is_set_up_from_is_the_plans() {
    let file = camarad_tests::app::stack::repository().join("infra/stripe/catalogue.json");
    let made = camarad::domain::plans::catalogue();
    if std::env::var_os("UPDATE_CATALOGUE").is_some() {
        std::fs::write(&file, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(told, made, "UPDATE_CATALOGUE=1 writes it");
}

#[test]
fn the_endpoint_at_stripe_is_told_of_every_event_that_counts() {
    let file = camarad_tests::app::stack::repository().join("infra/stripe/setup.mjs");
    let text = std::fs::read_to_string(file).unwrap();
    let ordered = text.split("const EVENTS = [").nth(1).unwrap();
    let ordered = ordered.split("];").next().unwrap().split('\'').skip(1).step_by(2);
    let known = camarad::domain::billing::event::KNOWN;
    assert_eq!(ordered.collect::<Vec<_>>(), known);
}
