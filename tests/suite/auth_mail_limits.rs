//! How many links are mailed: so many that nobody's mailbox is flooded, and so that nobody shuts another one out.

use camarad_tests::app::{Answer, TestApp};
use jiff::SignedDuration;
use serde_json::json;

use crate::auth::{audit_records, scene_with_mail};
use crate::auth_magic_link::with_mail;

async fn ask_from(t: &TestApp, ip: &str, email: &str) -> Answer {
    let who = t.anonymous().from(ip);
    who.post("/api/auth/magic-link", json!({ "email": email })).await
}

/// How many mails went out since this was asked last.
async fn mails(t: &TestApp) -> usize {
    t.mail_queue().await.len()
}

const MALLORYS: &str = "198.51.100.66";
const ANNS: &str = "203.0.113.7";

#[tokio::test]
async fn a_strangers_asking_leaves_the_owners_sign_in_and_step_up_as_they_were() {
    let s = scene_with_mail().await;
    let ann = s.as_bearer(&s.tokens("ann@example.com").await);
    for _ in 0..20 {
        ask_from(&s.t, MALLORYS, "ann@example.com").await.json(202);
    }
    assert_eq!(
        mails(&s.t).await,
        5,
        "the rest is answered alike, and goes nowhere"
    );
    ask_from(&s.t, ANNS, "ann@example.com").await.json(202);
    assert_eq!(mails(&s.t).await, 1);
    let step_up = ann.post("/api/auth/step-up", json!({"with": "email"})).await;
    assert_eq!(step_up.json(200), json!({"mailed": true}));
    assert_eq!(mails(&s.t).await, 1);
}

#[tokio::test]
async fn so_many_links_go_to_a_mailbox_however_it_is_written_and_wherever_they_are_asked_for() {
    let t = with_mail().await;
    for n in 0..40 {
        let email = format!("ann+{n}@example.com");
        ask_from(&t, &format!("198.51.100.{}", n / 5), &email)
            .await
            .json(202);
    }
    assert_eq!(mails(&t).await, 30);
    ask_from(&t, ANNS, "ANN@example.com").await.json(202);
    ask_from(&t, ANNS, "bob@example.com").await.json(202);
    assert_eq!(mails(&t).await, 1, "bob's");
    // Once, in the platform's log, for an hour.
    let records = audit_records(&t, "platform").await;
    let told: Vec<_> = records
        .iter()
        .map(|r| (r.action.as_str(), r.resource.as_str()))
        .collect();
    assert_eq!(told, [("api.rate_limited", "mail-to")]);
    t.clock.advance(SignedDuration::from_hours(2));
    ask_from(&t, ANNS, "ann@example.com").await.json(202);
    assert_eq!(mails(&t).await, 1);
}

#[tokio::test]
async fn so_many_links_are_asked_for_from_one_address_and_the_rest_is_refused_on_record() {
    let t = with_mail().await;
    for n in 0..20 {
        ask_from(&t, ANNS, &format!("n{n}@example.com")).await.json(202);
    }
    for _ in 0..3 {
        let refused = ask_from(&t, ANNS, "one-more@example.com").await;
        refused.assert_problem(429, "rate_limited");
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(mails(&t).await, 20);
    let records = audit_records(&t, "platform").await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(
        (records[0].resource.as_str(), records[0].network.as_deref()),
        ("mail-by", Some("203.0.113.0/24"))
    );
    ask_from(&t, MALLORYS, "one-more@example.com").await.json(202);
}

#[tokio::test]
async fn no_header_tells_whether_links_were_asked_for_a_mailbox() {
    let t = with_mail().await;
    for n in 0..12 {
        ask_from(&t, &format!("198.51.100.{}", n / 4), "busy@example.com")
            .await
            .json(202);
    }
    let busy = ask_from(&t, "192.0.2.1", "busy@example.com").await;
    let fresh = ask_from(&t, "192.0.2.2", "fresh@example.com").await;
    let told = |answer: &Answer| {
        let header = |name: &str| answer.header(name).map(str::to_owned);
        let length = answer.header("content-length").map(str::to_owned);
        // Without the seconds that are left of the window, which go on between the two.
        let standing = header("ratelimit").map(|all| all.split(";t=").next().unwrap().to_owned());
        (standing, header("ratelimit-policy"), length, answer.body.clone())
    };
    assert_eq!(told(&busy), told(&fresh));
    assert_eq!(busy.header("ratelimit-policy"), Some("\"mail-by\";q=20;w=3600"));
    // Nor to whoever filled it.
    let filled = ask_from(&t, "198.51.100.0", "busy@example.com").await;
    filled.json(202);
    assert!(!filled.header("ratelimit").unwrap().contains("mail-to"));
}
