//! The account under an onboarding: whose may be onboarded, on which plan, and what is on record of that.

use std::time::Duration;

use camarad::domain::onboarding::steps;
use camarad::domain::onboarding::undo::{self, Undone};
use camarad::domain::plans::Plan;
use camarad::domain::users::{Account, SubscriptionStatus};
use camarad::error::Error;
use camarad::store::{Update, keys};
use camarad_tests::app::{Client, TestApp, machine};
use camarad_tests::billing::{GOOD, Shop};
use camarad_tests::faults::{Fault, Faults};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::onboarding_undone::{COMPLETE, begin, rest, seen, wish};

/// The wish, on another plan.
fn on(plan: &str) -> Value {
    let mut wish = wish();
    wish["planId"] = json!(plan);
    wish
}

/// What the account's log says of its subscription, oldest first.
async fn changes(t: &TestApp, who: &Client) -> Vec<Value> {
    let all = crate::auth::audits(t, &who.user.unwrap().to_string()).await;
    let own = all
        .into_iter()
        .filter(|(action, _)| action == "subscription.updated");
    own.map(|(_, detail)| detail).collect()
}

/// The subscription ends at once, as somebody who answers the telephone ends it at Stripe.
async fn end(shop: &Shop, who: &Client) {
    let all = shop
        .read(&format!("subscriptions?customer={}", shop.customer(who).await))
        .await;
    let id = all["data"][0]["id"].as_str().unwrap();
    shop.remove(&format!("subscriptions/{id}")).await;
    shop.settle().await;
    assert_eq!(shop.subscription(who).await["status"], "canceled");
}

#[tokio::test]
async fn the_plan_that_an_onboarding_sets_and_takes_back_is_on_record() {
    let t = TestApp::new().await;
    let ann = t.newcomer("ann@example.com").await;
    let which = begin(&t, ann.user.unwrap(), Plan::Business).await;
    steps::validate(&t.app, which).await.unwrap();
    assert_eq!(changes(&t, &ann).await, Vec::<Value>::new());
    steps::create_workspace(&t.app, which).await.unwrap();
    let plan = async || ann.get("/api/user/subscription").await.json(200)["plan"].clone();
    assert_eq!(plan().await, "business");
    let set = json!({"before": {"plan": "personal"}, "after": {"plan": "business"}});
    assert_eq!(changes(&t, &ann).await, std::slice::from_ref(&set));

    t.clock.advance(SignedDuration::from_secs(1));
    assert_eq!(undo::undo(&t.app, which, "x").await.unwrap(), Undone::Undone);
    assert_eq!(plan().await, "personal");
    let back = json!({"before": {"plan": "business"}, "after": {"plan": "personal"}});
    assert_eq!(changes(&t, &ann).await, [set, back]);
}

#[tokio::test]
async fn who_let_a_subscription_end_before_the_onboarding_buys_another_first() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "personal", GOOD).await;
    shop.settle().await;
    end(&shop, &ann).await;
    let before = shop.t.snapshot().await;
    for plan in ["personal", "agency"] {
        let refused = ann.once(plan).post(COMPLETE, on(plan)).await;
        refused.assert_problem(402, "subscription_required");
    }
    assert_eq!(before, shop.t.snapshot().await);
    assert_eq!(shop.t.executions.inputs(), Vec::<Value>::new());

    // With another one it is onboarded on that one's plan, and asked for no card.
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let other = ann.once("agency").post(COMPLETE, on("agency")).await;
    other.assert_invalid("planId");
    let made = ann
        .once("business")
        .post(COMPLETE, on("business"))
        .await
        .json(201);
    assert_eq!(made.get("checkoutUrl"), None);
    let own = crate::auth::audits(&shop.t, &ann.user.unwrap().to_string()).await;
    let completed = json!({"changed": ["onboardingCompletedAt"]});
    assert!(own.contains(&("user.updated".into(), completed)), "{own:?}");
    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(
        (&subscription["plan"], &subscription["usage"]),
        (&json!("business"), &json!({"workspaces": 1, "agents": 3}))
    );
}

#[tokio::test]
async fn an_account_that_ends_while_its_onboarding_runs_gets_nothing() {
    let shop = Shop::open().await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "business", GOOD).await;
    shop.settle().await;
    let which = begin(&shop.t, ann.user.unwrap(), Plan::Business).await;
    steps::validate(&shop.t.app, which).await.unwrap();
    end(&shop, &ann).await;
    let (before, was) = (rest(&shop.t).await, seen(&ann).await);
    let played = machine::play(&shop.t.app, json!(which)).await;
    assert_eq!(
        (played.succeeded, played.errors.as_slice()),
        (false, ["Camarad.Refused".to_owned()].as_slice())
    );
    assert_eq!((before, was), (rest(&shop.t).await, seen(&ann).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_ends_between_look_and_commit_gets_nothing() {
    let faults = Faults::new(14);
    let t = TestApp::over(&faults).await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let which = begin(&t, ann.user.unwrap(), Plan::Business).await;
    steps::validate(&t.app, which).await.unwrap();
    // The commit meets another transaction, again and again, until the account has ended.
    faults.whenever(Some(("agent.created", Fault::Conflict)));
    let app = t.app.clone();
    let step = tokio::spawn(async move { steps::create_workspace(&app, which).await });
    let met = faults.made();
    while faults.made() == met && !step.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let ended = Update::of(keys::account(ann.user.unwrap()))
        .set("status", SubscriptionStatus::Expired)
        .unwrap();
    t.app.db().update(&ended).await.unwrap();
    let before = rest(&t).await;
    faults.whenever(None);
    let refused = step.await.unwrap().unwrap_err();
    // `Unavailable` where the machine was so slow that the commit was given up.
    assert!(
        matches!(refused, Error::PreconditionFailed | Error::Unavailable(_)),
        "{refused}"
    );
    assert_eq!(before, rest(&t).await);
    let again = steps::create_workspace(&t.app, which).await.unwrap_err();
    assert!(matches!(again, Error::SubscriptionRequired), "{again}");
    let account = t.app.db().get::<Account>(&keys::account(ann.user.unwrap())).await;
    assert_eq!(account.unwrap().unwrap().workspaces, 0);
}
