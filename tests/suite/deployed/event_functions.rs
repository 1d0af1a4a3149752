//! One story per function behind queue, stream and clock. (The outbox function has its part in the main job.)

use std::sync::Arc;

use camarad::clock::{Clock, ManualClock, SystemClock};
use camarad::domain::audit::chain::Chain;
use camarad::domain::ledger::flush;
use camarad::ids::{CallId, UserId};
use camarad::store::keys;
use camarad_tests::app::PUBLIC_URL;
use camarad_tests::bank;
use camarad_tests::deployed::{self, Deployed, eventually, lambda};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{counted, granted, text, workspace};

#[tokio::test]
async fn metering_consumer_counts_a_call_once_however_often_the_queue_delivers_it() {
    let d = deployed::shared().await;
    let ann = d.sign_in("metering").await;
    let (workspace, agents) = workspace(&ann, &["ceo"]).await;
    let user = text(&ann.get("/api/user").await.json(200), "id");
    let first = usage_message(&user, &workspace, &agents[0]);
    for message in [&first, &first, &usage_message(&user, &workspace, &agents[0])] {
        send(&d, message).await;
    }
    counted(&ann, &workspace, 2).await;
    // The same once more, at a function that has counted it for certain.
    let again = lambda::queue_event(&[first.to_string()]);
    let answer = d.invoke("metering-consumer", &again).await;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    assert_eq!(counted(&ann, &workspace, 2).await["totals"]["calls"], 2);
}

#[tokio::test]
async fn metering_consumer_gives_back_what_is_no_event() {
    let d = deployed::shared().await;
    let answer = d
        .invoke(
            "metering-consumer",
            &lambda::queue_event(&["no event".to_owned()]),
        )
        .await;
    assert_eq!(
        answer,
        json!({"batchItemFailures": [{"itemIdentifier": "message-0"}]})
    );
}

#[tokio::test]
async fn mailer_mails_a_link_that_signs_in() {
    let d = deployed::shared().await;
    let (email, anybody) = ("mailer@example.com", d.visitor());
    let wish = json!({"email": email, "mode": "token"});
    anybody.post("/api/auth/magic-link", wish).await.json(202);
    let mail = eventually("mail", async || d.mails_to(email).await.into_iter().next()).await;
    let mailed = text(&mail, "BodyText");
    let link = mailed
        .lines()
        .find_map(|line| line.strip_prefix(PUBLIC_URL))
        .expect("a link");
    let opened = anybody.header("accept", "application/json").get(link).await;
    let cookie = opened
        .header("set-cookie")
        .expect("a cookie")
        .split(';')
        .next()
        .expect("a pair");
    let nonce = text(&opened.json(200), "nonce");
    let proof = json!({"token": link.split("token=").nth(1), "nonce": nonce});
    let browser = anybody.header("cookie", cookie);
    let tokens = browser.post("/api/auth/magic-link/verify", proof).await.json(200);
    assert_eq!(tokens["user"]["email"], email);
}

#[tokio::test]
async fn outbox_passes_on_what_the_stream_shows_it() {
    let d = deployed::shared().await;
    for sample in [
        "dynamodb-stream-outbox.json",
        "dynamodb-stream-ledger-head.json",
        "dynamodb-stream-audit.json",
    ] {
        let answer = d.invoke("outbox", &lambda::sample(sample)).await;
        assert_eq!(answer, json!({"batchItemFailures": []}), "{sample}");
    }
}

#[tokio::test]
async fn audit_sealer_seals_what_the_stream_shows_and_audit_exports_it() {
    let d = deployed::shared().await;
    let ann = d.sign_in("audit").await;
    let (workspace, _) = workspace(&ann, &["ceo"]).await;
    let path = format!("/api/workspaces/{workspace}/audit-logs");
    let log = ann.get(&path).await.json(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 2, "{log}");
    let app = d.app(Arc::new(SystemClock));
    eventually("sealed records", async || {
        let chain = app
            .db()
            .get::<Chain>(&keys::chain(&workspace))
            .await
            .unwrap()
            .unwrap();
        (chain.seq >= 2).then_some(())
    })
    .await;
    let export = format!("{path}/export");
    let file = d.streamed("audit", &ann, ("GET", &export), None).await;
    assert_eq!(file.status, 200, "{}", file.body);
    let kinds = file.body.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        text(&line, "type")
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        ["manifest", "record", "record", "head", "end"]
    );
    let again = d.invoke("audit-sealer", &lambda::sample("sqs-audit.json")).await;
    assert_eq!(
        again,
        json!({"batchItemFailures": []}),
        "records that are not there are no failure"
    );
}

#[tokio::test]
async fn scheduled_ends_the_hold_of_a_call_that_died() {
    let d = deployed::shared().await;
    let ann = d.sign_in("scheduled").await;
    let balance = granted(&ann).await;
    let (_, agents) = workspace(&ann, &["ceo"]).await;
    let user: UserId = text(&ann.get("/api/user").await.json(200), "id").parse().unwrap();
    hold_and_die(&d, user, &agents[0]).await;

    d.invoke("scheduled", &lambda::sample("scheduled-sweep.json"))
        .await;
    let entries = ann.get("/api/ledger").await.json(200);
    assert_eq!(entries["items"][0]["type"], "expire", "{entries}");
    let after = ann.get("/api/ledger/balance").await.json(200);
    assert_eq!(
        (text(&after, "held"), text(&after, "balance")),
        ("0".to_owned(), balance)
    );
    for job in ["scheduled-flush.json", "scheduled-seal-audits.json"] {
        d.invoke("scheduled", &lambda::sample(job)).await;
    }
}

/// What a function does that is killed an hour ago, before the first word of its answer.
async fn hold_and_die(d: &Deployed, user: UserId, agent: &str) {
    let then = SystemClock.now() - SignedDuration::from_hours(1);
    let app = d.app(Arc::new(ManualClock::at(then)));
    let mut request = bank::request(&app, user, 5_000_000);
    request.memo.agent = agent.parse().unwrap();
    bank::held(&app, &request).await;
    flush(&app, user).await.unwrap();
}

/// The CloudEvent of a call that was just made.
pub fn usage_message(user: &str, workspace: &str, agent: &str) -> Value {
    let call = CallId::new(&SystemClock).to_string();
    let now = SystemClock.now().to_string();
    let sample = lambda::sample("sqs-metering.json");
    let mut event: Value = serde_json::from_str(sample["Records"][0]["body"].as_str().unwrap()).unwrap();
    event["id"] = json!(call.replace("call_", "evt_"));
    event["time"] = json!(now);
    for (name, value) in [
        ("callId", call.as_str()),
        ("userId", user),
        ("workspaceId", workspace),
    ] {
        event["data"][name] = json!(value);
    }
    for (name, value) in [("account", user), ("agentId", agent), ("at", now.as_str())] {
        event["data"][name] = json!(value);
    }
    event
}

pub async fn send(d: &Deployed, message: &Value) {
    let url = d.output("MeteringQueueUrl");
    let send = d
        .sqs()
        .send_message()
        .queue_url(url)
        .message_body(message.to_string());
    send.send().await.expect("the queue takes it");
}
