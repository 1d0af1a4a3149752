//! An account has one subscription, however many pages are opened, paid on or left behind by whoever died.

use camarad::domain::billing::reconcile::Drift;
use camarad::domain::billing::worker;
use camarad::domain::users::Account;
use camarad::store::{PageRequest, keys};
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, Shop};
use camarad_tests::faults::Faults;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::billing_drift::compared;
use crate::onboarding_undone::{COMPLETE, last, wish};

/// The Checkout sessions in this state.
pub async fn pages(shop: &Shop, status: &str) -> Vec<String> {
    let all = shop
        .read(&format!("checkout/sessions?limit=100&status={status}"))
        .await;
    let all = all["data"].as_array().unwrap();
    all.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect()
}

/// The person's subscriptions, oldest first.
async fn subscriptions(shop: &Shop, who: &Client) -> Vec<Value> {
    let customer = shop.customer(who).await;
    let all = shop
        .read(&format!("subscriptions?customer={customer}&status=all&limit=100"))
        .await;
    let mut all = all["data"].as_array().unwrap().clone();
    all.reverse();
    all
}

/// What they are.
async fn states(shop: &Shop, who: &Client) -> Vec<String> {
    let all = subscriptions(shop, who).await;
    all.iter()
        .map(|s| s["status"].as_str().unwrap().to_owned())
        .collect()
}

/// What was charged, oldest first: how much, and how much of it was given back.
pub async fn charges(shop: &Shop, customer: &str) -> Vec<(i64, i64)> {
    let all = shop.read(&format!("charges?customer={customer}&limit=100")).await;
    let all = all["data"].as_array().unwrap().iter().rev();
    all.map(|c| {
        (
            c["amount"].as_i64().unwrap(),
            c["amount_refunded"].as_i64().unwrap(),
        )
    })
    .collect()
}

/// All that Stripe tells is worked off, and what it tells of that.
pub async fn quiet(shop: &Shop) {
    loop {
        let news = shop.news().await;
        if news.is_empty() {
            return;
        }
        for told in news {
            shop.deliver(&told).await;
        }
        shop.work().await;
    }
}

/// Asks for a page as a browser does: again, as long as nobody knows what became of it.
async fn check_out(who: &Client, key: &str) -> Option<String> {
    let who = who.once(key);
    loop {
        let answer = who
            .post("/api/billing/checkout", json!({"planId": "personal"}))
            .await;
        match answer.status {
            201 => return Some(answer.json(201)["sessionId"].as_str().unwrap().to_owned()),
            409 => return None,
            status => assert_eq!(status, 503, "{}", answer.body),
        }
    }
}

/// A page that somebody has left open who died: it is there at Stripe, and we know nothing of it.
pub async fn left_open(shop: &Shop, customer: &str, plan: &str, trial: bool) -> String {
    let prices = shop.read("prices?limit=100").await;
    let lookup = format!("camarad_{plan}_monthly");
    let mut prices = prices["data"].as_array().unwrap().iter();
    let price = prices.find(|p| p["lookup_key"] == lookup.as_str()).unwrap();
    let mut fields = vec![
        ("mode", "subscription"),
        ("customer", customer),
        ("line_items[0][price]", price["id"].as_str().unwrap()),
        ("line_items[0][quantity]", "1"),
        ("success_url", "https://example.com/"),
        ("cancel_url", "https://example.com/"),
    ];
    if trial {
        fields.push(("subscription_data[trial_period_days]", "15"));
    }
    let page = shop.form("checkout/sessions", &fields).await;
    page["id"].as_str().unwrap().to_owned()
}

/// Their trial is over, and so is what came of it.
async fn without_trial(shop: &Shop, who: &Client) {
    shop.subscribe(who, "personal", GOOD).await;
    quiet(shop).await;
    for subscription in subscriptions(shop, who).await {
        shop.remove(&format!("subscriptions/{}", subscription["id"].as_str().unwrap()))
            .await;
    }
    quiet(shop).await;
}

async fn drifts(shop: &Shop) -> Vec<Drift> {
    let list = keys::billing_drifts();
    let page = shop.t.app.db().list(&list, &PageRequest::of(1_000), false).await;
    page.unwrap().items
}

#[tokio::test]
async fn eight_windows_side_by_side_leave_one_page_that_can_be_paid_on() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let keys: Vec<_> = (0..8).map(|n| format!("window {n}")).collect();
    let opened = join_all(keys.iter().map(|key| check_out(&ann, key))).await;
    let open = pages(&shop, "open").await;
    assert_eq!(open.len(), 1, "{opened:?}");
    assert!(opened.contains(&Some(open[0].clone())), "{opened:?} {open:?}");
    shop.pay(&open[0], GOOD).await;
    quiet(&shop).await;
    assert_eq!(states(&shop, &ann).await, ["trialing"]);
}

