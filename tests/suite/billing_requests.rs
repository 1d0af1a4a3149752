//! Requests to Stripe: each once, whatever becomes of its answer, and each on record with who asked for it.

use camarad::domain::plans::Plan;
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, Shop, days};
use futures_util::future::join_all;
use serde_json::{Value, json};

async fn customers(shop: &Shop) -> Vec<Value> {
    let all = shop.read("customers?limit=100").await;
    all["data"].as_array().unwrap().clone()
}

fn check_out(who: &Client, key: &str) -> impl Future<Output = camarad_tests::app::Answer> {
    let who = who.once(key);
    async move {
        who.post("/api/billing/checkout", json!({"planId": "personal"}))
            .await
    }
}

#[tokio::test]
async fn a_failure_that_stripe_keeps_under_its_key_stands_in_nobodys_way() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    for path in ["/v1/customers", "/v1/checkout/sessions"] {
        let fault = json!({"method": "POST", "path": path, "status": 500, "times": 1});
        shop.peer("faults", fault).await;
    }
    let page = check_out(&ann, "first").await.json(201);
    assert_eq!(customers(&shop).await.len(), 1);
    // The same key of ours leads to the same page, now and later.
    assert_eq!(check_out(&ann, "first").await.json(201), page);
    shop.pay(page["sessionId"].as_str().unwrap(), GOOD).await;
    shop.settle().await;
    let ann = shop.later(&ann, days(20)).await;
    let fault = json!({"method": "POST", "path": "/v1/subscriptions", "status": 502, "times": 1});
    shop.peer("faults", fault).await;
    ann.once("up")
        .post("/api/billing/change-plan", json!({"planId": "agency"}))
        .await
        .json(200);
    shop.settle().await;
    assert_eq!(shop.subscription(&ann).await["plan"], json!("agency"));
    let invoices = ann.get("/api/billing/invoices").await.json(200);
    assert_eq!(invoices["items"].as_array().unwrap().len(), 3, "{invoices}");
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_and_nothing_is_made_twice() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    for path in ["/v1/customers", "/v1/checkout/sessions"] {
        for lose in ["before", "after"] {
            let fault = json!({"method": "POST", "path": path, "lose": lose, "times": 1});
            shop.peer("faults", fault).await;
        }
    }
    check_out(&ann, "first").await.json(201);
    assert_eq!(customers(&shop).await.len(), 1);
    assert_eq!(
        shop.read("checkout/sessions").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn whoever_asks_in_several_windows_is_one_customer_with_one_page() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let keys: Vec<_> = (0..4).map(|n| format!("window {n}")).collect();
    let answers = join_all(keys.iter().map(|key| check_out(&ann, key))).await;
    assert!(answers.iter().any(|a| a.status == 201), "{answers:?}");
    for other in answers.iter().filter(|a| ![201, 503].contains(&a.status)) {
        other.assert_problem(409, "checkout_superseded");
    }
    assert_eq!(customers(&shop).await.len(), 1);
    check_out(&ann, "the last window").await.json(201);
    let open = shop.read("checkout/sessions?status=open").await;
    let open = open["data"].as_array().unwrap().len();
    assert_eq!(open, 1, "a page that is not the last one can still be paid on");
}

#[tokio::test]
async fn a_customer_that_was_deleted_at_stripe_is_made_anew() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let first = shop.customer(&ann).await;
    shop.remove(&format!("customers/{first}")).await;
    shop.settle().await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["readOnly"]),
        (&json!("canceled"), &json!(true))
    );
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    assert_ne!(shop.customer(&ann).await, first);
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["plan"]),
        (&json!("active"), &json!("business")),
        "no second trial"
    );
}

#[tokio::test]
async fn every_request_to_stripe_is_on_record_before_it_is_made() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    ann.once("up")
        .post("/api/billing/change-plan", json!({"planId": "business"}))
        .await
        .json(200);
    ann.once("pack")
        .post("/api/billing/topup", json!({"cbt": "50000"}))
        .await
        .json(201);
    for (path, status) in [("portal", 201), ("cancel", 200), ("resume", 200)] {
        ann.post(&format!("/api/billing/{path}"), json!({}))
            .await
            .json(status);
    }
    let log = ann
        .get("/api/user/audit-logs?action=billing.requested")
        .await
        .json(200);
    let asked: Vec<_> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|r| r["detail"].clone())
        .collect();
    assert_eq!(
        asked,
        [
            json!({"request": "checkout", "plan": Plan::Personal}),
            json!({"request": "change_plan", "plan": Plan::Business}),
            json!({"request": "topup", "cbt": 50_000}),
            json!({"request": "portal"}),
            json!({"request": "cancel"}),
            json!({"request": "resume"}),
        ]
    );
    assert!(
        log["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|r| r["actor"].to_string().contains(&ann.user.unwrap().to_string()))
    );
}
