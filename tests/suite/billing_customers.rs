//! A person's customer at Stripe: one, whatever becomes of answers, and another one when somebody deletes them there.

use camarad::domain::billing::{StripeCustomer, worker};
use camarad::domain::users::Account;
use camarad::store::keys;
use camarad_tests::billing::{GOOD, Shop};
use camarad_tests::engine;
use camarad_tests::faults::Faults;
use serde_json::json;

use crate::billing_kills::{at_the_end, thrown};
use crate::billing_one::quiet;

async fn customers(shop: &Shop) -> usize {
    let all = shop.read("customers?limit=100").await;
    all["data"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_customer_whose_answer_got_lost_is_found_though_the_person_has_another_name_now() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let lost = json!({"method": "POST", "path": "/v1/customers", "times": 3, "lose": "after"});
    shop.peer("faults", lost).await;
    let wanted = json!({"planId": "personal"});
    let failed = ann
        .once("first")
        .post("/api/billing/checkout", wanted.clone())
        .await;
    failed.assert_problem(503, "unavailable");
    assert_eq!(customers(&shop).await, 1, "it was made");
    let renamed = ann.patch("/api/user", json!({"name": "Anna Maria"})).await;
    renamed.json(200);
    ann.once("first")
        .post("/api/billing/checkout", wanted)
        .await
        .json(201);
    assert_eq!(customers(&shop).await, 1);
}

#[tokio::test]
async fn a_customer_without_a_subscription_who_was_deleted_at_stripe_is_forgotten() {
    for told in [true, false] {
        let shop = Shop::open().await;
        let ann = shop.person("ann").await;
        ann.post("/api/billing/portal", json!({})).await.json(201);
        let first = shop.customer(&ann).await;
        shop.remove(&format!("customers/{first}")).await;
        if told {
            quiet(&shop).await;
            let key = keys::account(ann.user.unwrap());
            let account: Account = shop.t.app.db().get(&key).await.unwrap().unwrap();
            assert_eq!(account.billing.customer, None);
        }
        shop.subscribe(&ann, "personal", GOOD).await;
        quiet(&shop).await;
        assert_ne!(shop.customer(&ann).await, first);
        assert_eq!(
            shop.subscription(&ann).await["status"],
            json!("trialing"),
            "told: {told}"
        );
        let key = keys::stripe_customer(&first);
        let held: Option<StripeCustomer> = shop.t.app.db().get(&key).await.unwrap();
        assert_eq!(held, None);
    }
}

#[tokio::test]
async fn whoever_was_deleted_at_stripe_and_comes_back_before_we_are_told_is_a_new_customer() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    quiet(&shop).await;
    let first = shop.customer(&ann).await;
    shop.remove(&format!("customers/{first}")).await;
    ann.post("/api/billing/portal", json!({})).await.json(201);
    assert_eq!(shop.subscription(&ann).await["status"], json!("canceled"));
    shop.subscribe(&ann, "personal", GOOD).await;
    quiet(&shop).await;
    assert_ne!(shop.customer(&ann).await, first);
    assert_eq!(shop.subscription(&ann).await["status"], json!("active"));
}

#[tokio::test]
async fn a_look_at_a_deleted_customer_that_dies_at_any_request_is_ended_by_the_next() {
    let faults = Faults::new(3);
    let db = engine::faulty(&faults).await;
    let mut killed = 0;
    for seed in 0..3 {
        let life = thrown(seed);
        let plain = at_the_end(&db, &life).await;
        worker::look(&plain.app, &plain.customer).await.unwrap();
        plain.delete_customer();
        worker::look(&plain.app, &plain.customer).await.unwrap();
        let expected = plain.ends().await;
        assert_eq!(expected.0.billing.subscription, None);
        for done in [false, true] {
            for n in 0.. {
                let run = at_the_end(&db, &life).await;
                worker::look(&run.app, &run.customer).await.unwrap();
                run.delete_customer();
                faults.die(n, done);
                tokio::select! {
                    () = faults.dead() => {}
                    ended = worker::look(&run.app, &run.customer) => ended.unwrap(),
                }
                let survived = faults.live();
                killed += u32::from(!survived);
                worker::look(&run.app, &run.customer).await.unwrap();
                let told = format!("seed {seed}, request {n}, done: {done}");
                assert_eq!(run.ends().await, expected, "{told}");
                let account: Option<Account> = db.get(&keys::account(run.user)).await.unwrap();
                assert_eq!(account.unwrap().billing.customer, None, "{told}");
                let row = keys::stripe_customer(&run.customer);
                let held: Option<StripeCustomer> = db.get(&row).await.unwrap();
                assert_eq!(held, None, "{told}");
                if survived {
                    break;
                }
            }
        }
    }
    assert!(killed > 20, "{killed}");
}
