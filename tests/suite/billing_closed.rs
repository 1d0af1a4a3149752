//! An account that is deleted has no subscription any more, and nothing that Stripe still tells brings it back.

use camarad::domain::billing::worker;
use camarad::domain::users::{Account, SubscriptionStatus};
use camarad::store::keys;
use camarad_tests::billing::{GOOD, Shop, days};
use serde_json::json;

use crate::account_deletion::delete;

#[tokio::test]
async fn a_deleted_account_pays_nothing_more_and_stays_closed_whatever_stripe_tells() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let ann = shop.later(&ann, days(20)).await;
    let customer = shop.customer(&ann).await;
    // News that were on their way.
    ann.post("/api/billing/cancel", json!({})).await.json(200);
    ann.post("/api/billing/resume", json!({})).await.json(200);
    let late = shop.news().await;
    assert!(!late.is_empty());
    let user = ann.user.unwrap();
    assert!(delete(&ann).await.status < 300);
    // The deletion's own event orders the end of the subscription.
    shop.publish().await;
    shop.work().await;
    let all = shop
        .read(&format!("subscriptions?customer={customer}&status=all"))
        .await;
    let states: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["status"].clone())
        .collect();
    assert_eq!(states, [json!("canceled")]);
    let key = keys::account(user);
    let closed = shop.t.app.db().get::<Account>(&key).await.unwrap();
    let grants = async || {
        let page = camarad::store::PageRequest::of(1_000);
        camarad::domain::ledger::entries(&shop.t.app, user, &page)
            .await
            .map(|p| p.items.len())
            .unwrap_or_default()
    };
    let granted = grants().await;
    for told in late.iter().chain(&shop.news().await) {
        shop.deliver(told).await;
    }
    shop.work().await;
    shop.pass(days(40)).await;
    shop.settle().await;
    worker::look_at(&shop.t.app, user).await.unwrap();
    let now = shop.t.app.db().get::<Account>(&key).await.unwrap();
    assert_eq!(now, closed);
    assert!(now.is_none_or(|a| a.status == SubscriptionStatus::Closed));
    assert_eq!(grants().await, granted);
    let invoices = shop.read(&format!("invoices?customer={customer}")).await;
    assert_eq!(
        invoices["data"].as_array().unwrap().len(),
        2,
        "the trial's and the month's: {invoices}"
    );
}

#[tokio::test]
async fn there_is_one_trial_however_often_somebody_begins() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    for n in 0..3 {
        shop.subscribe(&ann, "personal", GOOD).await;
        shop.settle().await;
        let all = shop
            .read(&format!(
                "subscriptions?customer={}&status=all",
                shop.customer(&ann).await
            ))
            .await;
        let all = all["data"].as_array().unwrap();
        let tried = all.iter().filter(|s| !s["trial_start"].is_null()).count();
        assert_eq!((all.len(), tried), (n + 1, 1));
        // It ends at once: by whoever answers the telephone, at Stripe.
        let id = all[0]["id"].as_str().unwrap();
        shop.remove(&format!("subscriptions/{id}")).await;
        shop.settle().await;
        assert_eq!(shop.subscription(&ann).await["status"], json!("canceled"));
    }
    let entries = shop.entries(&ann).await;
    let trials = entries.iter().filter(|(.., why)| why.starts_with("Trial"));
    assert_eq!(trials.count(), 1, "{entries:#?}");
}
