//! Customers of whom Stripe has more than it lists at once.

use camarad::domain::billing::{self, Snapshot, worker};
use camarad::domain::users::Account;
use camarad::store::keys;
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, Shop};
use serde_json::{Value, json};

/// More than a page.
const MANY: usize = 103;

async fn snapshot(shop: &Shop, who: &Client) -> Snapshot {
    let key = keys::account(who.user.unwrap());
    let account: Account = shop.t.app.db().get(&key).await.unwrap().unwrap();
    billing::fetch(&shop.t.app, &account).await.unwrap()
}

/// Somebody who subscribes, and the id of their plan's price.
async fn subscriber(shop: &Shop) -> (Client, String) {
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let all = subscriptions(shop, &ann).await;
    let price = all["data"][0]["items"]["data"][0]["price"]["id"].as_str();
    (ann, price.unwrap().to_owned())
}

async fn subscriptions(shop: &Shop, who: &Client) -> Value {
    let customer = shop.customer(who).await;
    shop.read(&format!("subscriptions?customer={customer}")).await
}

#[tokio::test]
async fn all_subscriptions_of_a_customer_are_seen_however_many_there_were() {
    let shop = Shop::open().await;
    let (ann, price) = subscriber(&shop).await;
    let customer = shop.customer(&ann).await;
    let first = subscriptions(&shop, &ann).await["data"][0]["id"].clone();
    for _ in 1..MANY {
        let form = [
            ("customer", customer.as_str()),
            ("items[0][price]", &price),
            ("trial_period_days", "15"),
        ];
        let made = shop.form("subscriptions", &form).await;
        shop.remove(&format!("subscriptions/{}", made["id"].as_str().unwrap()))
            .await;
    }
    let seen = snapshot(&shop, &ann).await.subscriptions;
    assert_eq!(seen.len(), MANY);
    // The one that goes on is the oldest, which Stripe lists last.
    assert_eq!(json!(seen.last().unwrap().id), first);
    worker::look(&shop.t.app, &customer).await.unwrap();
    assert_eq!(shop.subscription(&ann).await["status"], json!("trialing"));
}

#[tokio::test]
async fn all_that_was_given_back_of_a_payment_is_seen_in_however_many_parts() {
    let shop = Shop::open().await;
    let (ann, _) = subscriber(&shop).await;
    let pack = json!({"cbt": "10000"});
    let page = ann.once("pack").post("/api/billing/topup", pack).await.json(201);
    shop.pay(page["sessionId"].as_str().unwrap(), GOOD).await;
    let customer = shop.customer(&ann).await;
    let charges = shop.read(&format!("charges?customer={customer}")).await;
    let charge = charges["data"][0]["id"].as_str().unwrap();
    for _ in 0..MANY {
        shop.form("refunds", &[("charge", charge), ("amount", "1")]).await;
    }
    let seen = snapshot(&shop, &ann).await.refunds;
    assert_eq!(seen.len(), MANY);
    assert_eq!(seen.iter().map(|r| r.amount).sum::<i64>(), 103);
}

#[tokio::test]
async fn all_invoices_of_a_life_are_seen() {
    let shop = Shop::open().await;
    let (ann, _) = subscriber(&shop).await;
    // More than forty years; Camarad's own time stands.
    let then = shop.t.app.clock().now().as_second() + 510 * 31 * 86_400;
    shop.peer("time", json!({"now": then, "freeze": true})).await;
    let seen = snapshot(&shop, &ann).await;
    assert!(seen.invoices.len() > 510, "{}", seen.invoices.len());
    assert_eq!(
        seen.grants().unwrap().len(),
        seen.invoices
            .iter()
            .filter(|i| i.status == camarad::ports::stripe::InvoiceStatus::Paid)
            .count()
    );
}
