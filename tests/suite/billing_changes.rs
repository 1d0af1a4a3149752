//! Another plan, an end, and a change of mind: what a person asks for, and what Stripe then charges.

use camarad::domain::plans::Plan;
use camarad_tests::app::Client;
use camarad_tests::billing::{GOOD, LATER_DECLINED, Shop, days};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Somebody who has paid for the first month of a plan, ten days ago.
async fn paying(plan: &str) -> (Shop, Client) {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, plan, GOOD).await;
    shop.settle().await;
    let ann = shop.later(&ann, days(25)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!((&seen["plan"], &seen["status"]), (&json!(plan), &json!("active")));
    (shop, ann)
}

async fn preview(who: &Client, plan: &str) -> Value {
    let path = format!("/api/billing/change-plan/preview?planId={plan}");
    who.get(&path).await.json(200)
}

async fn change(shop: &Shop, who: &Client, plan: &str) -> Value {
    let answer = who
        .once(&format!("to {plan}"))
        .post("/api/billing/change-plan", json!({"planId": plan}))
        .await
        .json(200);
    shop.settle().await;
    answer
}

/// Asks for the largest plan with a card that cannot pay it.
async fn refused_upgrade(shop: &Shop, who: &Client, key: &str) {
    let order = json!({"planId": "agency"});
    let refused = who.once(key).post("/api/billing/change-plan", order).await;
    refused.assert_problem(402, "payment_failed");
    shop.settle().await;
}

/// The invoice that was made last.
async fn newest_invoice(who: &Client) -> Value {
    who.get("/api/billing/invoices?limit=1").await.json(200)["items"][0].clone()
}

fn lines(preview: &Value) -> i64 {
    let lines = preview["lines"].as_array().unwrap();
    lines.iter().map(|l| l["amount"].as_i64().unwrap()).sum()
}

/// The share of so many cbT a month that is left of the period, rounded down to micro-cbT.
fn rest_of(cbt: i128, preview: &Value, subscription: &Value) -> String {
    let time = |text: &Value| text.as_str().unwrap().parse::<Timestamp>().unwrap().as_second();
    let (start, end) = (
        time(&subscription["periodStartsAt"]),
        time(&subscription["periodEndsAt"]),
    );
    let from = time(&preview["lines"][0]["startsAt"]);
    let micro = cbt * 1_000_000 * i128::from(end - from) / i128::from(end - start);
    let whole = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
    whole.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[tokio::test]
async fn what_is_cancelled_lasts_its_period_and_can_be_taken_up_until_then() {
    let (shop, ann) = paying("personal").await;
    let cancelled = ann.post("/api/billing/cancel", json!({})).await.json(200);
    assert_eq!(cancelled["cancelAtPeriodEnd"], json!(true));
    shop.settle().await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["cancelAtPeriodEnd"], &seen["readOnly"]),
        (&json!("active"), &json!(true), &json!(false))
    );
    assert_eq!(seen["periodEndsAt"], cancelled["periodEndsAt"]);
    let resumed = ann.post("/api/billing/resume", json!({})).await.json(200);
    assert_eq!(resumed["cancelAtPeriodEnd"], json!(false));
    shop.settle().await;
    assert_eq!(shop.subscription(&ann).await["cancelAtPeriodEnd"], json!(false));
    // It was renewed, so it did go on.
    let ann = shop.later(&ann, days(31)).await;
    assert_eq!(shop.subscription(&ann).await["status"], json!("active"));
    ann.post("/api/billing/cancel", json!({})).await.json(200);
    let ann = shop.later(&ann, days(31)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["status"], &seen["readOnly"]),
        (&json!("canceled"), &json!(true))
    );
    for (path, body) in [
        ("/api/billing/resume", json!({})),
        ("/api/billing/cancel", json!({})),
        ("/api/billing/change-plan", json!({"planId": "agency"})),
        ("/api/billing/topup", json!({"cbt": "10000"})),
    ] {
        let refused = ann.once(path).post(path, body).await;
        refused.assert_problem(402, "subscription_required");
    }
    let told = shop.notices(&ann).await;
    assert_eq!(
        told.iter().filter(|kind| *kind == "subscription.expired").count(),
        1
    );
    // The next one begins without a trial, and is paid at once.
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("business"), &json!("active"))
    );
    let entries = shop.entries(&ann).await;
    let trials = entries.iter().filter(|(.., why)| why.starts_with("Trial"));
    assert_eq!(trials.count(), 1, "{entries:#?}");
    assert_eq!(newest_invoice(&ann).await["amountPaid"], json!(4900));
}

#[tokio::test]
async fn a_smaller_plan_costs_nothing_and_counts_from_the_renewal_on() {
    let (shop, ann) = paying("business").await;
    let before = shop.entries(&ann).await;
    let asked = preview(&ann, "personal").await;
    assert_eq!(
        (&asked["takesEffect"], &asked["dueNow"], &asked["lines"]),
        (&json!("at_renewal"), &json!(0), &json!([]))
    );
    let changed = change(&shop, &ann, "personal").await;
    assert_eq!(
        (&changed["takesEffect"], &changed["at"]),
        (&json!("at_renewal"), &asked["at"])
    );
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["nextPlan"]),
        (&json!("business"), &json!("personal"))
    );
    assert_eq!(shop.entries(&ann).await, before);
    let ann = shop.later(&ann, days(31)).await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"], &seen["nextPlan"]),
        (&json!("personal"), &json!("active"), &Value::Null)
    );
    assert_eq!(newest_invoice(&ann).await["amountPaid"], json!(1200));
    let last = shop.entries(&ann).await.pop().unwrap();
    assert_eq!(
        (last.1.as_str(), last.2.as_str()),
        ("10000", "A month of the Personal plan")
    );
}

