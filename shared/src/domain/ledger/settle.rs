//! The end of a hold: charged, released or expired. All three are one operation, so exactly one wins.

use super::Tries;
use super::caps;
use super::entry::{Entry, Kind};
use super::expire;
use super::flush::make_room;
use super::head::{Head, ROOM_TO_END};
use super::hold::{End, Hold, HoldState, Reservation};
use super::lots::{Ending, Lots};
use super::movement::{Movement, Name, movement, movements};
use crate::app::App;
use crate::error::{Error, Result};
use crate::money::{Amount, Cbt};
use crate::store::keys;
use crate::store::{Cond, Outcome, Update};

/// How a hold ended, whoever ended it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// What this caller wanted to charge beyond the hold, and did not get. A call's is with its bill.
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
    // Only a head of which something is due need be known to end a hold.
    let mut dues: Option<Head> = None;
    let mut counted = r.capped;
    let mut tries = Tries::begin();
    loop {
        let kind = if charge == Amount::ZERO {
            empty
        } else {
            Kind::Consume
        };
        let closing = Movement {
            delta: -charge.cbt(),
            held: -r.held.cbt(),
            memo: Some(r.memo.clone()),
            ..Movement::of(kind, app.clock().now())
        };
        // While the hold is in the journal its end cannot have left it: a flush takes both or only the hold.
        let once = match fence {
            None => Cond::exists(["ops", &hold.to_string()]),
            Some(rev) => Cond::eq("rev", rev)?,
        };
        let update = closing_update(r, (&end, &closing), dues.as_ref())?.when(once);
        let update = uncounted(update, r, charge, counted)?;
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
        } else if fence.is_some() || dues.is_some() {
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
        counted = r.capped && caps::known(&head, r.memo.workspace()).is_some();
        dues = Some(head).filter(|h| !h.due.is_empty());
    }
}

/// The update that ends a hold. Of a head of which something is due to expire with the holds that cover it (`dues`), what
/// this hold has covered leaves in the same update.
fn closing_update(
    r: &Reservation,
    (name, closing): (&Name, &Movement),
    dues: Option<&Head>,
) -> Result<Update> {
    let charge = -closing.delta.as_micro();
    let update = match dues {
        None => movement(r.account, name, closing, ROOM_TO_END)?.when(Cond::absent("due")),
        Some(head) => with_dues(r, (name, closing), head)?,
    };
    match charge {
        0 => Ok(update),
        charge => update.add("used", charge),
    }
}

/// Gives its workspace back what the hold had counted against the allocation, but for the charge.
fn uncounted(update: Update, r: &Reservation, charge: Amount, counted: bool) -> Result<Update> {
    if !counted {
        return Ok(update);
    }
    let workspace = r.memo.workspace();
    let (held, charge) = (r.held.cbt().as_micro(), charge.cbt().as_micro());
    let update = update.when(Cond::exists(["caps", &workspace.to_string()]));
    caps::count(update, workspace, (held - charge, charge))
}

fn with_dues(r: &Reservation, (name, closing): (&Name, &Movement), head: &Head) -> Result<Update> {
    let mut lots = Lots {
        lots: head.lots.clone(),
        dues: head.due.clone(),
    };
    let (borne, gone) = lots.end(Ending {
        seq: r.seq,
        held: r.held.cbt(),
        charge: -closing.delta,
    });
    let mut all = vec![(name.clone(), closing.clone())];
    all.extend(expire::entries(&gone, head.lv + 1, closing.at));
    let expired: i64 = all.iter().skip(1).map(|(_, m)| m.delta.as_micro()).sum();
    // The lots stay as they were written down: what they did not bear must not burn them.
    let base = head.base.unwrap_or(head.posted).as_micro() - borne.as_micro() + expired;
    let update = movements(r.account, &all, ROOM_TO_END)?;
    head.with_lots(update, &lots, Cbt::micro(base))
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
