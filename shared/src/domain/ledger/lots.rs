//! Lots: the part of a balance that expires. Pure; the head stores them, and rewrites them only when one comes or goes.
//!
//! What is consumed burns the lot that expires soonest, and what never expires last. A lot that expires while calls run
//! leaves the balance but for what their holds cover: that part is *due*, belongs to those holds alone, and leaves as
//! they end.

use serde::{Deserialize, Serialize};

use crate::money::{self, Cbt};

/// How many lots an account has at most. One more joins the two whose times lie closest, at the later time: nothing
/// expires sooner than was promised.
pub(super) const MOST: usize = 8;

/// cbT that expires together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lot {
    /// What is left of it.
    #[serde(with = "money::stored")]
    pub(super) amount: Cbt,
    /// From when it cannot be spent, Unix seconds.
    pub(super) expires: i64,
    /// Until when it was granted, if it stays until `expires` for want of a next period, Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ends: Option<i64>,
}

impl Lot {
    /// One that stays for that many seconds after its end unless a period is granted that begins then or later.
    pub(super) fn of(amount: Cbt, ends: i64, grace: i64) -> Self {
        Self {
            amount,
            expires: ends.saturating_add(grace),
            ends: (grace > 0).then_some(ends),
        }
    }

    fn granted_until(&self) -> i64 {
        self.ends.unwrap_or(self.expires)
    }

    /// From when it cannot be spent as things are at `now`: the grace counts once it has begun.
    pub(super) fn leaves(&self, now: i64) -> i64 {
        self.ends.filter(|ends| now < *ends).unwrap_or(self.expires)
    }

    /// Takes in one that expires no later: nothing goes sooner than was promised.
    fn join(&mut self, other: &Self) {
        let until = self.granted_until().max(other.granted_until());
        self.amount = plus(self.amount, other.amount);
        self.ends = (until < self.expires).then_some(until);
    }
}

/// What is left of an expired lot: covered by holds that were made before it expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Due {
    /// What is left of it. With what older ones leave, never more than `held`.
    #[serde(with = "money::stored")]
    pub(super) amount: Cbt,
    /// When the lot expired, Unix seconds.
    pub(super) expires: i64,
    /// What the holds that may still be charged to it have set aside.
    #[serde(with = "money::stored")]
    pub(super) held: Cbt,
    /// The last entry before it expired: later holds have no part in it.
    pub(super) seq: u64,
}

/// What leaves the balance because a lot expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) amount: Cbt,
    /// When the lot expired, Unix seconds.
    pub(super) expires: i64,
}

/// A hold that ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// The number of its entry.
    pub(super) seq: u64,
    pub(super) held: Cbt,
    pub(super) charge: Cbt,
}

/// The lots of an account, soonest first, and what is due of those that expired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Lots {
    pub(super) lots: Vec<Lot>,
    pub(super) dues: Vec<Due>,
}

fn less(from: &mut Cbt, most: Cbt) -> Cbt {
    let taken = (*from).min(most).max(Cbt::ZERO);
    *from = Cbt::micro(from.as_micro() - taken.as_micro());
    taken
}

fn plus(a: Cbt, b: Cbt) -> Cbt {
    Cbt::micro(a.as_micro() + b.as_micro())
}

impl Lots {
    /// Takes what was consumed out of the lots, soonest first; the rest burnt what never expires.
    pub(super) fn burn(&mut self, mut consumed: Cbt) {
        for lot in &mut self.lots {
            let burnt = less(&mut lot.amount, consumed);
            less(&mut consumed, burnt);
        }
        self.lots.retain(|lot| lot.amount > Cbt::ZERO);
    }

    /// Adds a lot.
    pub(super) fn insert(&mut self, new: Lot) {
        match self.lots.binary_search_by_key(&new.expires, |lot| lot.expires) {
            Ok(same) => {
                if let Some(lot) = self.lots.get_mut(same) {
                    lot.join(&new);
                }
            }
            Err(at) => self.lots.insert(at, new),
        }
        if self.lots.len() > MOST {
            self.join();
        }
    }

