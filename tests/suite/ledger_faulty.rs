//! The ledger while one request in ten is throttled, meets a transaction, or loses its answer after the commit: it goes
//! on, and nearly everything that is asked of it succeeds. And very many calls at once.

#![allow(clippy::print_stdout)] // figures for the closing note

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use camarad::domain::ledger::{self, Operation, Reserve};
use camarad::error::{Error, Result};
use camarad::ids::{OperationId, UserId};
use camarad_tests::bank::{Bank, amount, grant};
use camarad_tests::dice::{Dice, share};
use camarad_tests::faults::Fault;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;

/// How many of an operation's tries came to their end.
#[derive(Default)]
struct Count {
    asked: AtomicU32,
    failed: AtomicU32,
}

impl Count {
    async fn of<T>(&self, work: impl Future<Output = Result<T>>) -> Option<T> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match work.await {
            Ok(value) => Some(value),
            Err(Error::Unavailable(cause)) => {
                println!("an operation failed: {cause:?}");
                self.failed.fetch_add(1, Ordering::SeqCst);
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

async fn client(bank: &Bank, account: UserId, mut dice: Dice, count: &Count) {
    for _ in 0..25 {
        if dice.chance(10) {
            let order = grant(Operation::granted(OperationId::new(bank.app.clock())), 20);
            count.of(ledger::grant(&bank.app, account, &order)).await;
        }
        let request = bank.request(account, 5);
        let Some(Reserve::Held(held)) = count.of(ledger::reserve(&bank.app, &request)).await else {
            continue;
        };
        let bill = bank.bill(&held, 2);
        if count.of(bank.write_bill(&bill)).await.is_some() {
            count.of(ledger::end(&bank.app, &held, bill.charge)).await;
        }
    }
}

async fn passing(bank: &Bank) {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        bank.clock.advance(SignedDuration::from_millis(20));
    }
}

/// Answers how many faults there were.
async fn one(seed: u64, count: Arc<Count>) -> u32 {
    let bank = Bank::seeded(seed).await;
    let account = bank.account(1_000).await;
    bank.faults
        .only(&[Fault::Throttled, Fault::Conflict, Fault::AnswerLost]);
    bank.faults.rate(100);
    let mut dice = Dice::new(seed);
    let clients = join_all((0..6).map(|_| client(&bank, account, dice.split(), &count)));
    // Time passes, or a claim whose end got lost would stand for good.
    tokio::select! {
        _ = clients => {}
        () = passing(&bank) => {}
    }
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
    let (asked, failed) = (&count.asked, &count.failed);
    println!("seed {seed}: of {asked:?} operations so far {failed:?} failed");
    bank.faults.made()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_fault_in_ten_requests_nearly_all_operations_succeed_and_the_books_are_right() {
    let count = Arc::new(Count::default());
    // Several at once, as each waits most of the time.
    let seeds = stream::iter(0..2 * share()).map(|seed| tokio::spawn(one(seed, count.clone())));
    let faults: Vec<_> = seeds.buffer_unordered(4).collect().await;
    let faults: u32 = faults.into_iter().map(|of_one| of_one.unwrap()).sum();
    let count = Arc::into_inner(count).unwrap();
    let (asked, failed) = (count.asked.into_inner(), count.failed.into_inner());
    println!("{asked} operations, {faults} faults, {failed} operations failed");
    assert!(faults > asked / 10, "{faults} faults in {asked} operations");
    assert!(
        f64::from(failed) <= 0.001 * f64::from(asked).max(1_000.0),
        "{failed} of {asked} failed"
    );
}

/// 1,000 in the long proof, 100 in a short run.
fn many() -> i64 {
    if share() > 1 { 1_000 } else { 100 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_parallel_calls_on_the_credit_for_one_one_passes() {
    let bank = Bank::open().await;
    let account = bank.account(10).await;
    let requests: Vec<_> = (0..many()).map(|_| bank.request(account, 10)).collect();
    let answers = join_all(requests.iter().map(|r| ledger::reserve(&bank.app, r))).await;
    let held = answers
        .iter()
        .filter(|a| matches!(a, Ok(Reserve::Held(_))))
        .count();
    let refused = answers
        .iter()
        .filter(|a| matches!(a, Ok(Reserve::Refused(_))))
        .count();
    assert_eq!((held, held + refused), (1, requests.len()));
    bank.come_to_rest(&[account]).await;
    assert_eq!(bank.audit(account).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_credit_for_all_none_of_very_many_is_refused() {
    let bank = Bank::open().await;
    let account = bank.account(10 * many()).await;
    let calls = (0..many()).map(|_| async {
        loop {
            match ledger::reserve(&bank.app, &bank.request(account, 10)).await {
                Ok(Reserve::Held(held)) => break ledger::end(&bank.app, &held, amount(0)).await.unwrap(),
                Ok(Reserve::Refused(refused)) => panic!("{refused:?}"),
                Err(busy) => assert!(matches!(busy, Error::Unavailable(_)), "{busy:?}"),
            }
        }
    });
    assert_eq!(join_all(calls).await.len(), usize::try_from(many()).unwrap());
    bank.come_to_rest(&[account]).await;
    assert_eq!(bank.balance(account).await, (10 * many(), 10 * many()));
}

/// What ARCHITECTURE.md computes an account's calls a second from: the units of each movement, as the engine reports them,
/// while the journal grows from nothing to the end of its room.
#[tokio::test]
async fn a_movement_costs_what_the_head_weighs() {
    const PARTITION: f64 = 1_000.0; // write units that a partition takes in a second
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    ledger::flush(&bank.app, account).await.unwrap();
    let (mut units, mut sum) = (Vec::new(), 0.0);
    for calls in 1..=12 {
        let (held, reserve) = camarad::store::cost::metered(bank.hold(account, 1)).await;
        let (_, end) = camarad::store::cost::metered(ledger::end(&bank.app, &held, amount(1))).await;
        units.push((reserve.wcu, end.wcu));
        sum += reserve.wcu + end.wcu;
        // What takes the calls out of the journal writes a head that is as large as the last movement left it.
        let most = PARTITION * f64::from(calls) / (sum + end.wcu);
        println!(
            "{calls} calls to a flush: reserve {}, end {}; at most {most:.0} a second",
            reserve.wcu, end.wcu
        );
    }
    assert_eq!(units[0], (1.0, 1.0), "as long as the journal is flushed");
    assert!(
        units.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 <= w[1].1),
        "{units:?}"
    );
    assert!(units[11].1 <= 10.0, "{units:?}");
}
