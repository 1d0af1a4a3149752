//! Holds of running calls: renewed and stopped while the call lives, swept when its driver died.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bill::Usage;
use super::entry::{Kind, Memo};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, UserId};
use crate::money::{self, Amount, Cbt, Positive};
use crate::reply::Reply;
use crate::store::keys::{self, Index, Key};
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Outcome, Update};

/// A hold that was made: the right to spend up to that much on one call, once.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// Who pays.
    pub account: UserId,
    /// The call.
    pub call: CallId,
    /// How much.
    pub held: Positive,
    /// For whom.
    pub memo: Memo,
    /// The number of the hold's entry.
    pub seq: u64,
    /// When it was made.
    pub at: Timestamp,
    /// When it expires unless it is renewed.
    pub expires_at: Timestamp,
    /// Whether it is counted against its workspace's allocation.
    pub capped: bool,
}

impl Reservation {
    /// What of `wanted` may be charged, and the excess that Camarad bears.
    pub fn clamp(&self, wanted: Amount) -> (Amount, Amount) {
        let charge = wanted.min(self.held.amount());
        let excess = Cbt::micro(wanted.cbt().as_micro() - charge.cbt().as_micro());
        (charge, Amount::new(excess).unwrap_or(Amount::ZERO))
    }
}

/// Where a hold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// Its call runs.
    Open,
    /// It expired, and the sweeper is about to end it.
    Ending,
    /// It has ended; `end` says how.
    Ended,
}

/// How a hold ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// `consume`, `release` or `expire`.
    #[serde(rename = "type")]
    pub entry: Kind,
    /// What was charged.
    #[serde(with = "money::stored_amount")]
    pub charge: Amount,
    /// The number of its entry.
    pub seq: u64,
    /// The balance after it.
    #[serde(with = "money::stored")]
    pub balance: Cbt,
}

/// A hold's row. It is made by whoever comes first of flush and checkpoint, and once it is there it stays: it is also
/// the record that the operations `hold:<call>` and `end:<call>` have happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// The call.
    pub call: CallId,
    /// Who pays.
    pub account: UserId,
    /// How much.
    #[serde(with = "money::stored_positive")]
    pub held: Positive,
    /// For whom.
    pub memo: Memo,
    /// The number of the hold's entry.
    pub seq: u64,
    /// When it was made.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
    /// When it expires; a number, as conditions compare it.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub expires_at: Timestamp,
    /// Whether it is counted against its workspace's allocation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub capped: bool,
    /// Where it stands.
    pub state: HoldState,
    /// What the call has cost so far.
    #[serde(with = "money::stored_amount", default)]
    pub billable: Amount,
    /// What it has cost beyond what is held.
    #[serde(with = "money::stored_amount", default)]
    pub excess: Amount,
    /// What it has used so far; absent until it went upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether its user asked it to stop.
    #[serde(default)]
    pub stop: bool,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl Entity for Hold {
    const KIND: &'static str = "hold";
    fn key(&self) -> Key {
        keys::hold(self.call)
    }
    fn index1(&self) -> Option<Index> {
        (self.state != HoldState::Ended).then(|| keys::hold_expiry(self.call, self.expires_at))
    }
}

impl Hold {
    /// The row of a hold as it was made.
    pub(super) fn of(r: &Reservation) -> Self {
        Self {
            call: r.call,
            account: r.account,
            held: r.held,
            memo: r.memo.clone(),
            seq: r.seq,
            at: r.at,
            expires_at: r.expires_at,
            capped: r.capped,
            state: HoldState::Open,
            billable: Amount::ZERO,
            excess: Amount::ZERO,
            usage: None,
            stop: false,
            end: None,
        }
    }

    pub(super) fn reservation(&self) -> Reservation {
        Reservation {
            account: self.account,
            call: self.call,
            held: self.held,
            memo: self.memo.clone(),
            seq: self.seq,
            at: self.at,
            expires_at: self.expires_at,
            capped: self.capped,
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        match self.state {
            HoldState::Open => self.expires_at <= now,
            HoldState::Ending => true,
            HoldState::Ended => false,
        }
    }
}

/// What a living driver says from time to time.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What the call has cost so far: what is charged should the driver die now.
    pub billable: Amount,
    /// What it has used so far; `None` before it went upstream.
    pub usage: Option<Usage>,
    /// Until when the hold is wanted.
    pub expires_at: Timestamp,
}

