//! The simple ledger.

use std::collections::{BTreeMap, BTreeSet};

use camarad::domain::ledger::Reservation;
use camarad::ids::CallId;
use jiff::Timestamp;

/// A running call.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) held: i64,
    pub(super) place: usize,
    pub(super) counted: bool,
    pub(super) billable: i64,
    pub(super) expires: Timestamp,
    pub(super) reservation: Reservation,
}

/// What is left of an expired lot, for the calls that ran when it expired.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) amount: i64,
    pub(super) covers: BTreeSet<CallId>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// `None` once it was taken away while counted calls ran.
    pub(super) limit: Option<i64>,
    pub(super) used: i64,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// What never expires.
    pub(super) free: i64,
    pub(super) lots: BTreeMap<i64, i64>,
    pub(super) rests: Vec<Rest>,
    pub(super) calls: BTreeMap<CallId, Open>,
    pub(super) limits: BTreeMap<usize, Limit>,
    pub(super) used: i64,
    pub(super) quota: i64,
    /// What has been charged and not refunded, by call.
    pub(super) charged: BTreeMap<CallId, i64>,
}

impl Model {
    pub(super) fn balance(&self) -> i64 {
        let rests: i64 = self.rests.iter().map(|r| r.amount).sum();
        self.free + self.lots.values().sum::<i64>() + rests
    }

    pub(super) fn held(&self) -> i64 {
        self.calls.values().map(|c| c.held).sum()
    }

    pub(super) fn left(&self, place: usize) -> Option<i64> {
        let limit = self.limits.get(&place)?;
        let counted = self.calls.values().filter(|c| c.place == place && c.counted);
        Some(limit.limit? - limit.used - counted.map(|c| c.held).sum::<i64>())
    }

    /// Burns lots, soonest first, then what never expires.
    pub(super) fn burn(&mut self, mut n: i64) {
        for lot in self.lots.values_mut() {
            let burnt = n.min(*lot);
            *lot -= burnt;
            n -= burnt;
        }
        self.lots.retain(|_, left| *left > 0);
        self.free -= n;
        assert!(self.free >= 0);
    }

    /// Nobody keeps more of what expired than the calls that ran then still hold; the oldest comes first.
    fn trim(&mut self) {
        let mut before = 0;
        for rest in &mut self.rests {
            let held: i64 = rest
                .covers
                .iter()
                .filter_map(|c| self.calls.get(c))
                .map(|c| c.held)
                .sum();
            rest.amount = rest.amount.min((held - before).max(0));
            before += rest.amount;
        }
        self.rests.retain(|r| r.amount > 0);
    }

    pub(super) fn expire(&mut self, now: i64) {
        while let Some((&at, &amount)) = self.lots.first_key_value() {
            if at > now {
                return;
            }
            self.lots.remove(&at);
            let covers = self.calls.keys().copied().collect();
            self.rests.push(Rest { amount, covers });
            self.trim();
        }
    }

    pub(super) fn end(&mut self, call: CallId, charge: i64) {
        let open = self.calls.remove(&call).unwrap();
        let mut left = charge;
        for rest in self.rests.iter_mut().filter(|r| r.covers.contains(&call)) {
            let borne = left.min(rest.amount);
            rest.amount -= borne;
            left -= borne;
        }
        self.burn(left);
        self.trim();
        self.used += charge;
        if let Some(limit) = self.limits.get_mut(&open.place).filter(|_| open.counted) {
            limit.used += charge;
        }
        if charge > 0 {
            self.charged.insert(call, charge);
        }
    }
}
