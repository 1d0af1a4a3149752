//! Billing as it is deployed: a person pays on Stripe's page, Stripe posts to API Gateway, the queue wakes the consumer,
//! and account and ledger follow. And what services of ours charge.

use std::sync::Arc;

use camarad::clock::SystemClock;
use camarad::domain::plans::Plan;
use camarad::domain::users::Account;
use camarad::ids::UserId;
use camarad::store::{Update, keys};
use camarad_tests::app::OPERATOR;
use camarad_tests::deployed::{self, Deployed, eventually, lambda};
use camarad_tests::peers::stripe::GOOD_CARD;
use camarad_tests::visitor::Visitor;
use serde_json::{Value, json};

use super::{counted, granted, text, workspace};

/// The person's subscription, once it is so.
async fn subscription(who: &Visitor, name: &str, wanted: &str) -> Value {
    eventually(&format!("{name} {wanted}"), async || {
        let seen = who.get("/api/billing/subscription").await.json(200);
        (seen[name] == wanted).then_some(seen)
    })
    .await
}

/// Why there are entries in the ledger, newest first.
async fn reasons(who: &Visitor) -> Vec<String> {
    let page = who.get("/api/ledger").await.json(200);
    let items = page["items"].as_array().unwrap().iter();
    items.map(|e| text(e, "reason")).collect()
}

/// Somebody who has subscribed, through every deployed part.
async fn subscribed(d: &Deployed, name: &str) -> Visitor {
    let ann = d.newcomer(&format!("{name}@example.com")).await.visitor;
    let page = ann
        .header("idempotency-key", "subscribe")
        .post("/api/billing/checkout", json!({"planId": "personal"}))
        .await;
    d.pay(&text(&page.json(201), "url")).await;
    let seen = subscription(&ann, "status", "trialing").await;
    assert_eq!(
        (&seen["plan"], &seen["readOnly"]),
        (&json!("personal"), &json!(false))
    );
    assert_eq!(granted(&ann).await, "10000");
    ann
}

#[tokio::test]
async fn billing_and_stripe_webhook_and_billing_consumer_lead_from_stripes_page_to_the_ledger() {
    let d = deployed::shared().await;
    let ann = subscribed(&d, "subscriber").await;
    assert_eq!(reasons(&ann).await, ["Trial of the Personal plan"]);
    let card = ann.get("/api/billing/payment-method").await.json(200);
    assert_eq!(card["paymentMethod"]["last4"], GOOD_CARD[12..]);
    let once = |key: &str| ann.header("idempotency-key", key);
    let wish = json!({"planId": "business"});
    once("up").post("/api/billing/change-plan", wish).await.json(200);
    subscription(&ann, "plan", "business").await;
    let page = once("pack")
        .post("/api/billing/topup", json!({"cbt": "10000"}))
        .await;
    d.pay(&text(&page.json(201), "url")).await;
    eventually("pack", async || {
        (reasons(&ann).await.first()? == "10000 cbT bought").then_some(())
    })
    .await;
    let portal = once("portal").post("/api/billing/portal", json!({})).await;
    assert!(text(&portal.json(201), "url").starts_with("http"));
    let ending = once("end").post("/api/billing/cancel", json!({})).await.json(200);
    assert_eq!(ending["cancelAtPeriodEnd"], true);
    let invoices = ann.get("/api/billing/invoices").await.json(200);
    assert!(!invoices["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn stripe_webhook_takes_nothing_that_is_not_signed() {
    let d = deployed::shared().await;
    let body = json!({"id": "evt_1", "type": "invoice.paid", "created": 1, "data": {"object": {"customer": "cus_1"}}});
    let somebody = d.visitor();
    let unsigned = somebody.post("/api/billing/webhook", body.clone()).await;
    unsigned.assert_problem(401, "unauthenticated");
    let forged = somebody.header("stripe-signature", &format!("t=1,v1={}", "0".repeat(64)));
    let forged = forged.post("/api/billing/webhook", body).await;
    forged.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn billing_consumer_gives_back_what_is_no_order() {
    let d = deployed::shared().await;
    let event = lambda::queue_event(&["no order".to_owned()]);
    let answer = d.invoke("billing-consumer", &event).await;
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": "message-0"}]})
    );
}

/// The account says what it should not.
async fn forget_plan(d: &Deployed, user: UserId) {
    let app = d.app(Arc::new(SystemClock));
    let wrong = Update::of(keys::account(user)).set("plan", Plan::Agency).unwrap();
    app.db().update(&wrong).await.unwrap();
}

#[tokio::test]
async fn billing_consumer_mends_what_the_nights_comparison_or_a_dead_letter_orders() {
    let d = deployed::shared().await;
    let ann = subscribed(&d, "drifted").await;
    let user: UserId = text(&ann.get("/api/user").await.json(200), "id").parse().unwrap();
    forget_plan(&d, user).await;
    d.invoke("scheduled", &lambda::sample("scheduled-compare-billing.json"))
        .await;
    subscription(&ann, "plan", "personal").await;
    // An order that failed too often, and is sent back.
    forget_plan(&d, user).await;
    let app = d.app(Arc::new(SystemClock));
    let account: Account = app.db().get(&keys::account(user)).await.unwrap().unwrap();
    let customer = account.billing.customer.unwrap();
    let letter = d
        .sqs()
        .send_message()
        .queue_url(d.output("BillingDeadLettersUrl"))
        .message_group_id(&customer)
        .message_deduplication_id("letter")
        .message_body(json!({"customer": customer, "event": "evt_dead"}).to_string());
    letter.send().await.unwrap();
    let said = d.redrive("billing");
    assert!(said.ends_with("1 sent back, 0 left\n"), "{said}");
    subscription(&ann, "plan", "personal").await;
}

#[tokio::test]
async fn ledger_lets_a_service_charge_once_for_what_it_did() {
    let d = deployed::shared().await;
    let ann = d.sign_in("debited").await;
    assert_eq!(granted(&ann).await, "40000");
    let user = text(&ann.get("/api/user").await.json(200), "id");
    let (workspace, agents) = workspace(&ann, &["ceo"]).await;
    let operator = d.sign_in_as(OPERATOR, Plan::Personal).await;
    let key = json!({"name": "Painter", "scopes": ["ledger:consume"]});
    let made = operator.post("/api/user/security/api-keys", key).await.json(201);
    let service = d.visitor().with_token(&text(&made, "key"));
    let order =
        |amount: &str| json!({"userId": user, "agentId": agents[0], "amount": amount, "reason": "A picture"});
    let charge = async |key: &str, amount: &str| {
        let service = service.header("idempotency-key", key);
        service.post("/api/ledger/consume", order(amount)).await
    };
    let debit = charge("event-1", "2.5").await.json(201);
    assert_eq!(
        (&debit["amount"], &debit["userId"]),
        (&json!("2.5"), &json!(user))
    );
    assert_eq!(charge("event-1", "2.5").await.json(201), debit);
    let refused = charge("event-2", "50000").await;
    refused.assert_problem(402, "insufficient_cbt");
    let by_a_person = ann.header("idempotency-key", "event-3");
    let refused = by_a_person.post("/api/ledger/consume", order("1")).await;
    refused.assert_problem(403, "forbidden");
    let balance = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(
        (text(&balance, "balance"), text(&balance, "held")),
        ("39997.5".to_owned(), "0".to_owned())
    );
    assert_eq!(reasons(&ann).await[0], "A picture");
    let stats = counted(&ann, &workspace, 1).await;
    assert_eq!(stats["totals"]["cost"], "2.5");
}
