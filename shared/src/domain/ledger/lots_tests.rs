//! The lots against a naive model that keeps every micro-cbT's own time of expiry, and burns at each charge.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Cbt, Ending, Lot, Lots, MOST};

fn micro(n: i64) -> Cbt {
    Cbt::micro(n)
}

fn lot(n: i64, expires: i64) -> Lot {
    Lot::of(micro(n), expires, 0)
}

#[test]
fn what_expires_soonest_burns_first_and_what_never_does_last() {
    let mut lots = Lots::default();
    lots.insert(lot(5, 30));
    lots.insert(lot(7, 10));
    lots.insert(lot(2, 10));
    lots.burn(micro(10));
    assert_eq!(
        lots.lots
            .iter()
            .map(|l| (l.amount, l.expires))
            .collect::<Vec<_>>(),
        [(micro(4), 30)]
    );
    lots.burn(micro(10));
    assert_eq!(lots, Lots::default());
}

#[test]
fn of_an_expired_lot_running_calls_keep_what_they_hold() {
    let mut lots = Lots::default();
    lots.insert(lot(100, 10));
    assert_eq!(lots.expire(9, micro(80), 5), [], "not yet");
    let gone = lots.expire(10, micro(80), 5);
    assert_eq!((gone.len(), gone[0].amount), (1, micro(20)));
    let later = Ending {
        seq: 6,
        held: micro(10),
        charge: micro(10),
    };
    assert_eq!(
        lots.end(later),
        (Cbt::ZERO, vec![]),
        "a later hold has no part in it"
    );
    let first = Ending {
        seq: 4,
        held: micro(50),
        charge: micro(20),
    };
    let (borne, gone) = lots.end(first);
    assert_eq!((borne, gone[0].amount), (micro(20), micro(30)));
    let last = Ending {
        seq: 5,
        held: micro(30),
        charge: micro(30),
    };
    assert_eq!(lots.end(last), (micro(30), vec![]));
    assert_eq!(lots, Lots::default());
}

#[test]
fn a_lot_too_many_joins_its_neighbour_at_the_later_time() {
    let mut lots = Lots::default();
    for n in 0..10 {
        lots.insert(lot(1, 100 * n));
    }
    lots.insert(lot(1, 401));
    assert_eq!(lots.lots.len(), MOST);
    assert_eq!(lots.total(), micro(11));
    assert!(lots.lots.iter().all(|l| l.expires != 400), "{lots:?}");
}

#[test]
fn what_stays_for_want_of_a_period_goes_with_the_first_that_begins_then() {
    let mut lots = Lots::default();
    lots.insert(Lot::of(micro(3), 10, 7));
    lots.insert(Lot::of(micro(4), 20, 7));
    lots.insert(lot(5, 16));
    assert!(!lots.closes(9));
    lots.close(9);
    let told = |lots: &Lots| -> Vec<_> { lots.lots.iter().map(|l| (l.amount, l.expires)).collect() };
    assert_eq!(told(&lots), [(micro(5), 16), (micro(3), 17), (micro(4), 27)]);
    assert!(lots.closes(10));
    lots.close(10);
    assert_eq!(told(&lots), [(micro(3), 10), (micro(5), 16), (micro(4), 27)]);
    assert!(!lots.closes(10), "once");
    assert_eq!(lots.expire(10, micro(0), 1).len(), 1);
    // What shows is the end, and the grace once that has begun.
    let last = lots.lots[1];
    assert_eq!((last.leaves(19), last.leaves(20)), (20, 27));
}

#[test]
fn lots_that_are_joined_end_as_late_as_the_later() {
    let mut lots = Lots::default();
    lots.insert(Lot::of(micro(3), 10, 7));
    lots.insert(Lot::of(micro(4), 13, 4));
    assert_eq!((lots.lots[0].ends, lots.lots.len()), (Some(13), 1));
    lots.insert(lot(1, 17));
    lots.close(17);
    assert_eq!((lots.lots[0].amount, lots.lots[0].expires), (micro(8), 17));
}

