//! A look at a customer that is killed at each request it makes to the table, before the engine did it and after; and one
//! whose requests fail. The next look ends it, and nothing is lost or doubled.

use camarad::domain::billing::{reconcile, worker};
use camarad::error::Error;
use camarad::store::{Db, keys};
use camarad_tests::dice::{Dice, share};
use camarad_tests::engine;
use camarad_tests::faults::Faults;
use camarad_tests::lives::{World, life};
use jiff::Timestamp;

use crate::billing_proof::{Run, START, begin};

/// Lives of `make proof`; `make test` has the first of them.
const LIVES: u64 = 30;

fn lives() -> u64 {
    match share() {
        1 => 2,
        share => (LIVES * share / 50).max(2),
    }
}

pub fn thrown(seed: u64) -> Vec<World> {
    let start = Timestamp::from_second(START).unwrap();
    life(&mut Dice::new(seed), &seed.to_string(), start)
}

/// The life's end, of which nobody was told anything before.
pub async fn at_the_end(db: &Db, life: &[World]) -> Run {
    let run = begin(db, life).await;
    run.step(life, life.len() - 1);
    run
}

#[tokio::test]
async fn a_look_that_dies_at_any_request_is_ended_by_the_next() {
    let faults = Faults::new(1);
    let db = engine::faulty(&faults).await;
    let mut killed = 0;
    for seed in 0..lives() {
        let life = thrown(seed);
        let plain = at_the_end(&db, &life).await;
        worker::look(&plain.app, &plain.customer).await.unwrap();
        let expected = plain.ends().await;
        for done in [false, true] {
            for n in 0.. {
                let run = at_the_end(&db, &life).await;
                faults.die(n, done);
                tokio::select! {
                    () = faults.dead() => {}
                    ended = worker::look(&run.app, &run.customer) => ended.unwrap(),
                }
                if faults.live() {
                    break; // a look has no more requests than that
                }
                killed += 1;
                worker::look(&run.app, &run.customer).await.unwrap();
                assert_eq!(
                    run.ends().await,
                    expected,
                    "seed {seed}, request {n}, done: {done}"
                );
            }
        }
    }
    println!("{} lives, {killed} looks killed: each ends alike", lives());
    assert!(killed > 10 * lives());
}

#[tokio::test]
async fn what_is_settled_is_left_alone_until_the_comparison_finds_that_the_ledger_lost_it() {
    let db = engine::dynoxide().await;
    let life = thrown(1);
    let run = at_the_end(&db, &life).await;
    worker::look(&run.app, &run.customer).await.unwrap();
    let expected = run.ends().await;
    assert!(!expected.1.is_empty());
    // As after a table that was restored from a backup.
    let cause = camarad::context::Context::system("story", run.app.clock().now());
    let lost = run
        .app
        .tx(&cause)
        .delete(keys::ledger_head(run.user), None, || Error::NotFound);
    lost.run().await.unwrap();
    worker::look(&run.app, &run.customer).await.unwrap();
    assert_eq!(run.ends().await.1, [""; 0]);
    reconcile::compare(&run.app, run.user).await.unwrap();
    worker::look(&run.app, &run.customer).await.unwrap();
    assert_eq!(run.ends().await, expected);
}

#[tokio::test]
async fn a_look_whose_requests_fail_is_ended_by_a_later_one() {
    let faults = Faults::new(2);
    let db = engine::faulty(&faults).await;
    let mut failed = 0;
    for seed in 0..lives() {
        let life = thrown(seed);
        let plain = at_the_end(&db, &life).await;
        worker::look(&plain.app, &plain.customer).await.unwrap();
        let expected = plain.ends().await;
        let run = at_the_end(&db, &life).await;
        faults.rate(300);
        let mut tries = 0;
        while worker::look(&run.app, &run.customer).await.is_err() {
            tries += 1;
            assert!(tries < 100, "seed {seed}");
        }
        faults.rate(0);
        faults.settle().await;
        failed += tries;
        assert_eq!(run.ends().await, expected, "seed {seed}");
    }
    println!(
        "{} lives at 30 % of faults, {failed} looks failed: each ends alike",
        lives()
    );
}
