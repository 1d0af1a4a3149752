//! The ledger under programs made by chance: several drivers, sweepers, flushes and granters at once, on an engine that
//! loses answers and delivers late, with drivers that die at any await. Whatever happened, the books are right.
//!
//! `make test` runs a share of the seeds; CAMARAD_PROOF=50 (`make proof`) all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context as TaskContext, Poll};

use camarad::domain::ledger::{
    self, ALREADY_BILLED, Checkpoint, Ended, Entry, Operation, Progress, Reservation, Reserve, Usage,
};
use camarad::error::{Error, Result};
use camarad::ids::{CallId, OperationId, UserId};
use camarad::money::{Amount, Cbt};
use camarad_tests::bank::{Bank, chain, grant};
use camarad_tests::dice::{Dice, each, share};
use futures_util::future::join_all;
use jiff::SignedDuration;

/// Work that dies after so many polls: what a killed function leaves behind.
struct Dying<F> {
    work: Pin<Box<F>>,
    polls: Option<u64>,
}

impl<F: Future> Future for Dying<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut self.polls {
            Some(0) => return Poll::Ready(None),
            Some(n) => *n -= 1,
            None => {}
        }
        self.work.as_mut().poll(cx).map(Some)
    }
}

/// What somebody was told, and must find in the books.
#[derive(Default)]
struct Told {
    held: Vec<Reservation>,
    ended: Vec<(CallId, Ended)>,
    granted: Vec<Entry>,
}

struct Program<'a> {
    bank: &'a Bank,
    accounts: &'a [UserId],
    operations: &'a [OperationId],
    told: &'a Mutex<Told>,
    mortal: bool,
}