/// What an account does.
#[derive(Debug, Clone)]
enum Act {
    Grant {
        amount: i64,
        after: Option<i64>,
        /// In slots of time.
        grace: i64,
    },
    /// A period begins, and what it succeeds goes.
    Begin,
    Hold(i64),
    End {
        which: usize,
        charge: i64,
    },
    Wait(i64),
    /// Writes the lots down, as a grant does.
    Settle,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (1..50_i64, prop::option::of(1..40_i64), 0..3_i64).prop_map(|(amount, after, grace)| Act::Grant {
            amount,
            after,
            grace
        }),
        Just(Act::Begin),
        (1..40_i64).prop_map(Act::Hold),
        (0..8_usize, 0..40_i64).prop_map(|(which, charge)| Act::End { which, charge }),
        (1..20_i64).prop_map(Act::Wait),
        Just(Act::Settle),
    ]
}

/// The head, as far as lots are concerned: burns late.
#[derive(Default)]
struct Lazy {
    lots: Lots,
    base: i64,
    posted: i64,
    held: i64,
    seq: u64,
}

impl Lazy {
    fn settle(&mut self) {
        self.lots.burn(micro(self.base - self.posted));
        self.base = self.posted;
    }

    fn gone(&mut self, gone: &[super::Gone]) -> Vec<(i64, i64)> {
        let gone: Vec<_> = gone.iter().map(|g| (g.expires, g.amount.as_micro())).collect();
        let sum: i64 = gone.iter().map(|(_, n)| n).sum();
        self.posted -= sum;
        self.base -= sum;
        gone
    }
}

/// An expired pile: the how manieth it was, and its time.
type Expired = (usize, i64);

/// One pile of cbT per time of expiry; a charge takes from the soonest at once.
#[derive(Default)]
struct Naive {
    /// By time of expiry; what never expires is at `i64::MAX`.
    piles: BTreeMap<i64, i64>,
    /// When piles with a grace end, by time of expiry.
    ends: BTreeMap<i64, i64>,
    /// Expired piles that holds cover, in the order in which they expired, each with its time.
    covered: BTreeMap<Expired, i64>,
    /// How many have expired.
    expired: usize,
    /// Number, amount, and the expired piles that it may be charged to.
    holds: Vec<(u64, i64, Vec<Expired>)>,
}

impl Naive {
    fn charge(&mut self, n: usize, charge: i64) -> Vec<(i64, i64)> {
        let (_, _, mine) = self.holds.remove(n);
        for _ in 0..charge {
            let covered = mine
                .iter()
                .find(|p| self.covered.get(p).is_some_and(|left| *left > 0));
            let pile = match covered {
                Some(pile) => self.covered.get_mut(pile),
                None => self.piles.values_mut().find(|left| **left > 0),
            };
            *pile.unwrap() -= 1;
        }
        self.uncovered()
    }

    /// What no hold covers any more leaves: older piles are covered first.
    fn uncovered(&mut self) -> Vec<(i64, i64)> {
        let mut gone = Vec::new();
        let mut before = 0;
        for (pile, left) in &mut self.covered {
            let by: i64 = self
                .holds
                .iter()
                .filter(|h| h.2.contains(pile))
                .map(|h| h.1)
                .sum();
            let stays = (*left).min((by - before).max(0));
            if *left > stays {
                gone.push((pile.1, *left - stays));
            }
            *left = stays;
            before += stays;
        }
        gone
    }

    /// `lot` is when it ends, and when it has gone at the latest.
    fn grant(&mut self, amount: i64, lot: Option<(i64, i64)>) {
        let pile = lot.map_or(i64::MAX, |(_, gone)| gone);
        if let Some((at, gone)) = lot {
            // Of two that go together, the later end counts; what is empty has none.
            let known = match self.piles.get(&gone) {
                Some(left) if *left > 0 => self.ends.get(&gone).map_or(gone, |ends| at.max(*ends)),
                _ => at,
            };
            self.ends.remove(&gone);
            if known < gone {
                self.ends.insert(gone, known);
            }
        }
        *self.piles.entry(pile).or_default() += amount;
    }