#[tokio::test]
async fn the_preview_of_a_larger_plan_is_what_is_then_charged_and_granted() {
    let (shop, ann) = paying("personal").await;
    let asked = preview(&ann, "business").await;
    let due = asked["dueNow"].as_i64().unwrap();
    assert_eq!((&asked["takesEffect"], lines(&asked)), (&json!("now"), due));
    assert!(due > 0 && due < 4_900 - 1_200, "{asked}");
    let changed = change(&shop, &ann, "business").await;
    assert_eq!(changed["takesEffect"], json!("now"));
    let invoice = newest_invoice(&ann).await;
    assert_eq!(
        (&invoice["amountPaid"], &invoice["total"], &invoice["status"]),
        (&json!(due), &json!(due), &json!("paid"))
    );
    assert_eq!(shop.subscription(&ann).await["plan"], json!("business"));
    let whole = rest_of(30_000, &asked, &shop.subscription(&ann).await);
    let last = shop.entries(&ann).await.pop().unwrap();
    assert_eq!(
        (last.1.as_str(), last.2.as_str()),
        (
            whole.as_str(),
            "Change to the Business plan, for the rest of the period"
        )
    );
    let unchanged = ann
        .once("again")
        .post("/api/billing/change-plan", json!({"planId": "business"}))
        .await;
    unchanged.assert_problem(409, "plan_unchanged");
    let by_contract = ann
        .once("custom")
        .post("/api/billing/change-plan", json!({"planId": "custom"}))
        .await;
    by_contract.assert_problem(409, "contact_sales");
}

#[tokio::test]
async fn a_larger_plan_that_cannot_be_paid_changes_nothing() {
    let (shop, ann) = paying("personal").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    shop.settle().await;
    let before = (shop.subscription(&ann).await, shop.entries(&ann).await);
    refused_upgrade(&shop, &ann, "up").await;
    assert_eq!((shop.subscription(&ann).await, shop.entries(&ann).await), before);
    shop.replace_card(&customer, GOOD).await;
    let done = ann
        .once("up, again")
        .post("/api/billing/change-plan", json!({"planId": "agency"}))
        .await;
    done.json(200);
    shop.settle().await;
    assert_eq!(shop.subscription(&ann).await["plan"], json!("agency"));
}

#[tokio::test]
async fn a_smaller_plan_that_was_to_come_is_taken_back_or_overtaken_by_a_larger_one() {
    let (shop, ann) = paying("business").await;
    change(&shop, &ann, "personal").await;
    // Back: nothing was given up, so nothing is charged.
    let asked = preview(&ann, "business").await;
    assert_eq!(
        (&asked["takesEffect"], &asked["dueNow"]),
        (&json!("now"), &json!(0))
    );
    change(&shop, &ann, "business").await;
    assert_eq!(shop.subscription(&ann).await["nextPlan"], Value::Null);
    let straight = preview(&ann, "agency").await;
    // And from the smaller one on: what was paid for counts, not what was to come.
    ann.once("down once more")
        .post("/api/billing/change-plan", json!({"planId": "personal"}))
        .await
        .json(200);
    shop.settle().await;
    let asked = preview(&ann, "agency").await;
    assert_eq!(asked["dueNow"], straight["dueNow"]);
    change(&shop, &ann, "agency").await;
    assert_eq!(newest_invoice(&ann).await["amountPaid"], straight["dueNow"]);
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["nextPlan"]),
        (&json!("agency"), &Value::Null)
    );
    // Granted is the difference to what was paid for, too.
    let last = shop.entries(&ann).await.pop().unwrap();
    assert_eq!(last.1, rest_of(150_000 - 40_000, &asked, &seen));
}

#[tokio::test]
async fn a_larger_plan_that_cannot_be_paid_leaves_the_smaller_one_that_was_to_come() {
    let (shop, ann) = paying("business").await;
    change(&shop, &ann, "personal").await;
    let customer = shop.customer(&ann).await;
    shop.replace_card(&customer, LATER_DECLINED).await;
    shop.settle().await;
    let before = (shop.subscription(&ann).await, shop.entries(&ann).await);
    assert_eq!(before.0["nextPlan"], json!("personal"));
    for key in ["up", "up", "once more"] {
        refused_upgrade(&shop, &ann, key).await;
        assert_eq!((shop.subscription(&ann).await, shop.entries(&ann).await), before);
    }
    // So the renewal costs what was booked.
    shop.replace_card(&customer, GOOD).await;
    let ann = shop.later(&ann, days(31)).await;
    assert_eq!(shop.subscription(&ann).await["plan"], json!("personal"));
    assert_eq!(newest_invoice(&ann).await["amountPaid"], json!(1_200));
}

#[tokio::test]
async fn another_plan_within_the_trial_counts_at_once_and_is_free_until_it_ends() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    let asked = preview(&ann, "agency").await;
    assert_eq!(
        (&asked["takesEffect"], &asked["dueNow"]),
        (&json!("now"), &json!(0))
    );
    change(&shop, &ann, "agency").await;
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("agency"), &json!("trialing"))
    );
    let ann = shop.later(&ann, days(16)).await;
    assert_eq!(newest_invoice(&ann).await["amountPaid"], json!(14_900));
    let entries = shop.entries(&ann).await;
    let granted: Vec<_> = entries.iter().filter(|(kind, ..)| kind == "grant").collect();
    assert_eq!(granted.len(), 2, "the trial's and the month's: {entries:#?}");
    assert_eq!(
        shop.subscription(&ann).await["limits"]["agents"],
        json!(Plan::Agency.limits().agents)
    );
}
