//! Reserve: sets cbT aside for a call, in one round trip and without reading anything first.
//!
//! An attempt whose answer is lost is made void (`voids`) unless it was made; only then is another one sent, under a fence.

use std::time::Duration;

use jiff::Timestamp;

use super::Tries;
use super::caps;
use super::entry::{Kind, Memo};
use super::expire::expire_of;
use super::flush::make_room;
use super::head::{Head, ROOM};
use super::hold::{Reservation, find};
use super::movement::{Movement, Name, movement};
use super::voids;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::{CallId, UserId};
use crate::money::{Cbt, Positive};
use crate::store::{Cond, Outcome, Update};

/// When somebody who was told that all cbT is held may ask again: about the length of a call.
const HELD_RETRY: Duration = Duration::from_secs(5);

/// What a call wants to set aside.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Who pays.
    pub account: UserId,
    /// The call. A fresh id: one that was reserved for, whatever came of it, is not used again.
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
    let mut fence = None;
    loop {
        let mut moved = false;
        let now = app.clock().now();
        let update = setting_aside(request, &name, capped, now)?;
        let head = match attempt(app, request, update, fence).await? {
            Attempt::Answered(head) => head,
            Attempt::Held(held) => return Ok(Reserve::Held(held)),
            Attempt::Never(rev) => {
                fence = Some(rev);
                continue;
            }
        };
        if let Some(held) = held(&head, request) {
            return Ok(Reserve::Held(held));
        }
        if fence.is_none() && head.voids.contains_key(&request.call.to_string()) {
            // An earlier request for this call got lost before it was refused.
            fence = Some(head.rev);
            continue;
        }
        if fence.is_some() {
            // Read after the head: a hold that left it before `rev` has its row, a later one moves `rev`.
            if let Some(hold) = find(app, request.call).await? {
                return Ok(Reserve::Held(hold.reservation()));
            }
            moved = fence.replace(head.rev) != Some(head.rev);
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
        if head.jn >= ROOM {
            make_room(app, &head).await?;
            tries.wait().await?;
        } else if !moved {
            tries.wait().await?;
        }
    }
}

/// What became of one attempt.
pub(super) enum Attempt {
    /// The engine answered, with the head as it stands.
    Answered(Head),
    /// Its answer was lost, and it was made.
    Held(Reservation),
    /// Its answer was lost; it was not made and never will be. The head's `rev` since.
    Never(u64),
}

async fn attempt(app: &App, request: &HoldRequest, update: Update, fence: Option<u64>) -> Result<Attempt> {
    let answer = match fence {
        Some(rev) => app.db().update(&update.when(Cond::eq("rev", rev)?)).await?,
        // Sent once: a repetition after a flush would not meet its own operation in the journal, and hold twice.
        None => {
            let unless_void = update.when(Cond::absent(["voids", &request.call.to_string()]));
            match app.db().update_once(&unless_void).await {
                Err(Error::Unavailable(_)) => return voids::find_out(app, request).await,
                answered => answered?,
            }
        }
    };
    let head: Head = match answer {
        Outcome::Applied(doc) | Outcome::Refused(Some(doc)) => doc.read()?,
        Outcome::Refused(None) => return Err(Error::SubscriptionRequired),
    };
    head.known()?;
    Ok(Attempt::Answered(head))
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

pub(super) fn held(head: &Head, request: &HoldRequest) -> Option<Reservation> {
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