    fn begin(&mut self, now: i64) {
        let over: Vec<_> = self.ends.iter().filter(|(_, ends)| **ends <= now).collect();
        let over: Vec<_> = over.into_iter().map(|(at, ends)| (*at, *ends)).collect();
        for (at, ends) in over {
            self.ends.remove(&at);
            if let Some(left) = self.piles.remove(&at) {
                *self.piles.entry(ends).or_default() += left;
            }
        }
    }

    fn expire(&mut self, now: i64) -> Vec<(i64, i64)> {
        let mut gone = Vec::new();
        let due: Vec<_> = self.piles.range(..=now).map(|(k, v)| (*k, *v)).collect();
        for (pile, left) in due {
            self.piles.remove(&pile);
            if left > 0 {
                self.expired += 1;
                let pile = (self.expired, pile);
                self.covered.insert(pile, left);
                self.holds.iter_mut().for_each(|h| h.2.push(pile));
            }
            gone.extend(self.uncovered());
        }
        gone
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn burning_late_is_burning_at_once(acts in prop::collection::vec(act(), 1..60)) {
        let (mut lazy, mut naive, mut now) = (Lazy::default(), Naive::default(), 1_000);
        // As many different times as there may be lots, so that none are joined.
        let slot = |at: i64| at - at % 7;
        for act in acts {
            match act {
                Act::Grant { amount, after, grace } => {
                    lazy.seq += 1;
                    lazy.posted += amount;
                    lazy.settle_before(amount);
                    let expires = after.map(|n| slot(now + n)).filter(|at| *at > now);
                    if let Some(at) = expires {
                        lazy.lots.insert(Lot::of(micro(amount), at, 7 * grace));
                    }
                    naive.grant(amount, expires.map(|at| (at, at + 7 * grace)));
                }
                Act::Begin => {
                    lazy.settle();
                    lazy.lots.close(now);
                    naive.begin(now);
                    let gone = lazy.lots.expire(now, micro(lazy.held), lazy.seq);
                    let gone = lazy.gone(&gone);
                    prop_assert_eq!(gone, naive.expire(now));
                }
                Act::Hold(amount) if lazy.posted - lazy.held >= amount => {
                    lazy.seq += 1;
                    lazy.held += amount;
                    naive.holds.push((lazy.seq, amount, Vec::new()));
                }
                Act::End { which, charge } if which < naive.holds.len() => {
                    let (seq, held, _) = naive.holds[which];
                    let charge = charge.min(held);
                    lazy.seq += 1;
                    lazy.posted -= charge;
                    lazy.held -= held;
                    let ending = Ending { seq, held: micro(held), charge: micro(charge) };
                    let (borne, gone) = lazy.lots.end(ending);
                    lazy.base -= borne.as_micro();
                    let gone = lazy.gone(&gone);
                    prop_assert_eq!(gone, naive.charge(which, charge));
                }
                Act::Wait(n) => {
                    now += n;
                    lazy.settle();
                    let gone = lazy.lots.expire(now, micro(lazy.held), lazy.seq);
                    let gone = lazy.gone(&gone);
                    prop_assert_eq!(gone, naive.expire(now));
                }
                Act::Settle => lazy.settle(),
                Act::Hold(_) | Act::End { .. } => {}
            }
            let total: i64 = naive.piles.values().chain(naive.covered.values()).sum();
            prop_assert_eq!(lazy.posted, total);
            prop_assert!(lazy.posted >= lazy.held, "what is held is there");
            let mut seen = lazy.lots.clone();
            seen.burn(micro(lazy.base - lazy.posted));
            prop_assert!(seen.total().as_micro() <= lazy.posted);
            prop_assert!(seen.lots.windows(2).all(|w| w[0].expires < w[1].expires));
            let left: Vec<_> = naive.piles.iter().filter(|(at, n)| **at < i64::MAX && **n > 0).map(|(at, n)| (*at, *n)).collect();
            let lots: Vec<_> = seen.lots.iter().map(|l| (l.expires, l.amount.as_micro())).collect();
            prop_assert_eq!(lots, left);
        }
    }
}

impl Lazy {
    /// As a grant does: burns what was consumed before it, and begins anew with it.
    fn settle_before(&mut self, amount: i64) {
        self.lots.burn(micro(self.base - (self.posted - amount)));
        self.base = self.posted;
    }
}