    fn join(&mut self) {
        let gaps = self.lots.windows(2).map(|w| match w {
            [a, b] => b.expires.saturating_sub(a.expires),
            _ => i64::MAX,
        });
        let closest = gaps.enumerate().min_by_key(|(_, gap)| *gap).map(|(at, _)| at);
        if let Some(at) = closest {
            let first = self.lots.remove(at);
            if let Some(second) = self.lots.get_mut(at) {
                second.join(&first);
            }
        }
    }

    /// A period that begins at `start` was granted, or none will be: what was granted until then at most, and stayed for
    /// want of it, has expired when it was to. It leaves as everything does that has expired: nothing is set aside until
    /// it has, and what holds cover of it stays theirs.
    pub(super) fn close(&mut self, start: i64) {
        for mut lot in std::mem::take(&mut self.lots) {
            if let Some(ends) = lot.ends.filter(|ends| *ends <= start) {
                (lot.expires, lot.ends) = (ends, None);
            }
            self.insert(lot);
        }
    }

    /// Whether `close` would change anything.
    pub(super) fn closes(&self, start: i64) -> bool {
        self.lots
            .iter()
            .any(|lot| lot.ends.is_some_and(|ends| ends <= start))
    }

    /// Takes out what has expired at `now`: what leaves the balance at once, lot by lot. What `held` covers (all that is
    /// held then, by holds up to entry `seq`) becomes due.
    pub(super) fn expire(&mut self, now: i64, held: Cbt, seq: u64) -> Vec<Gone> {
        let mut gone = Vec::new();
        while let Some(lot) = self.lots.first().copied().filter(|lot| lot.expires <= now) {
            self.lots.remove(0);
            let due = Due {
                amount: lot.amount,
                expires: lot.expires,
                held,
                seq,
            };
            self.dues.push(due);
            self.trim(&mut gone);
        }
        gone
    }

    /// The end of a hold: how much of its charge what was due has borne, and what leaves the balance with it.
    pub(super) fn end(&mut self, hold: Ending) -> (Cbt, Vec<Gone>) {
        let mut left = hold.charge;
        for due in self.dues.iter_mut().filter(|due| hold.seq <= due.seq) {
            less(&mut due.held, hold.held);
            let borne = less(&mut due.amount, left);
            less(&mut left, borne);
        }
        let mut gone = Vec::new();
        self.trim(&mut gone);
        (Cbt::micro(hold.charge.as_micro() - left.as_micro()), gone)
    }

    /// Cuts what is due down to what holds still cover, the latest first.
    fn trim(&mut self, gone: &mut Vec<Gone>) {
        let mut before = Cbt::ZERO;
        for due in &mut self.dues {
            let room = Cbt::micro((due.held.as_micro() - before.as_micro()).max(0));
            let excess = Cbt::micro((due.amount.as_micro() - room.as_micro()).max(0));
            let amount = less(&mut due.amount, excess);
            if amount > Cbt::ZERO {
                gone.push(Gone {
                    amount,
                    expires: due.expires,
                });
            }
            before = plus(before, due.amount);
        }
        self.dues.retain(|due| due.amount > Cbt::ZERO);
    }

    /// When the next lot expires.
    pub(super) fn next(&self) -> Option<i64> {
        self.lots.first().map(|lot| lot.expires)
    }

    /// All of it: the part of the balance that does not stay for good.
    pub(super) fn total(&self) -> Cbt {
        let lots = self.lots.iter().map(|lot| lot.amount);
        let dues = self.dues.iter().map(|due| due.amount);
        Cbt::micro(lots.chain(dues).map(Cbt::as_micro).sum())
    }
}

#[cfg(test)]
#[path = "lots_tests.rs"]
mod tests;