#[tokio::test]
async fn a_page_that_was_paid_a_moment_ago_sells_no_second_subscription() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let first = check_out(&ann, "first").await.unwrap();
    shop.pay(&first, GOOD).await;
    // Stripe has not told of it yet.
    let second = ann
        .once("second")
        .post("/api/billing/checkout", json!({"planId": "agency"}))
        .await;
    second.assert_problem(409, "already_subscribed");
    let made = ann.once("1").post(COMPLETE, wish()).await.json(201);
    assert_eq!(made.get("checkoutUrl"), None, "{made}");
    assert_eq!(pages(&shop, "open").await, [""; 0]);
    quiet(&shop).await;
    assert_eq!(states(&shop, &ann).await, ["trialing"]);
}

#[tokio::test]
async fn a_trial_that_was_used_up_a_moment_ago_is_not_sold_again() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let first = check_out(&ann, "first").await.unwrap();
    shop.pay(&first, GOOD).await;
    let all = shop.read("subscriptions").await;
    shop.remove(&format!(
        "subscriptions/{}",
        all["data"][0]["id"].as_str().unwrap()
    ))
    .await;
    let second = check_out(&ann, "second").await.unwrap();
    shop.pay(&second, GOOD).await;
    quiet(&shop).await;
    assert_eq!(states(&shop, &ann).await, ["canceled", "active"]);
}

#[tokio::test]
async fn onboarding_beside_checkouts_leaves_one_page_that_can_be_paid_on() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let onboarding = async {
        let who = ann.once("on");
        loop {
            let answer = who.post(COMPLETE, wish()).await;
            if answer.status == 201 {
                return answer.json(201);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let keys: Vec<_> = (0..4).map(|n| format!("window {n}")).collect();
    let windows = join_all(keys.iter().map(|key| check_out(&ann, key)));
    let (made, opened) = tokio::join!(onboarding, windows);
    assert!(!last(&shop.t, &ann).await.goes_on());
    let open = pages(&shop, "open").await;
    assert_eq!(open.len(), 1, "{opened:?} {made}");
    shop.pay(&open[0], GOOD).await;
    quiet(&shop).await;
    assert_eq!(states(&shop, &ann).await, ["trialing"]);
}

#[tokio::test]
async fn whoever_pays_on_each_page_as_it_opens_has_one_subscription_and_one_trial() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    for round in 0..3 {
        let keys: Vec<_> = (0..6).map(|n| format!("{round} {n}")).collect();
        let windows = join_all(keys.iter().map(|key| check_out(&ann, key)));
        let eager = async {
            loop {
                let open = pages(&shop, "open").await;
                join_all(open.iter().map(|page| shop.try_pay(page, GOOD))).await;
            }
        };
        tokio::select! {
            _ = windows => {}
            () = eager => {}
        }
    }
    quiet(&shop).await;
    let alive = states(&shop, &ann).await;
    let alive = alive.iter().filter(|s| *s != "canceled").count();
    assert_eq!(alive, 1);
    assert_eq!(pages(&shop, "open").await, [""; 0]);
    let trials = shop.entries(&ann).await;
    let granted = [(
        "grant".into(),
        "10000".into(),
        "Trial of the Personal plan".into(),
    )];
    assert_eq!(trials, granted);
}

#[tokio::test]
async fn a_page_that_was_left_open_is_closed_as_soon_as_there_is_a_subscription() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let first = check_out(&ann, "first").await.unwrap();
    let left = left_open(&shop, &shop.customer(&ann).await, "agency", true).await;
    shop.pay(&first, GOOD).await;
    quiet(&shop).await;
    assert_eq!(pages(&shop, "open").await, [""; 0]);
    assert_eq!(pages(&shop, "expired").await, [left]);
}

#[tokio::test]
async fn of_two_subscriptions_the_first_stays_and_what_was_paid_for_the_other_is_given_back() {
    for known in [false, true] {
        let shop = Shop::open().await;
        let ann = shop.person("ann").await;
        without_trial(&shop, &ann).await;
        let customer = shop.customer(&ann).await;
        let before = shop.entries(&ann).await;
        let first = check_out(&ann, "first").await.unwrap();
        shop.pay(&first, GOOD).await;
        if known {
            quiet(&shop).await;
        }
        let other = left_open(&shop, &customer, "business", false).await;
        shop.pay(&other, GOOD).await;
        assert_eq!(
            states(&shop, &ann).await,
            ["canceled", "active", "active"],
            "as it should never be"
        );
        quiet(&shop).await;
        assert_eq!(
            states(&shop, &ann).await,
            ["canceled", "active", "canceled"],
            "known: {known}"
        );
        let paid = charges(&shop, &customer).await;
        assert_eq!(paid.len(), 2);
        assert_eq!((paid[0].1, paid[1].1), (0, paid[1].0), "{paid:?}");
        let seen = shop.subscription(&ann).await;
        assert_eq!(
            (&seen["plan"], &seen["status"]),
            (&json!("personal"), &json!("active"))
        );
        let month = (
            "grant".to_owned(),
            "10000".to_owned(),
            "A month of the Personal plan".to_owned(),
        );
        assert_eq!(shop.entries(&ann).await, [before, vec![month]].concat());
        // Somebody is told, and it is on record.
        let found = drifts(&shop).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].differences[0].contains("more than one subscription"),
            "{found:?}"
        );
        let log = ann
            .get("/api/user/audit-logs?action=billing.requested&limit=2")
            .await
            .json(200);
        let asked = log["items"].as_array().unwrap().iter().rev();
        let asked: Vec<_> = asked.map(|r| r["detail"]["request"].clone()).collect();
        assert_eq!(asked, ["refund", "end"]);
        // And that is all: neither another look nor the comparison finds anything.
        assert_eq!(compared(&shop, ann.user.unwrap()).await, [""; 0]);
        assert_eq!(charges(&shop, &customer).await, paid);
    }
}

