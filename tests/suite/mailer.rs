//! Mails: sent once, however often the queue delivers them, and not after they are of use.

use camarad::lambda::batch;
use camarad_tests::app::stack::repository;
use camarad_tests::app::{MAIL_FROM, Setup, TestApp};
use jiff::SignedDuration;
use serde_json::{Value, json};

async fn with_mail(from: &str) -> TestApp {
    TestApp::with(Setup {
        mail_from: Some(from.into()),
        ..Setup::default()
    })
    .await
}

async fn order(t: &TestApp, email: &str) -> String {
    let asked = t
        .anonymous()
        .post("/api/auth/magic-link", json!({"email": email}))
        .await;
    asked.json(202);
    let mut queue = t.mail_queue().await;
    assert_eq!(queue.len(), 1);
    queue.remove(0)
}

#[tokio::test]
async fn a_mail_says_what_to_do_as_text_and_as_html() {
    let t = with_mail(MAIL_FROM).await;
    let order = order(&t, "ann@example.com").await;
    assert!(t.deliver(std::slice::from_ref(&order)).await.is_empty());
    let mails = t.mails().await;
    assert_eq!(mails.len(), 1);
    let link = serde_json::from_str::<Value>(&order).unwrap()["link"]
        .as_str()
        .unwrap()
        .to_owned();
    for body in ["BodyText", "BodyHtml"] {
        let body = mails[0][body].as_str().unwrap();
        assert!(body.contains(&link) && body.contains("15 minutes"), "{body}");
    }
    assert_eq!(mails[0]["Subject"], "Sign in to Camarad");
}

#[tokio::test]
async fn a_message_that_comes_again_sends_no_second_mail() {
    let t = with_mail(MAIL_FROM).await;
    let order = order(&t, "ann@example.com").await;
    let twice = [order.clone(), order.clone()];
    assert!(t.deliver(&twice).await.is_empty());
    let once = [order.clone()];
    let (one, two, three) = tokio::join!(t.deliver(&once), t.deliver(&once), t.deliver(&once));
    assert!(one.is_empty() && two.is_empty() && three.is_empty());
    assert_eq!(t.mails().await.len(), 1);
    t.clock.advance(SignedDuration::from_mins(5));
    assert!(t.deliver(&once).await.is_empty());
    assert_eq!(t.mails().await.len(), 1);
}

#[tokio::test]
async fn two_mailers_at_once_send_one_mail_and_lose_none() {
    let t = with_mail(MAIL_FROM).await;
    let once = [order(&t, "ann@example.com").await];
    let (one, two) = tokio::join!(t.deliver(&once), t.deliver(&once));
    // Who found the other at work gives the message back.
    assert!(one.is_empty() || two.is_empty());
    assert!(t.deliver(&once).await.is_empty());
    assert_eq!(t.mails().await.len(), 1);
}

#[tokio::test]
async fn an_expired_link_is_not_mailed() {
    let t = with_mail(MAIL_FROM).await;
    let order = order(&t, "ann@example.com").await;
    t.clock.advance(SignedDuration::from_mins(15));
    assert!(t.deliver(&[order]).await.is_empty());
    assert!(t.mails().await.is_empty());
}

#[tokio::test]
async fn one_bad_message_holds_up_no_good_one_and_is_given_back() {
    let t = with_mail(MAIL_FROM).await;
    let good = order(&t, "ann@example.com").await;
    let mut odd: Value = serde_json::from_str(&good).unwrap();
    odd["letter"] = json!("chainLetter");
    let messages = ["no order".to_owned(), good, odd.to_string()];
    let again = t.deliver(&messages).await;
    assert_eq!(again, [messages[0].clone(), messages[2].clone()]);
    assert_eq!(t.mails().await.len(), 1);
}

#[tokio::test]
async fn what_ses_refuses_is_tried_again_at_once_when_the_message_comes_again() {
    // SES knows the one sender, and the configuration names another.
    let t = with_mail("unknown@example.org").await;
    let order = order(&t, "ann@example.com").await;
    t.forget_sender("unknown@example.org").await;
    assert_eq!(t.deliver(std::slice::from_ref(&order)).await.len(), 1);
    assert!(t.mails().await.is_empty());
    t.know_sender("unknown@example.org").await;
    assert!(t.deliver(&[order]).await.is_empty());
    assert_eq!(t.mails().await.len(), 1);
}

#[tokio::test]
async fn the_sample_event_is_one_that_the_mailer_reads() {
    let t = with_mail(MAIL_FROM).await;
    let text = std::fs::read_to_string(repository().join("events/sqs-mail.json")).unwrap();
    let messages = batch::messages(serde_json::from_str(&text).unwrap());
    assert_eq!(messages.len(), 1);
    // The sample is of long ago: read, and not sent.
    assert!(mailer::handle(t.app.clone(), messages).await.is_empty());
    assert!(t.mails().await.is_empty());
}
