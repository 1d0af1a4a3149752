//! The cbT ledger: what an account has, holds and has spent. Nothing is spent twice, and nothing is minted.
//!
//! One item per account, the *head*, has the balance (`posted`) and what no hold has set aside (`avail`). Every movement
//! is one conditional update of it, which also writes its own entry into the head's journal; number and running balance
//! come from the engine. No transaction ever names a head: concurrent ones on one item cancel each other.
//!
//! - `reserve` sets cbT aside for a call without reading first; it is sent once, and what came of a lost answer is learnt:
//!   either it was made, or it is made void.
//! - `checkpoint` renews a hold while its call lives, says what is billable so far, and hears whether to stop.
//! - `bill_tx` decides the charge: the first bill of a call stands, whether its driver or the sweeper wrote it.
//! - `end` settles, releases or expires: one operation per call, so exactly one wins. A hold that is still in the journal
//!   is its own fence (its end cannot have left before it); otherwise `rev` is, read before the hold's row.
//! - `flush` moves entries into rows (rows first, then the head, if no other flush was faster); `sweep` ends what died.
//! - `consume` charges for what a service of ours did: a call without a driver.
//! - `grant` brings cbT in, each under the name of an operation that happens once. What expires is a lot: the head burns
//!   lots late (soonest first, by what was consumed since they were written down), so a call never touches them.
//! - `expire` takes out what a lot has left when its time has come, but for what running calls hold of it. A period's lot
//!   stays for a grace after it, since the next one may be paid late; with the next one's grant (or `begin`, where that
//!   brings nothing by itself, or `close`, where none comes) it has expired, in the same update.
//!
//! Invariants (tests/suite/ledger*.rs): the deltas of all entries add up to the balance, their `held` to what is held;
//! `avail` is never below zero; numbers have no gap and each entry's balance is the one before plus its delta; every hold
//! ends, once; no operation moves anything twice.

mod bill;
mod caps;
mod consume;
mod entry;
mod expire;
pub mod export;
mod flush;
mod grant;
mod head;
mod history;
mod hold;
mod lots;
mod movement;
mod named;
mod operation;
mod order;
mod period;
mod refund;
mod reserve;
mod settle;
mod sweep;
mod voids;

pub use bill::{
    ALREADY_BILLED, Bill, CallStatus, USAGE_RECORDED, Usage, UsageRecorded, bill_tx, decided, usage_event_id,
};
pub use caps::{ALLOCATION_CHANGED, AllocationChanged, AllocationView, allocate, allocation};
pub use consume::{DebitOrder, DebitView, consume};
pub use entry::{Entry, EntryView, Kind, Memo};
pub use expire::{LotsSwept, expire, sweep_lots};
pub use flush::{Flushed, FlushedAll, flush, flush_all, is_due};
pub use grant::{Grant, Period, Until, allow, grant, has, open};
pub use history::{Balance, LotView, Standing, balance, entries, history, standing};
pub use hold::{Checkpoint, End, Hold, HoldState, Progress, Reservation, checkpoint, find, request_stop};
pub use operation::{LineReason, Operation};
pub use order::{
    GRANT_REQUESTED, GrantOrder, GrantView, RefundOrder, RefundView, on_event, order, order_refund,
};
pub use period::{begin, close};
pub use refund::{Adjust, Adjusted, REFUND_REQUESTED, Refund, adjust, refund};
pub use reserve::{HoldRequest, Refused, Reserve, reserve};
pub use settle::{Ended, end};
pub use sweep::{Swept, sweep};

use std::time::Duration;

use crate::clock::Stopwatch;
use crate::error::{Error, Result};
use crate::store::db::back_off;

/// How long a movement is tried that meets full journals and flushes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits between tries, and gives up at last.
struct Tries {
    watch: Stopwatch,
    made: u32,
}

impl Tries {
    fn begin() -> Self {
        Self {
            watch: Stopwatch::start(),
            made: 0,
        }
    }

    /// Waits a little, longer each time up to a third of a second.
    async fn wait(&mut self) -> Result<()> {
        if self.watch.elapsed() > PATIENCE {
            return Err(Error::Unavailable("the ledger kept being flushed".into()));
        }
        back_off(self.made.min(4)).await;
        self.made += 1;
        Ok(())
    }
}
