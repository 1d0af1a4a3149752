//! Payments that are given back: what was bought with them goes again, as far as it is there, and once.

use camarad::domain::billing::Shortfall;
use camarad::money::Cbt;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, Shop};
use serde_json::json;

use crate::quota::spend;

/// The smallest pack, in cents.
const PRICE: i64 = 900;

/// Somebody in a trial with 10,000 cbT, who has bought 10,000 more; and the charge of it.
async fn bought() -> (Shop, Client, String) {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let page = ann
        .once("a pack")
        .post("/api/billing/topup", json!({"cbt": "10000"}))
        .await
        .json(201);
    shop.pay(page["sessionId"].as_str().unwrap(), GOOD).await;
    shop.settle().await;
    let charges = shop
        .read(&format!("charges?customer={}", shop.customer(&ann).await))
        .await;
    let charge = charges["data"][0].clone();
    assert_eq!(charge["amount"], json!(PRICE), "{charges}");
    (shop, ann, charge["id"].as_str().unwrap().to_owned())
}

async fn balance(who: &Client) -> String {
    let seen = who.get("/api/ledger/balance").await.json(200);
    seen["balance"].as_str().unwrap().to_owned()
}

async fn refund(shop: &Shop, charge: &str, cents: i64) {
    let cents = cents.to_string();
    shop.form("refunds", &[("charge", charge), ("amount", &cents)])
        .await;
}

async fn shortfalls(shop: &Shop) -> Vec<Shortfall> {
    let list = keys::billing_shortfalls();
    let page = shop.t.app.db().list(&list, &PageRequest::default(), false).await;
    page.unwrap().items
}

#[tokio::test]
async fn what_was_bought_goes_in_proportion_to_what_was_given_back_and_once() {
    let (shop, ann, charge) = bought().await;
    for (cents, left) in [
        (PRICE / 2, "15000"),
        (PRICE / 3, "11666.666667"),
        (PRICE / 6, "10000.000001"),
    ] {
        refund(&shop, &charge, cents).await;
        let news = shop.news().await;
        for told in news.iter().chain(&news) {
            shop.deliver(told).await;
            shop.work().await;
        }
        assert_eq!(balance(&ann).await, left);
    }
    let entries = shop.entries(&ann).await;
    let adjusted: Vec<_> = entries.iter().filter(|(kind, ..)| kind == "adjust").collect();
    assert_eq!(adjusted.len(), 3, "{entries:#?}");
    assert!(
        adjusted
            .iter()
            .all(|(_, delta, why)| delta.starts_with('-') && !why.is_empty())
    );
    assert_eq!(shortfalls(&shop).await, []);
}

#[tokio::test]
async fn what_was_spent_already_is_reported_and_no_balance_is_below_zero() {
    let (shop, ann, charge) = bought().await;
    let user = ann.user.unwrap();
    spend(&shop.t.app, user, 18_000 * 1_000_000).await;
    assert_eq!(balance(&ann).await, "2000");
    refund(&shop, &charge, PRICE).await;
    let news = shop.news().await;
    for told in news.iter().chain(&news) {
        shop.deliver(told).await;
        shop.work().await;
    }
    assert_eq!(balance(&ann).await, "0");
    let found = shortfalls(&shop).await;
    let found: Vec<_> = found.iter().map(|s| (s.user_id, s.wanted, s.short)).collect();
    assert_eq!(found, [(user, Cbt::whole(10_000), Cbt::whole(8_000))]);
    let told = shop.notices(&ann).await;
    assert_eq!(
        told.iter().filter(|kind| *kind == "payment.failed").count(),
        1,
        "{told:?}"
    );
}

#[tokio::test]
async fn a_dispute_takes_nothing_until_it_is_lost() {
    for (end, left) in [("won", "20000"), ("lost", "10000")] {
        let (shop, ann, charge) = bought().await;
        let dispute = |status| {
            let path = format!("dispute/{charge}");
            let shop = &shop;
            async move { shop.peer(&path, json!({"status": status})).await }
        };
        dispute("needs_response").await;
        shop.settle().await;
        assert_eq!(balance(&ann).await, "20000");
        dispute(end).await;
        shop.settle().await;
        assert_eq!(balance(&ann).await, left, "{end}");
    }
}
