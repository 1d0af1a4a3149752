//! A person who was onboarded and left the page where a card is entered.

use camarad_tests::billing::{GOOD, Shop, days};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::onboarding_undone::{COMPLETE, wish};

/// What the account says of its subscription.
async fn status(shop: &Shop, user: camarad::ids::UserId) -> Value {
    let who = shop.t.sign_in(user).await;
    who.get("/api/user/subscription").await.json(200)["status"].clone()
}

#[tokio::test]
async fn who_leaves_the_page_can_read_what_was_made_and_buys_on_another_page() {
    let shop = Shop::open().await;
    let ann = shop.t.newcomer("ann@example.com").await;
    let user = ann.user.unwrap();
    let made = ann.once("1").post(COMPLETE, wish()).await.json(201);
    let path = format!("/api/onboarding/{}", made["executionId"].as_str().unwrap());
    assert!(made["checkoutUrl"].is_string() && made["checkoutExpiresAt"].is_string());
    shop.settle().await;
    assert_eq!(status(&shop, user).await, "incomplete");

    // A day later the page is closed, here and there.
    shop.pass(days(1) + SignedDuration::from_hours(1)).await;
    shop.settle().await;
    let ann = shop.t.sign_in(user).await;
    let told = ann.get(&path).await.json(200);
    assert_eq!(told["status"], "completed");
    assert_eq!(
        (told.get("checkoutUrl"), &told["checkoutExpiresAt"]),
        (None, &made["checkoutExpiresAt"])
    );
    let sessions = shop.read("checkout/sessions").await;
    assert_eq!(sessions["data"][0]["status"], "expired");
    assert_eq!(status(&shop, user).await, "incomplete");

    // What was made can be read, and no more.
    let workspaces = ann.get("/api/workspaces").await.json(200);
    assert_eq!(workspaces["items"][0]["id"], made["workspaceId"]);
    let agent = made["agentIds"][0].as_str().unwrap();
    ann.get(&format!("/api/agents/{agent}")).await.json(200);
    let renamed = ann
        .patch(&format!("/api/agents/{agent}"), json!({"name": "Mine"}))
        .await;
    renamed.assert_problem(402, "subscription_required");
    let asked = ann
        .once("ask")
        .post(
            &format!("/api/agents/{agent}/chat"),
            json!({"message": "Are you there?"}),
        )
        .await;
    asked.assert_problem(402, "subscription_required");
    assert!(shop.entries(&ann).await.is_empty());

    // Another page, with the trial that nobody has had yet.
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    assert_eq!(status(&shop, user).await, "trialing");
    ann.patch(&format!("/api/agents/{agent}"), json!({"name": "Mine"}))
        .await
        .json(200);
    let granted = [(
        "grant".into(),
        "10000".into(),
        "Trial of the Personal plan".into(),
    )];
    assert_eq!(shop.entries(&ann).await, granted);
}

#[tokio::test]
async fn who_pays_on_another_page_while_the_first_is_open_has_one_subscription() {
    let shop = Shop::open().await;
    let ann = shop.t.newcomer("ann@example.com").await;
    ann.once("1").post(COMPLETE, wish()).await.json(201);
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let sessions = shop.read("checkout/sessions").await;
    let sessions = sessions["data"].as_array().unwrap();
    let mut states: Vec<_> = sessions.iter().map(|s| s["status"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["complete", "expired"]);
    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(
        (&subscription["plan"], &subscription["status"]),
        (&json!("business"), &json!("trialing"))
    );
}
