//! The end of a hold: charged, released or expired. All three are one operation, so exactly one wins.

use super::Tries;
use super::entry::{Entry, Kind};
use super::flush::make_room;
use super::head::{Head, Movement, Name, ROOM_TO_END, movement};
use super::hold::{End, Hold, HoldState, Reservation};
use crate::app::App;
use crate::error::{Error, Result};
use crate::money::{Amount, Cbt};
use crate::store::keys;
use crate::store::{Cond, Outcome};

/// How a hold ended, whoever ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What this caller wanted to charge beyond the hold, and did not get: Camarad's loss, for a metric.
    pub excess: Amount,
}

/// Ends a hold with a charge; what was held beyond it is free again. A repetition, or an end that comes after
/// another's, answers how the hold ended the first time.
///
/// The charge is the one of the call's bill; without a bill (the call never went upstream and nothing was checkpointed
/// as billable) it is zero.
///
/// # Errors
/// `Unavailable` when the table does not answer; ending again is safe.
pub async fn end(app: &App, reservation: &Reservation, charge: Amount) -> Result<Ended> {
    close(app, reservation, charge, Kind::Release).await
}

/// `end`, with the kind of entry that a charge of zero makes.
pub(super) async fn close(app: &App, r: &Reservation, wanted: Amount, empty: Kind) -> Result<Ended> {
    let (charge, excess) = r.clamp(wanted);
    let (hold, end) = (Name::Hold(r.call), Name::End(r.call));
    let mut fence = None;
    let mut tries = Tries::begin();
    loop {
        let closing = Movement {
            kind: if charge == Amount::ZERO {
                empty
            } else {
                Kind::Consume
            },
            delta: -charge.cbt(),
            held: -r.held.cbt(),
            at: app.clock().now(),
            until: None,
            memo: Some(r.memo.clone()),
            reason: None,
        };
        // While the hold is in the journal its end cannot have left it: a flush takes both or only the hold.
        let once = match fence {
            None => Cond::exists(["ops", &hold.to_string()]),
            Some(rev) => Cond::eq("rev", rev)?,
        };
        let update = movement(r.account, &end, &closing, ROOM_TO_END)?.when(once);
        let head: Head = match app.db().update(&update).await? {
            Outcome::Applied(doc) | Outcome::Refused(Some(doc)) => doc.read()?,
            Outcome::Refused(None) => return Err(Error::internal("a hold on a ledger that does not exist")),
        };
        head.known()?;
        if let Some(entry) = head.entry(&end) {
            return Ok(Ended {
                end: of_entry(&entry)?,
                excess,
            });
        }
        if head.jn >= ROOM_TO_END {
            make_room(app, &head).await?;
            tries.wait().await?;
        } else if fence.is_some() {
            tries.wait().await?;
        }
        // Read after the head: an end that was flushed before `rev` shows in the row, a later one moves `rev`.
        let row = app.db().get::<Hold>(&keys::hold(r.call)).await?;
        if let Some(end) = row
            .as_ref()
            .filter(|h| h.state == HoldState::Ended)
            .and_then(|h| h.end.clone())
        {
            return Ok(Ended { end, excess });
        }
        if row.is_none() && head.entry(&hold).is_none() {
            return Err(Error::internal("the end of a hold that was never made"));
        }
        fence = head.entry(&hold).is_none().then_some(head.rev);
    }
}

pub(super) fn of_entry(entry: &Entry) -> Result<End> {
    let charge = Amount::new(Cbt::micro(-entry.delta.as_micro())).map_err(Error::internal)?;
    Ok(End {
        entry: entry.entry,
        charge,
        seq: entry.seq,
        balance: entry.balance,
    })
}
