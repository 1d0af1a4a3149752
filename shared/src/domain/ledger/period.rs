//! Periods that begin or end without a grant.

use jiff::Timestamp;

use super::Tries;
use super::expire::expire;
use super::grant::{Period, in_period, open};
use super::head::{Head, change};
use super::named::EXACT;
use crate::app::App;
use crate::error::Result;
use crate::ids::UserId;
use crate::money::Cbt;
use crate::store::{Cond, Outcome, Update, keys};

/// Begins a period that brings nothing by itself: nothing is used of it yet, workspaces may draw all of their allocations
/// again, and what was to leave with the one before leaves. One that began sooner than the account's, from news that come
/// late, changes nothing. May be repeated.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn begin(app: &App, account: UserId, period: &Period) -> Result<()> {
    turn(app, account, period.start, |head| {
        if head.period.is_some_and(|known| period.start <= known.start) {
            return Ok(None);
        }
        in_period(change(account)?, head, Cbt::ZERO, period).map(Some)
    })
    .await
}

/// No period follows what has ended by `at`: what stayed for want of one leaves. May be repeated.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn close(app: &App, account: UserId, at: Timestamp) -> Result<()> {
    turn(app, account, at, |head| {
        let closes = head.lots_now().closes(at.as_second());
        closes.then(|| change(account)).transpose()
    })
    .await
}

/// Writes the lots without those that end by `start`, with what `plan` changes besides; if that is nothing, it was done.
async fn turn<F>(app: &App, account: UserId, start: Timestamp, plan: F) -> Result<()>
where
    F: Fn(&Head) -> Result<Option<Update>>,
{
    let mut tries = Tries::begin();
    loop {
        let Some(head) = app.db().get::<Head>(&keys::ledger_head(account)).await? else {
            open(app, account).await?;
            continue;
        };
        head.known()?;
        let Some(update) = plan(&head)? else {
            return expire(app, account).await;
        };
        let mut lots = head.lots_now();
        lots.close(start.as_second());
        let update = head.with_lots(update, &lots, head.posted)?;
        // As with a grant: what is consumed meanwhile burns the lots as they are then.
        let update = match tries.made < EXACT {
            true => update.when(Cond::eq("posted", head.posted.as_micro())?),
            false => update,
        };
        if let Outcome::Applied(_) = app.db().update(&update).await? {
            return expire(app, account).await;
        }
        tries.wait().await?;
    }
}
