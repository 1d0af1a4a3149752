//! The daily comparison of Stripe, table and ledger: what differs is put on record and mended, by entries alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use camarad::app::Builder;
use camarad::domain::billing::StripeCustomer;
use camarad::domain::billing::event::Order;
use camarad::domain::billing::reconcile::{self, Drift};
use camarad::domain::plans::Plan;
use camarad::domain::users::SubscriptionStatus;
use camarad::ids::UserId;
use camarad::ports::queue::Sqs;
use camarad::store::{PageRequest, Update, keys};
use camarad_tests::app::Client;
use camarad_tests::app::stack::stack;
use camarad_tests::billing::slow::counted;
use camarad_tests::billing::{GOOD, Shop, days};
use jiff::SignedDuration;
use scheduled::Job;
use serde_json::json;

async fn drifts(shop: &Shop) -> Vec<Drift> {
    let list = keys::billing_drifts();
    let page = shop.t.app.db().list(&list, &PageRequest::of(1_000), false).await;
    page.unwrap().items
}

/// The night's job, and what it ordered; answers what it found on this person.
pub async fn compared(shop: &Shop, user: UserId) -> Vec<String> {
    let before = drifts(shop).await.len();
    shop.t.clock.advance(SignedDuration::from_secs(1));
    scheduled::handle(shop.t.app.clone(), Job::CompareBilling)
        .await
        .unwrap();
    shop.work().await;
    let found = drifts(shop).await;
    let found = found[before..].iter().filter(|d| d.user_id == user);
    found.flat_map(|d| d.differences.clone()).collect()
}

async fn paying(shop: &Shop) -> Client {
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    shop.later(&ann, days(16)).await
}

#[tokio::test]
async fn whatever_stripe_told_in_vain_is_found_put_on_record_and_made_good() {
    let shop = Shop::open().await;
    let ann = paying(&shop).await;
    let user = ann.user.unwrap();
    assert_eq!(compared(&shop, user).await, [""; 0], "nothing differs");
    // A renewal of which no event arrived.
    shop.pass(days(31)).await;
    shop.news().await;
    let found = compared(&shop, user).await;
    assert!(
        found.iter().any(|d| d.contains("not granted: 10000")),
        "{found:?}"
    );
    assert!(found.iter().any(|d| d.contains("subscription")), "{found:?}");
    // A larger plan.
    let ann = shop.t.sign_in(user).await;
    ann.once("up")
        .post("/api/billing/change-plan", json!({"planId": "business"}))
        .await
        .json(200);
    shop.news().await;
    let found = compared(&shop, user).await;
    assert!(found.iter().any(|d| d.starts_with("plan: Personal")), "{found:?}");
    assert_eq!(shop.subscription(&ann).await["plan"], json!("business"));
    // A pack, and the money for it back.
    let page = ann
        .once("pack")
        .post("/api/billing/topup", json!({"cbt": "50000"}))
        .await
        .json(201);
    shop.pay(page["sessionId"].as_str().unwrap(), GOOD).await;
    shop.news().await;
    let found = compared(&shop, user).await;
    assert_eq!(found, ["not granted: 50000 (50000 cbT bought)"]);
    let charges = shop
        .read(&format!("charges?customer={}", shop.customer(&ann).await))
        .await;
    shop.form(
        "refunds",
        &[("charge", charges["data"][0]["id"].as_str().unwrap())],
    )
    .await;
    shop.news().await;
    let found = compared(&shop, user).await;
    assert!(
        found.len() == 1 && found[0].starts_with("not taken back: 50000"),
        "{found:?}"
    );
    // An end.
    let all = shop
        .read(&format!("subscriptions?customer={}", shop.customer(&ann).await))
        .await;
    shop.remove(&format!(
        "subscriptions/{}",
        all["data"][0]["id"].as_str().unwrap()
    ))
    .await;
    shop.news().await;
    let found = compared(&shop, user).await;
    assert!(found.iter().any(|d| d.starts_with("status: Active")), "{found:?}");
    assert_eq!(compared(&shop, user).await, [""; 0], "all of it is mended");
}

#[tokio::test]
async fn what_the_table_says_wrongly_is_put_right_and_the_ledger_is_only_added_to() {
    let shop = Shop::open().await;
    let ann = paying(&shop).await;
    let user = ann.user.unwrap();
    let before = shop.entries(&ann).await;
    let wrong = Update::of(keys::account(user))
        .set("plan", Plan::Agency)
        .and_then(|u| u.set("status", SubscriptionStatus::PastDue))
        .unwrap();
    shop.t.app.db().update(&wrong).await.unwrap();
    let found = compared(&shop, user).await;
    assert_eq!(
        found,
        [
            "status: PastDue, Stripe says Active",
            "plan: Agency, Stripe says Personal"
        ]
    );
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("personal"), &json!("active"))
    );
    assert_eq!(shop.entries(&ann).await, before);
    assert_eq!(compared(&shop, user).await, [""; 0]);
}

#[tokio::test]
async fn every_customer_is_compared_and_whoever_has_none_is_not() {
    let shop = Shop::open().await;
    shop.person("nobody").await;
    for n in 0..12 {
        let who = shop.person(&format!("ann{n}")).await;
        shop.subscribe(&who, "personal", GOOD).await;
    }
    let ordered = reconcile::order_all(&shop.t.app).await.unwrap();
    assert_eq!((ordered.customers, ordered.failed), (12, 0));
}

/// Longer than it takes to send another order beside the first.
const A_WHILE: Duration = Duration::from_millis(50);

#[tokio::test]
async fn comparisons_are_ordered_in_batches_side_by_side_each_once() {
    let shop = Shop::open().await;
    let all: BTreeSet<_> = (0..300).map(|n| format!("cus_{n:03}")).collect();
    for customer in &all {
        let held = StripeCustomer {
            customer: customer.clone(),
            user_id: UserId::new(shop.t.app.clock()),
        };
        shop.t.app.db().put(&held, None).await.unwrap();
    }
    let (queue, passed) = counted(stack().endpoint.replace("http://", ""), A_WHILE).await;
    let queue = format!("http://{queue}");
    let sqs = shop.t.sqs.config().to_builder().endpoint_url(&queue).build();
    let mut config = shop.t.app.config().clone();
    let url = config.billing_queue_url.as_ref().unwrap();
    config.billing_queue_url = Some(url.replace(&stack().endpoint, &queue));
    let app = Builder::new(config, shop.t.app.db().clone(), shop.t.clock.clone())
        .queue(Arc::new(Sqs::new(aws_sdk_sqs::Client::from_conf(sqs))))
        .build();
    let ordered = reconcile::order_all(&app).await.unwrap();
    assert_eq!((ordered.customers, ordered.failed), (300, 0));
    // A customer has their own line in the queue, and one order in it.
    let orders = shop.orders().await;
    let named: Vec<_> = orders
        .iter()
        .map(|m| serde_json::from_str::<Order>(&m.body).unwrap().customer)
        .collect();
    assert_eq!(named.len(), 300);
    assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), all);
    println!(
        "300 orders: {} pieces on {} connections",
        passed.pieces(),
        passed.connections()
    );
    assert!(passed.pieces() < 150, "{passed:?}");
    assert!(passed.connections() > 1, "{passed:?}");
}
