//! The claim of an Idempotency-Key by a call that is about to run. Other writes commit their answer under the key in the
//! same transaction; a call cannot, as its effect begins before its answer is known. So the key is claimed first, for
//! one call id, and what became of that call is found by the id: its bill, or its hold while it runs.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::history::Turn;
use crate::app::App;
use crate::domain::ledger::{Bill, CallStatus, Hold};
use crate::error::{Error, Result};
use crate::ids::{CallId, ConversationId, UserId};
use crate::money::Amount;
use crate::store::keys::{self, Key};
use crate::store::once::{ONCE_LIFE, OnceKey};
use crate::store::{Cond, Entity, Outcome, Update};

/// How long a claim holds before its call has made a hold's row, which from then on tells that it runs. Everything in
/// between is bounded by time-outs that are shorter.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

/// When somebody who repeated a running call may ask again.
const RETRY: Duration = Duration::from_secs(5);

/// A claimed key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    user: UserId,
    hash: String,
    input: String,
    call: CallId,
    conversation: ConversationId,
    lease_until: Timestamp,
    expires_at: Timestamp,
}

impl Entity for Claim {
    const KIND: &'static str = "claim";
    fn key(&self) -> Key {
        keys::once(self.user, &self.hash)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq)]
pub enum Taken {
    /// This request's.
    Ours(Claim),
    /// An earlier request's, which was the same.
    Theirs(Claim),
}

/// What became of the call that claimed a key earlier.
pub(super) enum Seen {
    /// It ended, and its answer is stored.
    Answered(Box<(Bill, Turn)>),
    /// It runs, or its sweeper has not come yet.
    Running,
    /// It was charged, and its answer is lost.
    Lost,
    /// It left no answer and will not: it failed without a charge, or its function died.
    Abandoned,
}

/// No claim outlives the function that made it and is killed then: a key is free as soon as nobody can be at work
/// under it, at once if there was no time left.
fn lease(now: Timestamp, killed: Timestamp) -> Result<Timestamp> {
    Ok(now.checked_add(LEASE).map_err(Error::internal)?.min(killed))
}

/// Claims a key for a call, whose function is killed at `killed`.
///
/// # Errors
/// `KeyReused` when the key came with another request.
pub async fn take(
    app: &App,
    once: &OnceKey,
    call: CallId,
    conversation: ConversationId,
    (now, killed): (Timestamp, Timestamp),
) -> Result<Taken> {
    let claim = Claim {
        user: once.user(),
        hash: once.hash(),
        input: once.input().to_owned(),
        call,
        conversation,
        lease_until: lease(now, killed)?,
        expires_at: now.checked_add(ONCE_LIFE).map_err(Error::internal)?,
    };
    let free = Cond::item_absent().or(Cond::le("expiresAt", now)?);
    match app.db().update(&claim.write()?.when(free)).await? {
        Outcome::Applied(_) => Ok(Taken::Ours(claim)),
        Outcome::Refused(None) => Err(Error::Unavailable(
            "the key's record changed while it was claimed".into(),
        )),
        Outcome::Refused(Some(found)) => {
            if found.field::<String>("input")?.as_deref() != Some(once.input()) {
                return Err(Error::KeyReused);
            }
            let found: Claim = found.read()?;
            // The answer to our own claim got lost, and the SDK sent it again.
            Ok(if found.call == call {
                Taken::Ours(claim)
            } else {
                Taken::Theirs(found)
            })
        }
    }
}

impl Claim {
    fn write(&self) -> Result<Update> {
        Update::of(self.key())
            .set("kind", Self::KIND)?
            .set("user", self.user)?
            .set("hash", &self.hash)?
            .set("input", &self.input)?
            .set("call", self.call)?
            .set("conversation", self.conversation)?
            .set("leaseUntil", self.lease_until)?
            .set("expiresAt", self.expires_at)?
            .set("ttl", self.expires_at.as_second())
    }

    /// Looks what became of the call.
    pub(super) async fn look(&self, app: &App) -> Result<Seen> {
        let (bill, hold) = (keys::bill(self.call), keys::hold(self.call));
        let turn = keys::turn(self.conversation, self.call);
        let mut read = app
            .db()
            .batch(&[bill.clone(), hold.clone(), turn.clone()])
            .await?;
        let (bill, turn) = (read.read::<Bill>(&bill)?, read.read::<Turn>(&turn)?);
        let held = read.read::<Hold>(&hold)?.is_some();
        Ok(match (bill, turn) {
            (Some(bill), Some(turn)) => Seen::Answered(Box::new((bill, turn))),
            (Some(bill), None) if bill.charge > Amount::ZERO => Seen::Lost,
            (Some(bill), None) if matches!(bill.status, CallStatus::Failed | CallStatus::Expired) => {
                Seen::Abandoned
            }
            (Some(_), None) => Seen::Running,
            (None, _) if held || app.clock().now() < self.lease_until => Seen::Running,
            (None, _) => Seen::Abandoned,
        })
    }

    /// Takes an abandoned claim over for another call.
    ///
    /// # Errors
    /// `InProgress` when somebody else was faster.
    pub(super) async fn take_over(
        &self,
        app: &App,
        call: CallId,
        conversation: ConversationId,
        killed: Timestamp,
    ) -> Result<Claim> {
        let lease_until = lease(app.clock().now(), killed)?;
        let claim = Claim {
            call,
            conversation,
            lease_until,
            ..self.clone()
        };
        match app
            .db()
            .update(&claim.write()?.when(Cond::eq("call", self.call)?))
            .await?
        {
            Outcome::Applied(_) => Ok(claim),
            Outcome::Refused(_) => Err(in_progress()),
        }
    }

    /// Forgets the key: nothing was done under it. If this fails, the claim's lease ends by itself.
    pub async fn release(&self, app: &App) {
        let released = async { app.db().take(&self.key(), &Cond::eq("call", self.call)?).await };
        if let Err(error) = released.await {
            tracing::warn!(error = %error, call.id = %self.call, "a claimed key could not be released");
        }
    }
}

/// What a request hears whose call was charged while its answer was lost: the function that ran it died. To begin another
/// call under the same key would charge it twice.
pub(super) fn lost() -> Error {
    Error::Conflict {
        code: "call_lost",
        detail: "the call broke off when its function died, and what it had produced was charged: ask again with a new key"
            .into(),
    }
}

/// What a repeated request hears while the first one runs.
pub(super) fn in_progress() -> Error {
    Error::InProgress { retry_after: RETRY }
}
