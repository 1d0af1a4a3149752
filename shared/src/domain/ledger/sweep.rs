//! The sweeper: ends holds whose driver died. It may run beside itself and beside a driver that lives after all.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};

use super::bill::{ALREADY_BILLED, Bill, CallStatus, bill_tx, decided, decision};
use super::entry::Kind;
use super::flush::flush;
use super::hold::{Hold, HoldState};
use super::settle::close;
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::Amount;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Outcome, Update};

/// How many expired holds of one shard are looked at in one run.
const PER_SHARD: u32 = 100;

/// How many are worked on at once.
const WIDTH: usize = 8;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Holds that the index showed as expired; it lags.
    pub seen: u32,
    /// Holds that were ended.
    pub ended: u32,
    /// Those of them that were charged.
    pub charged: u32,
    /// Holds that could not be ended; the next sweep tries again.
    pub failed: u32,
}

/// Ends every hold that has expired: with the charge of its bill if its driver wrote one, otherwise with what was
/// checkpointed, for which it writes the bill. Every step may be repeated.
///
/// # Errors
/// When the table does not answer. A hold that cannot be ended is logged and does not stop the others.
pub async fn sweep(app: &App) -> Result<Swept> {
    let mut swept = Swept::default();
    let mut accounts = BTreeSet::new();
    let until = keys::holds_until(app.clock().now());
    for shard in 0..keys::SHARDS {
        let hints = app
            .db()
            .hints(&keys::open_holds(shard), &until, PER_SHARD)
            .await?;
        let work: Vec<_> = hints.iter().map(|key| sweep_one(app, key)).collect();
        let mut done = stream::iter(work).buffer_unordered(WIDTH);
        while let Some(result) = done.next().await {
            swept.count(result, &mut accounts);
        }
    }
    for account in accounts {
        // Marks the holds as ended, so that the index forgets them; the stream would do it too.
        if let Err(error) = flush(app, account).await {
            tracing::warn!(error = %error, account = %account, "a ledger could not be flushed after a sweep");
        }
    }
    Ok(swept)
}

impl Swept {
    fn count(&mut self, result: Result<Option<(UserId, Amount)>>, accounts: &mut BTreeSet<UserId>) {
        self.seen += 1;
        match result {
            Ok(None) => {}
            Ok(Some((account, charge))) => {
                self.ended += 1;
                self.charged += u32::from(charge > Amount::ZERO);
                accounts.insert(account);
            }
            Err(error) => {
                self.failed += 1;
                tracing::error!(error = %error, cause = ?error, "an expired hold could not be ended");
            }
        }
    }
}

/// Ends one hold, if the table agrees with the index that it is due.
async fn sweep_one(app: &App, key: &Key) -> Result<Option<(UserId, Amount)>> {
    let now = app.clock().now();
    let Some(hold) = app.db().get::<Hold>(key).await?.filter(|h| h.is_due(now)) else {
        return Ok(None);
    };
    let Some(hold) = claim(app, hold).await? else {
        return Ok(None);
    };
    let bill = bill_of(app, &hold).await?;
    let empty = if bill.status == CallStatus::Expired {
        Kind::Expire
    } else {
        Kind::Release
    };
    let ended = close(app, &hold.reservation(), bill.charge, empty).await?;
    bill.tell_excess();
    Ok(Some((hold.account, ended.end.charge)))
}

/// Moves a hold from open to ending, unless it was renewed meanwhile: from then on its driver hears that it is over, and
/// what it has checkpointed stands still.
async fn claim(app: &App, hold: Hold) -> Result<Option<Hold>> {
    if hold.state == HoldState::Ending {
        return Ok(Some(hold));
    }
    let now = app.clock().now().as_millisecond();
    let update = Update::of(keys::hold(hold.call))
        .set("state", HoldState::Ending)?
        .when(Cond::eq("state", HoldState::Open)?)
        .when(Cond::le("expiresAt", now)?);
    let hold = match app.db().update(&update).await? {
        Outcome::Applied(doc) => doc.read::<Hold>()?,
        Outcome::Refused(Some(doc)) => doc.read::<Hold>()?,
        Outcome::Refused(None) => return Ok(None),
    };
    // Also when another sweeper was faster, or this one did not hear its own answer.
    Ok(Some(hold).filter(|h| h.state == HoldState::Ending))
}

/// The bill that fixes the charge: the driver's, if it came to write one, or one from the last checkpoint.
async fn bill_of(app: &App, hold: &Hold) -> Result<Bill> {
    if let Some(bill) = decided(app, hold.call).await? {
        return Ok(bill);
    }
    let now = app.clock().now();
    let bill = Bill {
        call: hold.call,
        account: hold.account,
        memo: hold.memo.clone(),
        charge: hold.billable,
        excess: hold.excess,
        usage: hold.usage.clone().unwrap_or_default(),
        status: CallStatus::Expired,
        estimated: true,
        at: now,
    };
    let cause = Context::system("sweeper", now);
    let went_upstream = hold.usage.is_some() || hold.billable > Amount::ZERO;
    let tx = if went_upstream {
        bill_tx(app.tx(&cause), &bill)?
    } else {
        decision(app.tx(&cause), &bill)?
    };
    match tx.run().await {
        Ok(()) => Ok(bill),
        Err(Error::Conflict {
            code: ALREADY_BILLED, ..
        }) => decided(app, hold.call)
            .await?
            .ok_or_else(|| Error::internal("a bill that was there is gone")),
        Err(error) => Err(error),
    }
}
