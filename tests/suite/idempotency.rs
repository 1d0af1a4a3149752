//! Idempotency-Key, as Stripe has it: one effect per key, the first answer for everybody who repeats it, byte for byte.

use std::collections::BTreeSet;
use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use camarad::context::Context;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::runtime;
use camarad::domain::workspaces::Member;
use camarad::ids::{CallId, ConversationId};
use camarad::reply::Reply;
use camarad::store::once::{OnceKey, Pepper};
use camarad::store::{Cond, Db, keys};
use camarad_tests::app::{Answer, Client, Setup, TestApp};
use camarad_tests::faults::{Fault, Faults};
use camarad_tests::{dice, engine};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::account_deletion;
use crate::desk::{Desk, cbt, say, workspace};

async fn over(db: Option<Db>) -> TestApp {
    TestApp::with(Setup {
        db,
        ..Setup::default()
    })
    .await
}

fn new(name: &str) -> Value {
    json!({"name": name, "type": "personal"})
}

/// The names of somebody's workspaces.
async fn names(who: &Client) -> Vec<String> {
    let page = who.get("/api/workspaces?limit=100").await.json(200);
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|w| w["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Twenty at once under each of so many keys, spread over four instances: one effect per key, equal answers.
async fn twenty_under_each_of(t: &TestApp, count: u64) {
    let instances: Vec<_> = (0..4).map(|_| t.another_service()).collect();
    for n in 0..count {
        let who = t.sign_up(&format!("person{n}@example.com"), Plan::Agency).await;
        let key = format!("key {n}");
        let requests = (0..20).map(|m| {
            let who = who.of(instances[m % 4].clone()).once(&key);
            async move { who.post("/api/workspaces", new("Once")).await }
        });
        let answers: Vec<Answer> = join_all(requests).await;
        for answer in &answers {
            assert_eq!(answer.status, 201, "{}", answer.body);
            assert_eq!(answer.body, answers[0].body, "{key}");
        }
        let first = answers
            .iter()
            .filter(|a| a.header("idempotency-replayed").is_none());
        assert_eq!(first.count(), 1, "{key}: one answer is the first");
        assert_eq!(names(&who).await, ["Once"], "{key}");
    }
}

#[tokio::test]
async fn a_thousand_keys_with_twenty_at_once_are_a_thousand_effects() {
    let t = over(Some(engine::dynoxide().await)).await;
    twenty_under_each_of(&t, 20 * dice::share()).await;
}

#[tokio::test]
async fn so_they_are_on_the_other_engine() {
    twenty_under_each_of(&over(None).await, 2 + dice::share() / 2).await;
}

#[tokio::test]
async fn lost_answers_and_refusals_of_the_table_make_no_second_effect() {
    let faults = Faults::new(5);
    let t = TestApp::over(&faults).await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let mut expected = BTreeSet::new();
    let writes = Fault::ALL.into_iter().filter(|f| *f != Fault::Unprocessed);
    for (n, fault) in writes.enumerate() {
        let (key, name) = (format!("key {n}"), format!("{fault:?}"));
        faults.next("TransactWriteItems", fault);
        let mut bodies = BTreeSet::new();
        for _ in 0..4 {
            let answer = ann.once(&key).post("/api/workspaces", new(&name)).await;
            match answer.status {
                201 => drop(bodies.insert(answer.body)),
                _ => drop(answer.assert_problem(503, "unavailable")),
            }
        }
        faults.settle().await;
        let last = ann.once(&key).post("/api/workspaces", new(&name)).await;
        assert_eq!(last.header("idempotency-replayed"), Some("true"), "{fault:?}");
        bodies.insert(last.body);
        assert_eq!(bodies.len(), 1, "{fault:?}: {bodies:?}");
        expected.insert(name);
    }
    let made = names(&ann).await;
    assert_eq!(made.len(), expected.len(), "{made:?}");
    assert_eq!(made.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free() {
    let t = over(Some(engine::dynoxide().await)).await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    ann.once("k")
        .post("/api/workspaces", json!({"name": ""}))
        .await
        .assert_invalid("name");
    ann.once("k")
        .post("/api/workspaces", json!("no"))
        .await
        .assert_problem(422, "invalid");
    let made = ann
        .once("k")
        .post("/api/workspaces", new("Mended"))
        .await
        .json(201);
    assert_eq!(names(&ann).await, ["Mended"]);
    // The same key with another body, path or method is another request.
    for answer in [
        ann.once("k").post("/api/workspaces", new("Other")).await,
        ann.once("k").patch("/api/user", json!({"name": "Ann"})).await,
        ann.once("k")
            .delete(&format!("/api/workspaces/{}", made["id"].as_str().unwrap()))
            .await,
    ] {
        answer.assert_problem(422, "idempotency_key_reused");
    }
    assert_eq!(names(&ann).await, ["Mended"]);
    // What a limit refused may be sent again once there is room.
    for n in 0..2 {
        ann.post("/api/workspaces", new(&n.to_string())).await.json(201);
    }
    ann.once("more")
        .post("/api/workspaces", new("More"))
        .await
        .assert_problem(403, "plan_limit");
    ann.delete(&format!("/api/workspaces/{}", made["id"].as_str().unwrap()))
        .await
        .assert_empty(204);
    ann.once("more")
        .post("/api/workspaces", new("More"))
        .await
        .json(201);
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let t = over(Some(engine::dynoxide().await)).await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    for bad in ["", "a\tb", &"x".repeat(256)] {
        ann.once(bad)
            .post("/api/workspaces", new("No"))
            .await
            .assert_invalid("header.Idempotency-Key");
    }
    ann.once(&"x".repeat(255))
        .post("/api/workspaces", new("Yes"))
        .await
        .json(201);
    assert_eq!(names(&ann).await, ["Yes"]);
}

#[tokio::test]
async fn whoever_may_not_any_more_gets_no_replay() {
    let t = over(None).await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner).await;
    let admin = t.join(&home, Role::Admin).await;
    let path = format!("/api/workspaces/{home}/agents");
    let ask = || async { admin.once("k").post(&path, json!({"presetIds": ["ceo"]})).await };
    let first = ask().await;
    let again = ask().await;
    assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));

    let key = keys::member(home.parse().unwrap(), admin.user.unwrap());
    let mut member: Member = t.app.db().get(&key).await.unwrap().unwrap();
    member.role = Role::Member;
    t.app.db().put(&member, None).await.unwrap();
    ask().await.assert_problem(403, "forbidden");
    t.app.db().take(&key, &Cond::item_exists()).await.unwrap();
    ask().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn the_key_itself_is_nowhere_in_the_table() {
    let d = Desk::open().await;
    let key = "a-key-that-would-be-seen-0123456789";
    d.ann
        .once(key)
        .post("/api/workspaces", new("Seen"))
        .await
        .json(201);
    d.chat(&format!("{key}-chat"), say("Hello")).await.json(200);
    for item in d.t.snapshot().await {
        assert!(!item.contains("would-be-seen"), "{item}");
    }
}

#[tokio::test]
async fn a_sealed_answer_comes_back_byte_for_byte_and_is_readable_nowhere() {
    let t = over(None).await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let clock = t.app.clock();
    let cause = Context::system("test", clock.now());
    let key = |text: &str, pepper: u8| {
        OnceKey::new(ann.user.unwrap(), text, "input").sealed(Pepper::new([pepper; 32]))
    };
    let secret = json!({"secret": "shown-only-once"});
    let create = |key: OnceKey| {
        let (tx, reply) = (t.app.tx(&cause), Reply::created(&secret).unwrap());
        async move {
            tx.event("t", json!({}))
                .unwrap()
                .once(Some(&key))
                .commit(reply)
                .await
        }
    };
    let first = create(key("k", 1)).await.unwrap();
    let again = create(key("k", 1)).await.unwrap();
    assert_eq!((&first.body, first.replayed), (&secret.to_string(), false));
    assert_eq!((&again.body, again.replayed), (&first.body, true));
    for item in t.snapshot().await {
        assert!(!item.contains("shown-only-once"), "{item}");
    }
    // With another pepper, or by a route without secrets, it is not opened, and nothing is done again.
    assert!(create(key("k", 2)).await.is_err());
    assert!(
        create(OnceKey::new(ann.user.unwrap(), "k", "input"))
            .await
            .is_err()
    );
    assert!(create(key("other", 1)).await.is_ok_and(|r| !r.replayed));
}

/// Polls `work` at most so many times, then drops it where it stands; as a function that dies there.
async fn dies_after<T>(polls: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_write_whose_function_dies_at_any_moment_is_done_once_by_its_repetition() {
    let t = over(Some(engine::dynoxide().await)).await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    for polls in 0..40 {
        let (key, name) = (format!("key {polls}"), format!("Moment {polls}"));
        let ann = ann.once(&key);
        let dead = dies_after(polls, ann.post("/api/workspaces", new(&name))).await;
        // At once: nobody waits for a record of somebody who is dead.
        let answer = ann.post("/api/workspaces", new(&name)).await;
        assert_eq!(answer.status, 201, "{polls}: {}", answer.body);
        if let Some(first) = dead {
            assert_eq!(first.body, answer.body);
        }
        t.clock.advance(SignedDuration::from_secs(4));
    }
    let made = names(&ann).await;
    let different: BTreeSet<_> = made.iter().collect();
    assert_eq!((made.len(), different.len()), (40, 40), "{made:?}");
}

/// The claim that a chat of Ann's makes.
async fn claimed(d: &Desk, key: &str, message: &str, left: SignedDuration) {
    let mut hash = Sha256::new();
    hash.update(format!("POST\n{}\n{}", d.chat_path(), say(message)));
    let input = data_encoding::BASE64URL_NOPAD.encode(&hash.finalize());
    let once = OnceKey::new(d.ann.user.unwrap(), key, input);
    let clock = d.t.app.clock();
    let (call, conversation, now) = (CallId::new(clock), ConversationId::new(clock), clock.now());
    runtime::take(&d.t.app, &once, call, conversation, (now, now + left))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_claim_is_free_when_its_functions_time_is_up() {
    let d = Desk::open().await;
    claimed(&d, "none left", "Hello", SignedDuration::ZERO).await;
    d.chat("none left", say("Hello")).await.json(200);

    claimed(&d, "five left", "Hello", SignedDuration::from_secs(5)).await;
    let early = d.chat("five left", say("Hello")).await;
    early.assert_problem(409, "idempotency_in_progress");
    assert!(early.header("retry-after").is_some());
    d.chat("five left", say("Other"))
        .await
        .assert_problem(422, "idempotency_key_reused");
    d.t.clock.advance(SignedDuration::from_secs(6));
    d.chat("five left", say("Hello")).await.json(200);
    assert_eq!(d.t.ai().requests().len(), 2);
}

#[tokio::test]
async fn a_function_without_time_begins_no_call_and_leaves_its_key_free() {
    let d = Desk::open().await;
    let before = d.balance().await;
    let hurried = d.ann.once("k").killed_after(Duration::ZERO);
    hurried
        .post(&d.chat_path(), say("Hello"))
        .await
        .assert_problem(503, "unavailable");
    assert_eq!((d.t.ai().requests().len(), d.balance().await), (0, before));
    let answer = d.chat("k", say("Hello")).await.json(200);
    d.assert_spent(cbt(&answer["receipt"]["cost"])).await;
}

#[tokio::test]
async fn the_status_token_of_a_deletion_is_in_no_item() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Personal).await;
    let accepted = account_deletion::delete(&ann.once("k")).await.json(202);
    let token = accepted["statusToken"].as_str().unwrap();
    let (owner, secret) = token.split_once('.').unwrap();
    let table = t.snapshot().await.join("\n");
    assert!(table.contains("ONCE#"), "the answer is kept");
    for text in [token, secret] {
        for form in [text.to_owned(), data_encoding::BASE64.encode(text.as_bytes())] {
            assert!(!table.contains(&form), "{owner} is readable in the table");
        }
    }
}
