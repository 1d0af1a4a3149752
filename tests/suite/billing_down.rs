//! Going down: a renewal that is not paid, a smaller plan. Nothing is deleted; what is over the limit can be read.

use camarad_tests::app::{Answer, Client};
use camarad_tests::billing::{GOOD, LATER_DECLINED, Shop, days};
use camarad_tests::chain::seal_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::workspaces::workspace;

/// Somebody who has paid for the first month of a plan, half of it ago.
async fn paying(plan: &str) -> (Shop, Client) {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, plan, GOOD).await;
    shop.settle().await;
    let ann = shop.later(&ann, days(30)).await;
    (shop, ann)
}

async fn new_workspace(who: &Client) -> Answer {
    who.post("/api/workspaces", json!({"name": "Another", "type": "personal"}))
        .await
}

async fn agents(who: &Client, workspace: &str, presets: &[&str]) -> Vec<String> {
    let path = format!("/api/workspaces/{workspace}/agents");
    let made = who.post(&path, json!({"presetIds": presets})).await.json(201);
    let made = made["items"].as_array().unwrap().iter();
    made.map(|a| a["id"].as_str().unwrap().to_owned()).collect()
}

fn times(told: &[String], kind: &str) -> usize {
    told.iter().filter(|k| *k == kind).count()
}

#[tokio::test]
async fn a_renewal_that_is_not_paid_leaves_a_week_of_full_use_and_then_reading() {
    let (shop, ann) = paying("personal").await;
    let home = workspace(&ann, "Home").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    // The month ends on its thirtieth day or the next; the charge is tried an hour later.
    let ann = shop.later(&ann, days(16)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["readOnly"]),
        (&json!("past_due"), &json!(false)),
        "{seen}"
    );
    let ends: jiff::Timestamp = seen["graceEndsAt"].as_str().unwrap().parse().unwrap();
    let started: jiff::Timestamp = seen["periodStartsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(ends.duration_since(started), days(7));
    new_workspace(&ann).await.json(201);
    assert_eq!(times(&shop.notices(&ann).await, "payment.failed"), 1);
    // Another try fails, which is no news.
    let now = shop.t.app.clock().now();
    let ann = shop
        .later(&ann, ends.duration_since(now) - SignedDuration::from_hours(3))
        .await;
    assert_eq!(times(&shop.notices(&ann).await, "payment.failed"), 1);
    new_workspace(&ann).await.json(201);
    // The week is over: by the clock, not by an event.
    shop.t.clock.advance(SignedDuration::from_hours(2));
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    new_workspace(&ann)
        .await
        .assert_problem(402, "subscription_required");
    let rename = ann
        .patch(&format!("/api/workspaces/{home}"), json!({"name": "New"}))
        .await;
    rename.assert_problem(402, "subscription_required");
    ann.get(&format!("/api/workspaces/{home}")).await.json(200);
    taken_along(&shop, &ann, &home).await;
    let due = ann
        .once("up")
        .post("/api/billing/change-plan", json!({"planId": "agency"}))
        .await;
    due.assert_problem(409, "payment_due");
    // It is paid at last, and all is as it was; the month is granted once.
    shop.replace_card(&customer, GOOD).await;
    let ann = shop.later(&ann, days(5)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["graceEndsAt"]),
        (&json!("active"), &Value::Null)
    );
    let entries = shop.entries(&ann).await;
    let months = entries.iter().filter(|(.., why)| why.starts_with("A month"));
    assert_eq!(months.count(), 2, "{entries:#?}");
    let renewed = times(&shop.notices(&ann).await, "subscription.renewed");
    assert_eq!(renewed, 2, "after the trial, and now");
}

/// The minute's sweep, and what it ordered.
async fn swept(shop: &Shop) {
    shop.t.clock.advance(SignedDuration::from_mins(2));
    scheduled::handle(shop.t.app.clone(), scheduled::Job::Sweep)
        .await
        .unwrap();
    shop.work().await;
}