#[tokio::test]
async fn of_two_trials_one_is_granted_and_the_other_ends() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    let first = check_out(&ann, "first").await.unwrap();
    let other = left_open(&shop, &shop.customer(&ann).await, "agency", true).await;
    shop.pay(&first, GOOD).await;
    shop.pay(&other, GOOD).await;
    // Of all this no news arrives: the night's comparison finds it.
    shop.news().await;
    let found = compared(&shop, ann.user.unwrap()).await;
    assert!(
        found.iter().any(|d| d.starts_with("2 subscriptions")),
        "{found:?}"
    );
    assert_eq!(states(&shop, &ann).await, ["trialing", "canceled"]);
    quiet(&shop).await;
    let entries = shop.entries(&ann).await;
    let trials = entries.iter().filter(|(.., why)| why.starts_with("Trial"));
    assert_eq!(trials.count(), 1, "{entries:?}");
    assert_eq!(compared(&shop, ann.user.unwrap()).await, [""; 0]);
}

#[tokio::test]
async fn whatever_fails_at_stripe_while_one_too_many_is_ended_the_next_look_ends_it() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    without_trial(&shop, &ann).await;
    let customer = shop.customer(&ann).await;
    let first = check_out(&ann, "first").await.unwrap();
    shop.pay(&first, GOOD).await;
    let other = left_open(&shop, &customer, "business", false).await;
    shop.pay(&other, GOOD).await;
    let never = |method: &str, path: &str, lose: &str| json!({"method": method, "path": path, "times": 3, "lose": lose});
    let mut failed = 0;
    for fault in [
        never("POST", "/v1/refunds", "before"),
        never("POST", "/v1/refunds", "after"),
        never("DELETE", "/v1/subscriptions", "before"),
        never("DELETE", "/v1/subscriptions", "after"),
    ] {
        shop.peer("faults", fault).await;
        failed += u32::from(worker::look(&shop.t.app, &customer).await.is_err());
        shop.heal().await;
    }
    assert!(failed >= 3, "{failed}");
    quiet(&shop).await;
    assert_eq!(states(&shop, &ann).await, ["canceled", "active", "canceled"]);
    let paid = charges(&shop, &customer).await;
    assert_eq!((paid[0].1, paid[1].1), (0, paid[1].0), "{paid:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_dies_while_it_ends_one_too_many_is_ended_by_the_next() {
    let every = std::env::var_os("EVERY_REQUEST").is_some();
    let mut died = 0;
    for done in [false, true] {
        let (first, step) = if every { (0, 1) } else { (u32::from(done), 6) };
        for after in (first..).step_by(step) {
            let faults = Faults::new(17);
            let shop = Shop::over(&faults).await;
            let ann = shop.person("ann").await;
            without_trial(&shop, &ann).await;
            let customer = shop.customer(&ann).await;
            let page = check_out(&ann, "first").await.unwrap();
            shop.pay(&page, GOOD).await;
            let other = left_open(&shop, &customer, "business", false).await;
            shop.pay(&other, GOOD).await;
            faults.die(after, done);
            tokio::select! {
                ended = worker::look(&shop.t.app, &customer) => ended.unwrap(),
                () = faults.dead() => died += 1,
            }
            let survived = faults.live();
            worker::look(&shop.t.app, &customer).await.unwrap();
            let told = format!("after {after} requests, done: {done}");
            assert_eq!(
                states(&shop, &ann).await,
                ["canceled", "active", "canceled"],
                "{told}"
            );
            let paid = charges(&shop, &customer).await;
            assert_eq!((paid[0].1, paid[1].1), (0, paid[1].0), "{told}: {paid:?}");
            let key = keys::account(ann.user.unwrap());
            let account: Account = shop.t.app.db().get(&key).await.unwrap().unwrap();
            let given_back: Vec<_> = account.billing.surplus.iter().map(|s| s.given_back).collect();
            assert_eq!(given_back, [paid[1].0], "{told}");
            if survived {
                break;
            }
        }
    }
    assert!(died > 4, "it died {died} times");
}
