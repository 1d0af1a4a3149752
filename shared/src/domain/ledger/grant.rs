//! Grants: cbT that comes in, each under the name of an operation that happens once.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::caps;
use super::entry::{Entry, Kind};
use super::expire::{Reminder, expire};
use super::head::{Head, ROOM, change, too_much};
use super::lots::{Lot, Lots};
use super::movement::{Movement, Name, movement};
use super::named::{self, Seen};
use super::operation::Operation;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::{Cbt, Positive};
use crate::store::{Cond, Outcome, Update, keys};

pub(super) const BALANCE_LIMIT: &str = "balance_limit";

/// Until when an account may spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// As before.
    Unchanged,
    /// Until then.
    At(Timestamp),
    /// For good.
    Always,
}

impl Until {
    fn write(self, update: Update) -> Result<Update> {
        match self {
            Self::Unchanged => Ok(update),
            Self::At(at) => update.set("until", at.as_second()),
            Self::Always => Ok(update.remove("until")),
        }
    }
}

/// What a recurring grant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Period {
    /// When it begins.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// When the next one does.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
}

/// cbT that comes in.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Under which name.
    pub operation: Operation,
    /// How much.
    pub amount: Positive,
    /// Why, for the account's owner.
    pub reason: String,
    /// Until when the account may spend from then on.
    pub until: Until,
    /// When what is left of it leaves the balance, to the second; without it, never.
    pub expires: Option<Timestamp>,
    /// For how long it stays after that for want of a next period: one that is not paid yet is as good as paid. With the
    /// grant of a period that begins when it was to leave, or later, it goes at once.
    pub grace: SignedDuration,
    /// The period that it is for. One that begins later than the account's begins a new period: nothing is used of it
    /// yet, it brings this much, and workspaces may draw all of their allocations again. The account's own period brings
    /// that much more. An earlier one, from news that come late, changes no period.
    pub period: Option<Period>,
}

impl Grant {
    /// When it has left the balance, whatever comes.
    fn gone(&self) -> Option<Timestamp> {
        self.expires.map(|at| at + self.grace)
    }

    /// The lots with it in them, and without those that its period succeeds.
    fn among(&self, mut lots: Lots, head: &Head) -> Lots {
        if let Some(expires) = self.expires {
            lots.insert(Lot::of(
                self.amount.cbt(),
                expires.as_second(),
                self.grace.as_secs(),
            ));
        }
        // News may come late: the account's own period may have begun after this one.
        let begun = head.period.iter().chain(&self.period).map(|p| p.start).max();
        if let Some(start) = begun {
            lots.close(start.as_second());
        }
        lots
    }
}

/// Makes an account's ledger if it has none.
///
/// # Errors
/// When the table does not answer.
pub async fn open(app: &App, account: UserId) -> Result<()> {
    app.db()
        .put(&Head::empty(account), Some(&Cond::item_absent()))
        .await
        .map(drop)
}

/// From now on the account may spend until then. An account without a ledger gets one.
///
/// # Errors
/// When the table does not answer.
pub async fn allow(app: &App, account: UserId, until: Until) -> Result<()> {
    // `account` as it is: an update needs something to do.
    let update = until.write(change(account)?.set("account", account)?)?;
    if let Outcome::Refused(None) = app.db().update(&update).await? {
        open(app, account).await?;
        app.db().update(&update).await?;
    }
    Ok(())
}

/// Whether this has happened.
///
/// # Errors
/// When the table does not answer.
pub async fn has(app: &App, account: UserId, operation: &Operation) -> Result<bool> {
    let entry = known(app, account, &operation.name()).await?;
    Ok(entry.is_some())
}

/// The entry of what has happened under this name.
async fn known(app: &App, account: UserId, name: &Name) -> Result<Option<Entry>> {
    match app.db().get::<Head>(&keys::ledger_head(account)).await? {
        Some(head) => named::happened(app, &head, name).await,
        None => Ok(None),
    }
}

/// Grants cbT to an account, and makes its ledger if it has none. A repetition under the same name answers the first
/// one's entry.
///
/// # Errors
/// `Conflict` when the balance would pass 4·10^12 cbT; `Unavailable` when the table does not answer (granting again
/// under the same name is safe).
pub async fn grant(app: &App, account: UserId, grant: &Grant) -> Result<Entry> {
    let name = grant.operation.name();
    if let Some(expires_at) = grant.gone() {
        // What was granted had its reminder, and that may have done its work long ago.
        if let Some(entry) = known(app, account, &name).await? {
            return Ok(entry);
        }
        let reminder = Reminder { account, expires_at };
        app.db().put(&reminder, Some(&Cond::item_absent())).await?;
    }
    let mut plan = |seen: &Seen<'_>| coming(app, seen, grant);
    let entry = match named::once(app, account, &name, &mut plan).await {
        Err(Error::NotFound) => {
            open(app, account).await?;
            named::once(app, account, &name, plan).await
        }
        done => done,
    }?;
    if grant.period.is_some() {
        // Cannot be spent any more; and is seen to be gone.
        expire(app, account).await?;
    }
    Ok(entry)
}

fn coming(app: &App, seen: &Seen<'_>, grant: &Grant) -> Result<Update> {
    let head = seen.head;
    let amount = grant.amount.cbt();
    if too_much(head, amount) {
        return Err(Error::Conflict {
            code: BALANCE_LIMIT,
            detail: "the balance would be too large".into(),
        });
    }
    let coming = Movement {
        delta: amount,
        until: grant.expires,
        reason: Some(grant.reason.clone()),
        ..Movement::of(Kind::Grant, app.clock().now())
    };
    let update = movement(head.account, &grant.operation.name(), &coming, ROOM)?;
    let update = match (grant.expires, grant.period) {
        (None, None) => for_good(update, head, amount)?,
        _ => in_lots(update, seen, grant)?,
    };
    let update = match &grant.period {
        Some(period) => in_period(update, head, amount, period)?,
        None => update,
    };
    grant.until.write(update)
}

/// Writes the lots as they are with it. What is consumed while this is decided burns the lots as they are then, this one
/// included: so, while that makes a difference and there is hope, the balance must stand still.
fn in_lots(update: Update, seen: &Seen<'_>, grant: &Grant) -> Result<Update> {
    let head = seen.head;
    let lots = grant.among(head.lots_now(), head);
    let base = Cbt::micro(head.posted.as_micro() + grant.amount.cbt().as_micro());
    let update = head.with_lots(update, &lots, base)?;
    if seen.exact {
        return Ok(update.when(Cond::eq("posted", head.posted.as_micro())?));
    }
    Ok(update)
}

/// What never expires leaves the lots alone, whatever is consumed meanwhile.
pub(super) fn for_good(update: Update, head: &Head, amount: Cbt) -> Result<Update> {
    let update = update.when(head.same_lots()?);
    match head.base {
        Some(_) => update.increase("base", amount.as_micro()),
        None => Ok(update),
    }
}

pub(super) fn in_period(update: Update, head: &Head, amount: Cbt, period: &Period) -> Result<Update> {
    match head.period {
        Some(known) if period.start < known.start => Ok(update),
        Some(known) if period.start == known.start => {
            update.set("period", period)?.add("quota", amount.as_micro())
        }
        _ => {
            let update = update
                .set("period", period)?
                .set("quota", amount.as_micro())?
                .set("used", 0)?;
            caps::begin_anew(update, head)
        }
    }
}
