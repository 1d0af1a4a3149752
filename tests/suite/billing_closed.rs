//! An account that is deleted has no subscription any more, and nothing that Stripe still tells brings it back.

use camarad::domain::billing::worker;
use camarad::domain::users::{Account, SubscriptionStatus, deletion};
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, Shop, days};
use serde_json::json;

use crate::account_deletion::delete;
use crate::billing_one::{charges, left_open, pages, quiet};

/// How many entries the ledger has.
async fn grants(shop: &Shop, user: UserId) -> usize {
    let page = camarad::store::PageRequest::of(1_000);
    camarad::domain::ledger::entries(&shop.t.app, user, &page)
        .await
        .map(|p| p.items.len())
        .unwrap_or_default()
}

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
    let granted = grants(&shop, user).await;
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
    assert_eq!(grants(&shop, user).await, granted);
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

/// The pages of somebody who goes: one for a subscription, or one for cbT beside a subscription.
async fn with_page(name: &str) -> (Shop, Client, String) {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    quiet(&shop).await;
    let (path, wanted) = match name {
        "topup" => ("/api/billing/topup", json!({"cbt": "10000"})),
        _ => {
            let all = shop.read("subscriptions").await;
            let id = all["data"][0]["id"].as_str().unwrap();
            shop.remove(&format!("subscriptions/{id}")).await;
            quiet(&shop).await;
            ("/api/billing/checkout", json!({"planId": "business"}))
        }
    };
    let page = ann.once("page").post(path, wanted).await.json(201);
    let page = page["sessionId"].as_str().unwrap().to_owned();
    (shop, ann, page)
}

#[tokio::test]
async fn no_page_of_a_deleted_account_stays_open() {
    for name in ["topup", "checkout"] {
        let (shop, ann, page) = with_page(name).await;
        assert!(delete(&ann).await.status < 300);
        shop.publish().await;
        shop.work().await;
        assert_eq!(pages(&shop, "open").await, [""; 0], "{name}");
        assert!(!shop.try_pay(&page, GOOD).await);
    }
}

#[tokio::test]
async fn what_is_paid_after_an_account_was_closed_is_given_back_and_brings_nothing() {
    for name in ["topup", "checkout"] {
        let (shop, ann, page) = with_page(name).await;
        let (user, customer) = (ann.user.unwrap(), shop.customer(&ann).await);
        let granted = grants(&shop, user).await;
        shop.pass(jiff::SignedDuration::from_secs(5)).await;
        assert!(delete(&ann).await.status < 300);
        // The page is still open somewhere, and nobody has looked yet.
        shop.pay(&page, GOOD).await;
        let paid = charges(&shop, &customer).await;
        assert!(paid.len() == 1 && paid[0].0 > 0 && paid[0].1 == 0, "{paid:?}");
        shop.publish().await;
        shop.work().await;
        quiet(&shop).await;
        let back = charges(&shop, &customer).await;
        assert_eq!(back, [(paid[0].0, paid[0].0)], "{name}");
        let all = shop
            .read(&format!("subscriptions?customer={customer}&status=all"))
            .await;
        let mut all = all["data"].as_array().unwrap().iter();
        assert!(all.all(|s| s["status"] == "canceled"), "{name}");
        assert_eq!(grants(&shop, user).await, granted);
    }
}

#[tokio::test]
async fn what_was_paid_before_an_account_was_closed_is_not_given_back() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    quiet(&shop).await;
    let ann = shop.later(&ann, days(16)).await;
    let customer = shop.customer(&ann).await;
    assert!(delete(&ann).await.status < 300);
    shop.publish().await;
    shop.work().await;
    quiet(&shop).await;
    assert_eq!(charges(&shop, &customer).await, [(1200, 0)]);
}

#[tokio::test]
async fn a_page_that_opens_while_its_account_is_closed_is_closed_as_well() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    ann.post("/api/billing/portal", json!({})).await.json(201);
    let slow = json!({"method": "POST", "path": "/v1/checkout/sessions", "latencyMs": 1500});
    shop.peer("faults", slow).await;
    let asking = ann.once("page");
    let asked = asking.post("/api/billing/checkout", json!({"planId": "personal"}));
    let leaving = async {
        while (shop.calls("POST").await.iter()).all(|c| c["path"] != "/v1/checkout/sessions") {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert!(delete(&ann).await.status < 300);
        shop.publish().await;
        shop.work().await;
    };
    let (asked, ()) = tokio::join!(asked, leaving);
    // On a slow machine the page was there before the account was gone.
    assert!([201, 404].contains(&asked.status), "{}", asked.body);
    assert_eq!(pages(&shop, "open").await, [""; 0]);
}

#[tokio::test]
async fn a_page_whose_function_died_while_the_account_was_closed_is_closed_by_the_deletions_last_pass() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    ann.post("/api/billing/portal", json!({})).await.json(201);
    let customer = shop.customer(&ann).await;
    assert!(delete(&ann).await.status < 300);
    shop.publish().await;
    shop.work().await;
    left_open(&shop, &customer, "personal", true).await;
    shop.t.clock.advance(jiff::SignedDuration::from_mins(17));
    deletion::sweep(&shop.t.app).await.unwrap();
    shop.work().await;
    assert_eq!(pages(&shop, "open").await, [""; 0]);
}