#[tokio::test]
async fn the_end_of_the_grace_is_told_once_though_stripe_tells_nothing_then() {
    let (shop, ann) = paying("personal").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    let ann = shop.later(&ann, days(16)).await;
    let seen = shop.subscription(&ann).await;
    let ends: jiff::Timestamp = seen["graceEndsAt"].as_str().unwrap().parse().unwrap();
    let before = ends - SignedDuration::from_mins(10);
    shop.t
        .clock
        .advance(before.duration_since(shop.t.app.clock().now()));
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    assert_eq!(
        times(&shop.notices(&ann).await, "subscription.expired"),
        0,
        "not yet"
    );
    shop.t.clock.advance(SignedDuration::from_mins(10));
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    assert_eq!(times(&shop.notices(&ann).await, "subscription.expired"), 1);
    let page = ann.get("/api/notifications?limit=100").await.json(200);
    let told = page["items"].as_array().unwrap().iter();
    let told: Vec<_> = told.filter(|n| n["type"] == "subscription.expired").collect();
    assert_eq!(
        told[0]["data"]["endedAt"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap(),
        ends
    );
    // Whatever else happens: sweeps, looks, Stripe's last try and its giving up.
    swept(&shop).await;
    let ann = shop.later(&ann, days(4)).await;
    let ann = shop.later(&ann, days(60)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(seen["readOnly"], json!(true), "{seen}");
    assert!(
        ["expired", "canceled"].contains(&seen["status"].as_str().unwrap()),
        "{seen}"
    );
    assert_eq!(times(&shop.notices(&ann).await, "subscription.expired"), 1);
}

#[tokio::test]
async fn a_grace_that_is_paid_for_ends_without_a_word() {
    let (shop, ann) = paying("personal").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    let ann = shop.later(&ann, days(16)).await;
    assert_eq!(shop.subscription(&ann).await["status"], json!("past_due"));
    shop.replace_card(&customer, GOOD).await;
    let ann = shop.later(&ann, days(6)).await;
    assert_eq!(shop.subscription(&ann).await["status"], json!("active"));
    shop.t.clock.advance(days(2));
    swept(&shop).await;
    let ann = shop.t.sign_in(ann.user.unwrap()).await;
    assert_eq!(times(&shop.notices(&ann).await, "subscription.expired"), 0);
}

#[tokio::test]
async fn what_is_over_a_smaller_plans_limits_can_be_read_and_is_back_when_there_is_room() {
    let (shop, ann) = paying("business").await;
    let mut homes = Vec::new();
    for n in 0..4 {
        homes.push(workspace(&ann, &format!("Home {n}")).await);
    }
    // Six agents in the three that will stay, where five are allowed.
    let mut made = agents(&ann, &homes[0], &["ceo", "cto", "cto"]).await;
    made.extend(agents(&ann, &homes[1], &["ceo", "cto", "cto"]).await);
    ann.once("down")
        .post("/api/billing/change-plan", json!({"planId": "personal"}))
        .await
        .json(200);
    let ann = shop.later(&ann, days(31)).await;
    assert_eq!(shop.subscription(&ann).await["plan"], json!("personal"));
    let rename = async |home: &str| {
        ann.patch(&format!("/api/workspaces/{home}"), json!({"name": "New"}))
            .await
    };
    for home in &homes[..3] {
        rename(home).await.json(200);
    }
    rename(&homes[3]).await.assert_problem(403, "plan_limit");
    ann.get(&format!("/api/workspaces/{}", homes[3])).await.json(200);
    let touch = async |agent: &str| {
        ann.patch(&format!("/api/agents/{agent}"), json!({"name": "Zed"}))
            .await
    };
    for agent in &made[..5] {
        touch(agent).await.json(200);
    }
    touch(&made[5]).await.assert_problem(403, "plan_limit");
    ann.get(&format!("/api/agents/{}", made[5])).await.json(200);
    taken_along(&shop, &ann, &homes[3]).await;
    // Something goes, and there is room.
    let deleted = ann.delete(&format!("/api/agents/{}", made[0])).await;
    assert!(deleted.status < 300, "{}", deleted.body);
    let deleted = ann.delete(&format!("/api/workspaces/{}", homes[2])).await;
    assert!(deleted.status < 300, "{}", deleted.body);
    shop.publish().await;
    touch(&made[5]).await.json(200);
    rename(&homes[3]).await.json(200);
}

/// All that there is of a workspace that cannot be changed is given out: its usage, its log, and with the person's own.
async fn taken_along(shop: &Shop, who: &Client, home: &str) {
    seal_all(&shop.t).await;
    let usage = who.get(&format!("/api/usage/export?workspaceId={home}")).await;
    assert_eq!(usage.status, 200, "{}", usage.body);
    assert!(usage.header("content-type").unwrap().starts_with("text/csv"));
    let log = who
        .get(&format!("/api/workspaces/{home}/audit-logs/export"))
        .await;
    assert_eq!(log.status, 200, "{}", log.body);
    assert!(log.body.contains("workspace.created"), "{}", log.body);
    let made = who.post("/api/user/export", json!({})).await.json(201);
    let archive = who.get(made["download"].as_str().unwrap()).await;
    assert_eq!(archive.status, 200, "{}", archive.body);
    let lines = archive
        .body
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    let homes: Vec<_> = lines.filter(|l| l["kind"] == "workspace").collect();
    assert!(homes.iter().any(|l| l["item"]["id"] == json!(home)), "{homes:?}");
}

#[tokio::test]
async fn a_lapsed_account_has_its_trial_behind_it() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    ann.post("/api/billing/cancel", json!({})).await.json(200);
    shop.settle().await;
    let told = shop.notices(&ann).await;
    assert_eq!(times(&told, "subscription.trial_ending"), 0);
    let ann = shop.later(&ann, days(13)).await;
    assert_eq!(times(&shop.notices(&ann).await, "subscription.trial_ending"), 1);
    let ann = shop.later(&ann, days(3)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["readOnly"], &seen["trialAvailable"]),
        (&json!("canceled"), &json!(true), &json!(false))
    );
    let balance = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(
        balance["available"],
        json!("0"),
        "what was to try with is gone: {balance}"
    );
    new_workspace(&ann)
        .await
        .assert_problem(402, "subscription_required");
}
