//! The Idempotency-Key of a call: one call per key, and its answer for everybody who repeats it.

use camarad::money::Cbt;
use camarad_tests::peers::ai::Behaviour;
use futures_util::future::join_all;
use serde_json::json;

use crate::desk::{Desk, cbt, names, say, text};

#[tokio::test]
async fn a_repeated_chat_gets_the_first_answer_byte_for_byte_and_is_charged_once() {
    let d = Desk::open().await;
    let first = d.chat("k", say("Once?")).await;
    let again = d.chat("k", say("Once?")).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.body, again.body);
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        (None, Some("true"))
    );
    assert_eq!(d.t.ai().requests().len(), 1);
    let cost = cbt(&first.json(200)["receipt"]["cost"]);
    d.assert_spent(cost).await;

    // Also when the entries have left the journal.
    camarad::domain::ledger::flush(&d.t.app, d.ann.user.unwrap())
        .await
        .unwrap();
    assert_eq!(d.chat("k", say("Once?")).await.body, first.body);
    d.assert_spent(cost).await;
}

#[tokio::test]
async fn a_repeated_stream_gets_the_stored_text_at_once() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::text("one two three"));
    let first = d.stream("k", say("Once?")).await;
    let again = d.stream("k", say("Once?")).await;
    assert_eq!(names(&again), ["start", "delta", "done"]);
    assert_eq!((&again[0], text(&again)), (&first[0], text(&first)));
    assert_eq!(again.last(), first.last(), "the same receipt");
    assert_eq!(d.t.ai().requests().len(), 1);
}

#[tokio::test]
async fn a_key_with_another_message_or_route_is_refused() {
    let d = Desk::open().await;
    let cost = cbt(&d.chat("k", say("Once?")).await.json(200)["receipt"]["cost"]);
    d.chat("k", say("Twice?"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    let (head, _) = d.listen(&d.ann.once("k"), say("Once?")).await;
    assert_eq!(head.status, 422);
    let elsewhere = d
        .ann
        .once("k")
        .post("/api/workspaces", json!({"name": "X", "type": "personal"}))
        .await;
    elsewhere.assert_problem(422, "idempotency_key_reused");
    d.ann
        .once("w")
        .post("/api/workspaces", json!({"name": "X", "type": "personal"}))
        .await
        .json(201);
    d.chat("w", say("Once?"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    d.assert_spent(cost).await;
    assert_eq!(d.t.ai().requests().len(), 1);
}

#[tokio::test]
async fn twenty_at_once_with_one_key_are_one_call() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::All {
        of: vec![
            Behaviour::text("Once."),
            Behaviour::StallBeforeHeaders { ms: 1_500 },
        ],
    });
    let answers = join_all((0..20).map(|_| d.chat("k", say("Once?")))).await;
    let passed: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
    assert!(!passed.is_empty());
    assert!(passed.iter().all(|a| a.body == passed[0].body));
    for other in answers.iter().filter(|a| a.status != 200) {
        other.assert_problem(409, "idempotency_in_progress");
        assert!(other.header("retry-after").is_some());
    }
    assert_eq!(d.t.ai().requests().len(), 1);
    d.assert_spent(cbt(&passed[0].json(200)["receipt"]["cost"])).await;
}

#[tokio::test]
async fn what_failed_for_free_may_be_tried_again_under_its_key() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::status(400));
    d.chat("k", say("Once?"))
        .await
        .assert_problem(502, "upstream_failed");
    d.assert_spent(Cbt::ZERO).await;
    d.chat("k", say("Twice, then?")).await.json(200);
}

#[tokio::test]
async fn keys_of_different_people_never_meet() {
    let d = Desk::open().await;
    let bob =
        d.t.join(&d.workspace, camarad::domain::permissions::Role::Member)
            .await;
    crate::desk::fund(&d.t, bob.user.unwrap(), Cbt::whole(10)).await;
    let anns = d.chat("k", say("Mine")).await.json(200);
    let bobs = bob.once("k").post(&d.chat_path(), say("Mine")).await.json(200);
    assert_ne!(anns["callId"], bobs["callId"]);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day() {
    let d = Desk::open().await;
    let first = d.chat("k", say("Once?")).await.json(200);
    d.t.clock.advance(jiff::SignedDuration::from_hours(25));
    let ann = d.t.sign_in(d.ann.user.unwrap()).await;
    let later = ann.once("k").post(&d.chat_path(), say("Once?")).await.json(200);
    assert_ne!(first["callId"], later["callId"]);
    assert_eq!(d.t.ai().requests().len(), 2);
}
