//! What Stripe tells us is let in by its signature alone, stored once, and never lost.

use std::time::Instant;

use camarad::app::{App, Builder};
use camarad::domain::billing::event::{self, EventState, StripeEvent};
use camarad::ports::queue::Sqs;
use camarad::ports::stripe::signature;
use camarad::store::keys;
use camarad_tests::app::{Answer, TestApp, WEBHOOK_SECRET, serve};
use camarad_tests::billing::ANSWER;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde_json::{Value, json};

fn paid(id: &str) -> String {
    json!({"id": id, "object": "event", "type": "invoice.paid", "created": 1_790_000_000, "livemode": false,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1", "customer_email": "ann@example.com"}}})
    .to_string()
}

fn signed(secret: &str, body: &str, at: Timestamp) -> String {
    signature::header(&SecretString::from(secret), body.as_bytes(), at)
}

async fn post(t: &TestApp, body: &str, signature: Option<&str>) -> Answer {
    post_to(t, &t.app, body, signature).await
}

async fn post_to(t: &TestApp, app: &App, body: &str, signature: Option<&str>) -> Answer {
    let mut stripe = t
        .anonymous()
        .of(serve(app))
        .header("content-type", "application/json");
    if let Some(signature) = signature {
        stripe = stripe.header("stripe-signature", signature);
    }
    stripe
        .send_bytes("POST", "/api/billing/webhook", body.as_bytes())
        .await
}

async fn stored(t: &TestApp, id: &str) -> Option<StripeEvent> {
    t.app.db().get(&keys::stripe_event(id)).await.unwrap()
}

async fn orders(t: &TestApp) -> Vec<Value> {
    let taken = t.taken(|config| &config.billing_queue_url).await;
    let order = |message: &camarad::lambda::batch::Message| serde_json::from_str(&message.body).unwrap();
    taken.iter().map(order).collect()
}

#[tokio::test]
async fn an_event_is_stored_without_its_payload_and_orders_one_look() {
    let t = TestApp::new().await;
    let body = paid("evt_1");
    let since = Instant::now();
    for _ in 0..3 {
        let now = t.app.clock().now();
        post(&t, &body, Some(&signed(WEBHOOK_SECRET, &body, now)))
            .await
            .assert_empty(204);
    }
    assert!(since.elapsed() < ANSWER * 3);
    let event = stored(&t, "evt_1").await.unwrap();
    assert_eq!(
        (event.state, event.customer.as_deref()),
        (EventState::Ordered, Some("cus_1"))
    );
    assert!(
        !t.snapshot()
            .await
            .iter()
            .any(|item| item.contains("ann@example.com"))
    );
    assert_eq!(orders(&t).await, [json!({"customer": "cus_1", "event": "evt_1"})]);
}

#[tokio::test]
async fn what_is_not_signed_so_is_refused_and_leaves_nothing() {
    let t = TestApp::new().await;
    let body = paid("evt_1");
    let now = t.app.clock().now();
    let good = signed(WEBHOOK_SECRET, &body, now);
    let before = t.snapshot().await;
    let apart = |seconds| now + SignedDuration::from_secs(seconds);
    for signature in [
        None,
        Some(String::new()),
        Some(good.replace("v1=", "v0=")),
        Some(signed("whsec_other", &body, now)),
        Some(signed(WEBHOOK_SECRET, &paid("evt_2"), now)),
        Some(signed(WEBHOOK_SECRET, &body, apart(-310))),
        Some(signed(WEBHOOK_SECRET, &body, apart(310))),
    ] {
        post(&t, &body, signature.as_deref())
            .await
            .assert_problem(401, "unauthenticated");
    }
    let altered = body.replace("in_1", "in_2");
    post(&t, &altered, Some(&good))
        .await
        .assert_problem(401, "unauthenticated");
    let large = " ".repeat(256 * 1024 + 1);
    post(&t, &large, Some(&signed(WEBHOOK_SECRET, &large, now)))
        .await
        .assert_problem(413, "payload_too_large");
    post(&t, "{}", Some(&signed(WEBHOOK_SECRET, "{}", now)))
        .await
        .assert_problem(400, "malformed");
    assert_eq!(before, t.snapshot().await);
    let several = format!("{good},v1={}", "0".repeat(64));
    post(&t, &body, Some(&several)).await.assert_empty(204);
}

#[tokio::test]
async fn a_type_that_nobody_knows_is_kept_and_ignored() {
    let t = TestApp::new().await;
    let body = paid("evt_1").replace("invoice.paid", "invoice.invented");
    post(
        &t,
        &body,
        Some(&signed(WEBHOOK_SECRET, &body, t.app.clock().now())),
    )
    .await
    .assert_empty(204);
    assert_eq!(stored(&t, "evt_1").await.unwrap().state, EventState::Ignored);
    assert_eq!(orders(&t).await, [Value::Null; 0]);
}

#[tokio::test]
async fn an_event_that_the_queue_did_not_take_is_ordered_by_the_sweep() {
    let t = TestApp::new().await;
    let mut config = t.app.config().clone();
    config.billing_queue_url = config
        .billing_queue_url
        .map(|url| format!("{url}-that-is-not-there"));
    let secrets = camarad::ports::secrets::SecretsManager::new(t.secrets().clone());
    let broken = Builder::new(config, t.app.db().clone(), t.clock.clone())
        .secrets(std::sync::Arc::new(secrets))
        .queue(std::sync::Arc::new(Sqs::new(t.sqs.clone())))
        .build();
    let body = paid("evt_1");
    let since = Instant::now();
    post_to(
        &t,
        &broken,
        &body,
        Some(&signed(WEBHOOK_SECRET, &body, t.app.clock().now())),
    )
    .await
    .assert_empty(204);
    assert!(since.elapsed() < ANSWER, "{:?}", since.elapsed());
    assert_eq!(stored(&t, "evt_1").await.unwrap().state, EventState::Waiting);
    assert_eq!(
        event::sweep(&t.app).await.unwrap().ordered,
        0,
        "the queue has a minute first"
    );
    t.clock.advance(SignedDuration::from_secs(61));
    assert_eq!(event::sweep(&t.app).await.unwrap().ordered, 1);
    assert_eq!(orders(&t).await, [json!({"customer": "cus_1", "event": "evt_1"})]);
    assert_eq!(event::sweep(&t.app).await.unwrap().ordered, 0);
}