impl Program<'_> {
    /// Runs until it is done or dies; an outage is nothing unusual.
    async fn live<T>(&self, dice: &mut Dice, work: impl Future<Output = Result<T>>) -> Option<T> {
        let polls = (self.mortal && dice.chance(15)).then(|| dice.below(12));
        match (Dying {
            work: Box::pin(work),
            polls,
        })
        .await?
        {
            Ok(value) => Some(value),
            Err(Error::Unavailable(_)) => None,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn task(&self, mut dice: Dice, steps: u32) {
        let app = &self.bank.app;
        for _ in 0..steps {
            let account = *dice.pick(self.accounts);
            match dice.below(100) {
                0..45 => drop(self.call(account, &mut dice).await),
                45..55 => self.grant(account, &mut dice).await,
                55..70 => drop(self.live(&mut dice, ledger::flush(app, account)).await),
                70..80 => drop(self.live(&mut dice, ledger::sweep(app)).await),
                80..90 => self.bank.wait(i64::try_from(dice.below(45)).unwrap()),
                _ => self.look(account).await,
            }
        }
    }

    async fn grant(&self, account: UserId, dice: &mut Dice) {
        let operation = *dice.pick(self.operations);
        let order = grant(Operation::granted(operation), 40);
        if let Some(entry) = self
            .live(dice, ledger::grant(&self.bank.app, account, &order))
            .await
        {
            self.told.lock().unwrap().granted.push(entry);
        }
    }

    /// The history is exact at every moment, not only at rest.
    async fn look(&self, account: UserId) {
        let page = camarad::store::PageRequest::parse(Some("100"), None).unwrap();
        let Ok(page) = ledger::entries(&self.bank.app, account, &page).await else {
            return;
        };
        if page.next_cursor.is_none() {
            let mut entries = page.items;
            entries.reverse();
            chain(&entries);
        }
    }

    /// A driver: reserves, checkpoints, bills, ends, and may die anywhere.
    async fn call(&self, account: UserId, dice: &mut Dice) -> Option<()> {
        let app = &self.bank.app;
        let mut request = self
            .bank
            .request(account, 1 + i64::try_from(dice.below(30)).unwrap());
        request.expires_at = app.clock().now() + SignedDuration::from_secs(20);
        let Reserve::Held(held) = self.live(dice, ledger::reserve(app, &request)).await? else {
            return None;
        };
        self.told.lock().unwrap().held.push(held.clone());
        let mut billable = Amount::ZERO;
        for _ in 0..dice.below(3) {
            billable = Amount::new(Cbt::micro(
                billable.cbt().as_micro() + i64::try_from(dice.below(15)).unwrap(),
            ))
            .unwrap();
            let expires_at = app.clock().now() + SignedDuration::from_secs(20);
            let progress = Progress {
                billable,
                usage: Some(Usage::default()),
                expires_at,
            };
            if self.live(dice, ledger::checkpoint(app, &held, &progress)).await? == Checkpoint::Over {
                break;
            }
            self.idle(dice).await;
        }
        let charge = self.bill(&held, billable, dice).await?;
        for _ in 0..=dice.below(2) {
            let ended = self.live(dice, ledger::end(app, &held, charge)).await?;
            self.told.lock().unwrap().ended.push((held.call, ended));
        }
        Some(())
    }

    async fn idle(&self, dice: &mut Dice) {
        for _ in 0..dice.below(4) {
            tokio::task::yield_now().await;
        }
    }

    /// Writes the bill, and answers the charge that counts: this one, or the one of whoever was faster.
    async fn bill(&self, held: &Reservation, billable: Amount, dice: &mut Dice) -> Option<Amount> {
        let app = &self.bank.app;
        let bill = self.bank.bill(held, billable.cbt().as_micro());
        let work = async {
            match self.bank.write_bill(&bill).await {
                Ok(()) => Ok(bill.charge),
                Err(Error::Conflict {
                    code: ALREADY_BILLED, ..
                }) => Ok(ledger::decided(app, held.call)
                    .await?
                    .expect("a bill that refused another")
                    .charge),
                Err(error) => Err(error),
            }
        };
        self.live(dice, work).await
    }
}

async fn prove(seed: u64, faults_per_mille: u32, mortal: bool) {
    let bank = Bank::seeded(seed).await;
    let mut dice = Dice::new(seed);
    let accounts = [bank.account(100).await, bank.account(35).await];
    let operations: Vec<_> = (0..4).map(|_| OperationId::new(bank.app.clock())).collect();
    let told = Mutex::default();
    let program = Program {
        bank: &bank,
        accounts: &accounts,
        operations: &operations,
        told: &told,
        mortal,
    };
    bank.faults.rate(faults_per_mille);
    join_all((0..6).map(|_| program.task(dice.split(), 14))).await;
    bank.come_to_rest(&accounts).await;
    let mut entries = Vec::new();
    for account in accounts {
        entries.extend(bank.audit(account).await);
    }
    let told = told.into_inner().unwrap();
    for held in told.held {
        let entry = entries
            .iter()
            .find(|e| e.operation == format!("hold:{}", held.call))
            .expect("a hold that was told");
        assert_eq!((entry.seq, entry.held), (held.seq, held.held.cbt()));
    }
    for (call, ended) in told.ended {
        let entry = entries
            .iter()
            .find(|e| e.operation == format!("end:{call}"))
            .expect("an end that was told");
        assert_eq!(
            (entry.seq, -entry.delta, entry.balance),
            (ended.end.seq, ended.end.charge.cbt(), ended.end.balance)
        );
    }
    for granted in told.granted {
        assert!(entries.contains(&granted), "a grant that was told");
    }
}

async fn seeds(first: u64, count: u64, faults_per_mille: u32, mortal: bool) {
    each(first..first + count * share(), |seed| {
        prove(seed, faults_per_mille, mortal)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_are_right_after_any_program() {
    seeds(1, 1, 0, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_are_right_though_drivers_die() {
    seeds(10_000, 2, 0, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_are_right_though_the_table_fails_and_drivers_die() {
    seeds(20_000, 3, 100, true).await;
}