/// What a driver hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// Go on, unless `stop`: the user asked for an end.
    Running {
        /// Whether to stop.
        stop: bool,
    },
    /// The hold has expired and is being ended, or has ended: stop at once, and look at `decided`.
    Over,
}

/// Renews the hold, stores what the driver would be owed, and tells whether the call shall stop: one write. The first
/// one makes the hold's row, so that the call can be stopped and swept: send it beside the request upstream.
///
/// # Errors
/// When the table does not answer; the call may go on until the hold expires.
pub async fn checkpoint(app: &App, r: &Reservation, progress: &Progress) -> Result<Checkpoint> {
    let (billable, excess) = r.clamp(progress.billable);
    let expires_at = progress.expires_at.as_millisecond();
    let row = Hold {
        expires_at: progress.expires_at,
        ..Hold::of(r)
    };
    let mut update = Update::of(keys::hold(r.call))
        .set("billable", billable.cbt().as_micro())?
        .set("excess", excess.cbt().as_micro())?
        .set("expiresAt", expires_at)?
        .index1(&keys::hold_expiry(r.call, progress.expires_at))?;
    if let Some(usage) = &progress.usage {
        update = update.set("usage", usage)?;
    }
    let open = Cond::absent("state").or(Cond::eq("state", HoldState::Open)?);
    // An answer that was lost may bring an old request after a newer one.
    let newer = Cond::absent("expiresAt").or(Cond::le("expiresAt", expires_at)?);
    let hold: Hold = match app
        .db()
        .update(&update.fill(&row)?.when(open).when(newer))
        .await?
    {
        Outcome::Applied(doc) | Outcome::Refused(Some(doc)) => doc.read()?,
        Outcome::Refused(None) => return Err(Error::internal("a hold that is absent refused a checkpoint")),
    };
    Ok(match hold.state {
        HoldState::Open => Checkpoint::Running { stop: hold.stop },
        HoldState::Ending | HoldState::Ended => Checkpoint::Over,
    })
}

/// A call's hold, once its row is there.
///
/// # Errors
/// When the table does not answer.
pub async fn find(app: &App, call: CallId) -> Result<Option<Hold>> {
    app.db().get(&keys::hold(call)).await
}

/// Asks a call to stop. Asking twice, or after its end, changes nothing and answers the same.
///
/// # Errors
/// `NotFound` unless the call is this user's with this agent.
pub async fn request_stop<T: Clone>(
    app: &App,
    cause: &Context,
    once: Option<&OnceKey>,
    (call, user, agent): (CallId, UserId, AgentId),
    reply: Reply<T>,
) -> Result<Reply<T>> {
    let hold = find(app, call)
        .await?
        .filter(|h| h.memo.user == user && h.memo.agent == agent);
    let hold = hold.ok_or(Error::NotFound)?;
    if hold.stop || hold.state != HoldState::Open {
        return Ok(reply);
    }
    let update = Update::of(keys::hold(call))
        .set("stop", true)?
        .when(Cond::eq("state", HoldState::Open)?);
    let tx = app
        .tx(cause)
        .update(update.when(Cond::eq("stop", false)?), ended_meanwhile)
        .once(once);
    let audited = tx.audit(
        Action::CallStopped,
        Scope::Workspace(agent.workspace()),
        call,
        serde_json::json!({ "agentId": agent }),
    )?;
    match audited.commit(reply.clone()).await {
        Err(Error::Conflict { code, .. }) if code == ENDED_MEANWHILE => Ok(reply),
        answered => answered,
    }
}

const ENDED_MEANWHILE: &str = "ended_meanwhile";

fn ended_meanwhile() -> Error {
    Error::Conflict {
        code: ENDED_MEANWHILE,
        detail: "the call ended or was stopped meanwhile".into(),
    }
}
