//! The way of Stripe's news through table and queue, when these are slow, stand still or bring the same again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use camarad::app::Builder;
use camarad::domain::billing::event::{self, EventState, StripeEvent};
use camarad::lambda::batch::Message;
use camarad::ports::queue::Sqs;
use camarad::ports::secrets::SecretsManager;
use camarad::store::{Db, keys};
use camarad_tests::app::stack::stack;
use camarad_tests::app::{TestApp, WEBHOOK_SECRET, serve};
use camarad_tests::billing::slow::slow;
use camarad_tests::billing::{ANSWER, GOOD, Shop};
use camarad_tests::engine;
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::json;

/// How much longer each request to the table takes than it does here.
const TABLE: Duration = Duration::from_millis(150);

/// Longer than anybody waits.
const NEVER: Duration = Duration::from_secs(3_600);

fn host(endpoint: &str) -> String {
    endpoint.trim_start_matches("http://").to_owned()
}

#[tokio::test]
async fn stripe_is_answered_within_a_second_though_the_table_is_slow_and_the_queue_stands_still() {
    let t = TestApp::new().await;
    let table = format!("http://{}", slow(host(&stack().endpoint), TABLE).await);
    let dynamodb = engine::config(&table, &t.account).build();
    let db = Db::new(aws_sdk_dynamodb::Client::from_conf(dynamodb), "camarad");
    let queue = format!("http://{}", slow(host(&stack().endpoint), NEVER).await);
    let sqs = t.sqs.config().to_builder().endpoint_url(&queue).build();
    let mut config = t.app.config().clone();
    let url = config.billing_queue_url.as_ref().unwrap();
    config.billing_queue_url = Some(url.replace(&stack().endpoint, &queue));
    let app = Builder::new(config, db, t.clock.clone())
        .secrets(Arc::new(SecretsManager::new(t.secrets().clone())))
        .queue(Arc::new(Sqs::new(aws_sdk_sqs::Client::from_conf(sqs))))
        .build();
    let stripe = t
        .anonymous()
        .of(serve(&app))
        .header("content-type", "application/json");
    let mut took = Vec::new();
    for n in 0..5 {
        let id = format!("evt_{n}");
        let body = json!({"id": id, "object": "event", "type": "invoice.paid", "created": 1_790_000_000,
            "data": {"object": {"id": "in_1", "customer": "cus_1"}}})
        .to_string();
        let secret = SecretString::from(WEBHOOK_SECRET);
        let signature =
            camarad::ports::stripe::signature::header(&secret, body.as_bytes(), t.app.clock().now());
        let since = Instant::now();
        let stripe = stripe.header("stripe-signature", &signature);
        let answer = stripe
            .send_bytes("POST", "/api/billing/webhook", body.as_bytes())
            .await;
        took.push(since.elapsed());
        answer.assert_empty(204);
        let stored: StripeEvent = t.app.db().get(&keys::stripe_event(&id)).await.unwrap().unwrap();
        assert_eq!(stored.state, EventState::Waiting);
    }
    took.sort_unstable();
    println!("an event was answered after {took:?}");
    assert!(took[0] > TABLE, "the table is slow: {took:?}");
    assert!(took[2] < ANSWER, "{took:?}");
    // When all is well again, nothing was lost.
    t.clock.advance(SignedDuration::from_secs(61));
    assert_eq!(event::sweep(&t.app).await.unwrap().ordered, 5);
}

/// A queue like that of template.yaml, but of two tries that come at once, and its dead letters.
async fn queues(t: &TestApp) -> (String, String) {
    let fifo = |name: &str| {
        let queue = t
            .sqs
            .create_queue()
            .queue_name(name)
            .attributes(Attribute::FifoQueue, "true");
        queue.attributes(Attribute::VisibilityTimeout, "0")
    };
    let dead = fifo("dead.fifo").send().await.unwrap().queue_url.unwrap();
    let arn = t
        .sqs
        .get_queue_attributes()
        .queue_url(&dead)
        .attribute_names(Attribute::QueueArn);
    let arn = arn.send().await.unwrap().attributes.unwrap()[&Attribute::QueueArn].clone();
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 2}).to_string();
    let orders = fifo("orders.fifo").attributes(Attribute::RedrivePolicy, policy);
    let orders = orders.send().await.unwrap().queue_url.unwrap();
    (orders, dead)
}

/// What a function does with a batch: what it carried out is gone, what it did not comes again.
async fn batch(shop: &Shop, url: &str) -> (usize, usize) {
    let sqs = &shop.t.sqs;
    let got = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .send()
        .await
        .unwrap();
    let got = got.messages.unwrap_or_default();
    let messages = got.iter().map(|m| Message {
        id: m.message_id.clone().unwrap(),
        body: m.body.clone().unwrap(),
    });
    let failed = billing_consumer::handle(shop.t.app.clone(), messages.collect()).await;
    for message in &got {
        if !failed.contains(message.message_id.as_ref().unwrap()) {
            let handle = message.receipt_handle.clone().unwrap();
            sqs.delete_message()
                .queue_url(url)
                .receipt_handle(handle)
                .send()
                .await
                .unwrap();
        }
    }
    (got.len(), failed.len())
}

#[tokio::test]
async fn what_failed_too_often_waits_among_the_dead_letters_and_is_done_when_it_is_sent_back() {
    let shop = Shop::open().await;
    let (orders, dead) = queues(&shop.t).await;
    let ann = shop.person("ann").await;
    shop.subscribe(&ann, "business", GOOD).await;
    let mut config = shop.t.app.config().clone();
    config.billing_queue_url = Some(orders.clone());
    let app = shop.t.instance_with(config);
    let customer = shop.customer(&ann).await;
    event::order(&app, &customer, "evt_1").await.unwrap();
    // Stripe is down.
    shop.peer("faults", json!({"method": "GET", "status": 503, "times": 1_000}))
        .await;
    for _ in 0..2 {
        assert_eq!(batch(&shop, &orders).await, (1, 1));
    }
    assert_eq!(batch(&shop, &orders).await, (0, 0));
    let waiting = async || {
        let count = Attribute::ApproximateNumberOfMessages;
        let asked = shop
            .t
            .sqs
            .get_queue_attributes()
            .queue_url(&dead)
            .attribute_names(count.clone());
        asked.send().await.unwrap().attributes.unwrap()[&count].clone()
    };
    assert_eq!(waiting().await, "1");
    assert_ne!(shop.subscription(&ann).await["plan"], json!("business"));
    // It is up again.
    shop.heal().await;
    let said = shop.t.redrive(&dead, &orders);
    assert!(said.ends_with("1 sent back, 0 left\n"), "{said}");
    let since = Instant::now();
    while batch(&shop, &orders).await != (1, 0) {
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "the letter does not come back"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = shop.subscription(&ann).await;
    assert_eq!(
        (&seen["plan"], &seen["status"]),
        (&json!("business"), &json!("trialing"))
    );
    assert_eq!(shop.entries(&ann).await.len(), 1);
    assert_eq!(waiting().await, "0");
    assert!(shop.t.redrive(&dead, &orders).ends_with("0 sent back, 0 left\n"));
}
