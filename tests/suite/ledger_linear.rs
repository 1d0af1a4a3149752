//! Histories of eight clients on one account are linearizable: each hold, charge, grant and look at the balance happens at
//! one moment between its call and its answer, and the figures in each answer are those of that moment.
//!
//! `make test` runs ten seeds, `make proof` (CAMARAD_PROOF=50) five hundred; in every other one the table fails.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use camarad::domain::ledger::{self, Operation, Reservation, Reserve};
use camarad::error::Error;
use camarad::ids::{OperationId, UserId};
use camarad_tests::bank::{Bank, amount, grant};
use camarad_tests::dice::{Dice, each, share};
use camarad_tests::linear::{Op, Sequential, is_linearizable};
use futures_util::future::join_all;

/// What was asked and answered; amounts in micro-cbT.
#[derive(Debug, Clone, PartialEq)]
enum What {
    Held(i64),
    Refused {
        wanted: i64,
        posted: i64,
        available: i64,
    },
    Ended {
        call: usize,
        held: i64,
        charge: i64,
        balance: Option<i64>,
    },
    Granted {
        amount: i64,
        balance: Option<i64>,
    },
    Seen {
        posted: i64,
        available: i64,
    },
}

/// The ledger of one account, one operation after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Books {
    posted: i64,
    available: i64,
    ended: BTreeSet<usize>,
}

impl Sequential for Books {
    type What = What;

    fn after(&self, what: &What) -> Option<Self> {
        let mut next = self.clone();
        let right = match *what {
            What::Held(n) => {
                next.available -= n;
                next.available >= 0
            }
            What::Refused {
                wanted,
                posted,
                available,
            } => (posted, available) == (self.posted, self.available) && available < wanted,
            What::Ended {
                call,
                held,
                charge,
                balance,
            } => {
                next.posted -= charge;
                next.available += held - charge;
                next.ended.insert(call) && balance.is_none_or(|b| b == next.posted)
            }
            What::Granted { amount, balance } => {
                next.posted += amount;
                next.available += amount;
                balance.is_none_or(|b| b == next.posted)
            }
            What::Seen { posted, available } => (posted, available) == (self.posted, self.available),
        };
        right.then_some(next)
    }
}

struct Clients {
    bank: Bank,
    account: UserId,
    clock: AtomicU64,
    calls: AtomicU64,
    history: Mutex<Vec<Op<What>>>,
}

impl Clients {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn note(&self, called: u64, answered: u64, what: What) {
        let op = Op {
            called,
            answered,
            what,
        };
        self.history.lock().unwrap().push(op);
    }

    async fn client(&self, mut dice: Dice) {
        let mut open: Vec<Reservation> = Vec::new();
        for _ in 0..6 {
            match dice.below(10) {
                0..4 => open.extend(self.reserve(1 + i64::try_from(dice.below(12)).unwrap()).await),
                4..7 => match open.pop() {
                    Some(held) => self.end(&held, &mut dice).await,
                    None => self.look().await,
                },
                7 => self.grant(1 + i64::try_from(dice.below(9)).unwrap()).await,
                8 => drop(ledger::flush(&self.bank.app, self.account).await),
                _ => self.look().await,
            }
        }
    }

    async fn reserve(&self, n: i64) -> Option<Reservation> {
        let called = self.now();
        let answer = ledger::reserve(&self.bank.app, &self.bank.request(self.account, n)).await;
        let answered = self.now();
        match answer {
            Ok(Reserve::Held(held)) => {
                self.note(called, answered, What::Held(n));
                return Some(held);
            }
            Ok(Reserve::Refused(r)) => {
                let refused = What::Refused {
                    wanted: n,
                    posted: r.posted.as_micro(),
                    available: r.available.as_micro(),
                };
                self.note(called, answered, refused);
            }
            Err(Error::Unavailable(_)) => self.note(called, u64::MAX, What::Held(n)),
            Err(other) => panic!("{other:?}"),
        }
        None
    }

    async fn end(&self, held: &Reservation, dice: &mut Dice) {
        let n = held.held.cbt().as_micro();
        let charge = i64::try_from(dice.below(u64::try_from(n).unwrap() + 1)).unwrap();
        let call = usize::try_from(self.calls.fetch_add(1, Ordering::SeqCst)).unwrap();
        let called = self.now();
        let answer = ledger::end(&self.bank.app, held, amount(charge)).await;
        let answered = self.now();
        let (answered, balance) = match answer {
            Ok(ended) => (answered, Some(ended.end.balance.as_micro())),
            Err(Error::Unavailable(_)) => (u64::MAX, None),
            Err(other) => panic!("{other:?}"),
        };
        let ended = What::Ended {
            call,
            held: n,
            charge,
            balance,
        };
        self.note(called, answered, ended);
    }

    async fn grant(&self, n: i64) {
        let operation = Operation::granted(OperationId::new(self.bank.app.clock()));
        let called = self.now();
        let answer = ledger::grant(&self.bank.app, self.account, &grant(operation, n)).await;
        let answered = self.now();
        let (answered, balance) = match answer {
            Ok(entry) => (answered, Some(entry.balance.as_micro())),
            Err(Error::Unavailable(_)) => (u64::MAX, None),
            Err(other) => panic!("{other:?}"),
        };
        self.note(called, answered, What::Granted { amount: n, balance });
    }

    async fn look(&self) {
        let called = self.now();
        let Ok(seen) = ledger::balance(&self.bank.app, self.account).await else {
            return;
        };
        let answered = self.now();
        let what = What::Seen {
            posted: seen.balance.as_micro(),
            available: seen.available.as_micro(),
        };
        self.note(called, answered, what);
    }
}

async fn prove(seed: u64) {
    let bank = Bank::seeded(seed).await;
    let account = bank.account(30).await;
    let clients = Clients {
        bank,
        account,
        clock: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        history: Mutex::default(),
    };
    let mut dice = Dice::new(seed);
    clients
        .bank
        .faults
        .rate(if seed.is_multiple_of(2) { 0 } else { 100 });
    join_all((0..8).map(|_| clients.client(dice.split()))).await;
    let history = clients.history.into_inner().unwrap();
    let books = Books {
        posted: 30,
        available: 30,
        ended: BTreeSet::new(),
    };
    assert!(
        is_linearizable(&books, &history),
        "no order explains {history:#?}"
    );
    clients.bank.come_to_rest(&[account]).await;
    camarad_tests::bank::chain(&clients.bank.entries(account).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_of_eight_clients_are_linearizable() {
    each(0..10 * share(), prove).await;
}

#[test]
fn books_that_lie_are_found_out() {
    let op = |called, answered, what| Op {
        called,
        answered,
        what,
    };
    let books = Books {
        posted: 10,
        available: 10,
        ended: BTreeSet::new(),
    };
    let twice = [op(0, 1, What::Held(10)), op(2, 3, What::Held(10))];
    assert!(!is_linearizable(&books, &twice), "the same cbT held twice");
    let refused = What::Refused {
        wanted: 10,
        posted: 10,
        available: 10,
    };
    assert!(!is_linearizable(&books, &[op(0, 1, refused)]), "a false refusal");
    let seen = What::Seen {
        posted: 10,
        available: 10,
    };
    assert!(
        !is_linearizable(&books, &[op(0, 1, What::Held(4)), op(2, 3, seen)]),
        "a stale balance"
    );
}
