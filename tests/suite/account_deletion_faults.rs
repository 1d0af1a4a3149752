//! The job of a deletion, dying at each of its requests.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_dynamodb::types::AttributeValue;
use camarad::domain::outbox;
use camarad::domain::users::deletion::{self, Deletion, Stage};
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::app::{Setup, TestApp};
use camarad_tests::engine;
use camarad_tests::faults::Faults;
use camarad_tests::peers::ai::AiPeer;
use jiff::SignedDuration;

use crate::account_deletion::{assert_nothing_personal, delete, live, signed_up};

type Item = HashMap<String, AttributeValue>;

/// Makes the table what it was.
async fn restore(engine: &DynamoDb, items: &[Item]) {
    for item in engine::items(engine).await {
        let key = ["PK", "SK"].map(|n| (n.to_owned(), item[n].clone()));
        let delete = engine.delete_item().table_name(engine::TABLE);
        delete.set_key(Some(key.into())).send().await.unwrap();
    }
    for item in items {
        let put = engine.put_item().table_name(engine::TABLE);
        put.set_item(Some(item.clone())).send().await.unwrap();
    }
}

/// Both halves of the job, and what the events of closed workspaces ask for.
async fn whole_job(t: &TestApp, user: UserId) {
    deletion::carry_on(&t.app, user).await.unwrap();
    t.clock.advance(SignedDuration::from_mins(17));
    deletion::carry_on(&t.app, user).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_dies_at_any_request_is_finished_by_the_next() {
    let faults = Faults::new(7);
    let setup = Setup {
        ai: Some(AiPeer::start().await.unwrap()),
        faults: Some(faults.clone()),
        ..Setup::default()
    };
    let t = TestApp::with(setup).await;
    let life = live(&t, signed_up(&t).await).await;
    let user = life.ann.user.unwrap();
    delete(&life.ann).await.json(202);
    let begun = engine::items(&t.dynamodb).await;

    // Every fourth request, shifted between the two ways of dying; EVERY_REQUEST=1 takes each.
    let every = std::env::var_os("EVERY_REQUEST").is_some();
    let mut died = 0;
    for done in [false, true] {
        let (first, step) = if every { (0, 1) } else { (u32::from(done) * 2, 4) };
        for after in (first..).step_by(step) {
            restore(&t.dynamodb, &begun).await;
            faults.die(after, done);
            tokio::select! {
                () = whole_job(&t, user) => {}
                () = faults.dead() => died += 1,
            }
            let survived = faults.live();
            whole_job(&t, user).await;
            outbox::sweep(&t.app).await.unwrap();
            let left: Vec<_> = engine::items(&t.dynamodb)
                .await
                .iter()
                .map(|i| format!("{i:?}"))
                .collect();
            let rows: Vec<_> = left.iter().filter(|i| !i.contains("RATE#")).cloned().collect();
            assert_nothing_personal(&rows);
            let deletion = t
                .app
                .db()
                .get::<Deletion>(&keys::deletion(user))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                deletion.stage,
                Stage::Completed,
                "after {after} requests, done: {done}"
            );
            let kept = rows.iter().filter(|i| i.contains(&format!("S(\"USER#{user}\")")));
            assert_eq!(kept.count(), 1, "after {after} requests, done: {done}");
            if survived {
                break;
            }
        }
    }
    assert!(died > 15, "it died {died} times");
}
