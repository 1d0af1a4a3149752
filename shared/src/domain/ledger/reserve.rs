//! Reserve: sets cbT aside for a call, in one round trip and without reading anything first.

use std::time::Duration;

use jiff::Timestamp;

use super::Tries;
use super::caps;
use super::entry::{Kind, Memo};
use super::expire::expire_of;
use super::flush::make_room;
use super::head::{Head, ROOM};
use super::hold::{Hold, Reservation};
use super::movement::{Movement, Name, movement};
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::{CallId, UserId};
use crate::money::{Cbt, Positive};
use crate::store::keys;
use crate::store::{Cond, Outcome, Update};

/// When somebody who was told that all cbT is held may ask again: about the length of a call.
const HELD_RETRY: Duration = Duration::from_secs(5);

/// What a call wants to set aside.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Who pays.
    pub account: UserId,
    /// The call. A fresh id: reserving is not repeated under an id whose outcome is unknown.
    pub call: CallId,
    /// How much.
    pub amount: Positive,
    /// For whom.
    pub memo: Memo,
    /// When the hold ends by itself unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether the workspace is thought to have an allocation on this account. The head knows; a wrong guess costs one
    /// more round trip.
    pub capped: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reserve {
    /// It is set aside.
    Held(Reservation),
    /// There is not that much. Asking for less may succeed.
    Refused(Refused),
}

/// Why there was no hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// What was wanted.
    pub wanted: Positive,
    /// The balance.
    pub posted: Cbt,
    /// The part of it that no other call holds, and that the workspace may draw.
    pub available: Cbt,
    /// What the workspace has not used of its allocation, if it has one.
    pub unspent: Option<Cbt>,
}

impl Refused {
    /// The account is empty, the workspace's allocation is used up, or other calls hold what there is.
    pub fn error(&self) -> Error {
        if self.posted < self.wanted.cbt() {
            Error::InsufficientCbt
        } else if self.unspent.is_some_and(|unspent| unspent < self.wanted.cbt()) {
            Error::AllocationExhausted
        } else {
            Error::CbtHeld {
                retry_after: HELD_RETRY,
            }
        }
    }
}

/// Sets cbT aside for a call.
///
/// # Errors
/// `SubscriptionRequired` when the account has no ledger or its time is over; `Unavailable` when the outcome could
/// not be learnt (then nothing is held for longer than the hold's own life).
pub async fn reserve(app: &App, request: &HoldRequest) -> Result<Reserve> {
    let name = Name::Hold(request.call);
    let mut tries = Tries::begin();
    let mut capped = request.capped;
    loop {
        let now = app.clock().now();
        let update = setting_aside(request, &name, capped, now)?;
        // Sent once: a repetition after a flush would not meet its own operation in the journal, and hold twice.
        let head: Head = match app.db().update_once(&update).await {
            Ok(Outcome::Applied(doc) | Outcome::Refused(Some(doc))) => doc.read()?,
            Ok(Outcome::Refused(None)) => return Err(Error::SubscriptionRequired),
            Err(Error::Unavailable(cause)) => return find_out(app, request, cause).await,
            Err(error) => return Err(error),
        };
        head.known()?;
        if let Some(held) = held(&head, request) {
            return Ok(Reserve::Held(held));
        }
        if !head.may_spend(now) {
            return Err(Error::SubscriptionRequired);
        }
        if !head.lots_stand(now) {
            expire_of(app, &head).await?;
            tries.wait().await?;
            continue;
        }
        let cap = caps::known(&head, request.memo.workspace());
        if cap.is_some() != capped {
            capped = cap.is_some();
            continue;
        }
        let available = cap.map_or(head.avail, |cap| head.avail.min(cap.left));
        if available < request.amount.cbt() {
            return Ok(Reserve::Refused(Refused {
                wanted: request.amount,
                posted: head.posted,
                available,
                unspent: cap.map(|cap| cap.unspent()),
            }));
        }
        // The journal is full.
        make_room(app, &head).await?;
        tries.wait().await?;
    }
}

fn setting_aside(request: &HoldRequest, name: &Name, capped: bool, now: Timestamp) -> Result<Update> {
    let amount = request.amount.cbt();
    let hold = Movement {
        held: amount,
        until: Some(request.expires_at),
        capped,
        memo: Some(request.memo.clone()),
        ..Movement::of(Kind::Hold, now)
    };
    let live = Cond::absent("until").or(Cond::gt("until", now.as_second())?);
    let lots = Cond::absent("lotEnd").or(Cond::gt("lotEnd", now.as_second())?);
    let update = movement(request.account, name, &hold, ROOM)?
        .when(Cond::ge("avail", amount.as_micro())?)
        .when(live)
        .when(lots);
    let workspace = request.memo.workspace();
    let id = workspace.to_string();
    if !capped {
        return Ok(update.when(Cond::absent(["caps", &id])));
    }
    let update = update.when(Cond::ge(["caps", &id, "left"], amount.as_micro())?);
    caps::count(update, workspace, (-amount.as_micro(), 0))
}

fn held(head: &Head, request: &HoldRequest) -> Option<Reservation> {
    let name = Name::Hold(request.call);
    let entry = head.entry(&name)?;
    Some(Reservation {
        capped: head.ops.get(&name.to_string())?.capped,
        account: request.account,
        call: request.call,
        held: request.amount,
        memo: request.memo.clone(),
        seq: entry.seq,
        at: entry.at,
        expires_at: request.expires_at,
    })
}

/// The answer was lost: looks whether the hold was made. A request that arrives after this look makes a hold that
/// nobody knows; it expires by itself.
async fn find_out(app: &App, request: &HoldRequest, cause: crate::error::Cause) -> Result<Reserve> {
    // In this order: a flush writes the row before it takes the operation out of the head.
    let head = app.db().get::<Head>(&keys::ledger_head(request.account)).await?;
    if let Some(held) = head.and_then(|h| held(&h, request)) {
        return Ok(Reserve::Held(held));
    }
    match app.db().get::<Hold>(&keys::hold(request.call)).await? {
        Some(hold) => Ok(Reserve::Held(hold.reservation())),
        None => Err(Error::Unavailable(cause)),
    }
}
