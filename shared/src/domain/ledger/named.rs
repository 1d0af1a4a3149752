//! What happens once under its name, however often it is asked for.

use super::Tries;
use super::entry::Entry;
use super::flush::{self, make_room};
use super::head::{Head, ROOM};
use super::movement::Name;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::{Cond, Outcome, Update, keys};

/// How often somebody who wants the head to stand still while it is changed may want so.
pub(super) const EXACT: u32 = 6;

/// What was read before a movement is decided.
pub(super) struct Seen<'a> {
    pub(super) head: &'a Head,
    /// Whether the movement may demand that the balance stands still. A busy account would never let it pass.
    pub(super) exact: bool,
}

/// The entry of `name` in the head, or of its operation's row if it has left.
///
/// # Errors
/// When the table does not answer.
pub(super) async fn happened(app: &App, head: &Head, name: &Name) -> Result<Option<Entry>> {
    if let Some(entry) = head.entry(name) {
        return Ok(Some(entry));
    }
    // Read after the head: an operation that was flushed before `rev` has its row, a later flush moves `rev`.
    let key = keys::ledger_operation(head.account, &name.to_string());
    let row = app.db().get::<flush::Operation>(&key).await?;
    Ok(row.map(|row| row.entry))
}

/// Moves once under `name`: `plan` makes the update from the head as it was read. A repetition answers the first one's
/// entry.
///
/// # Errors
/// `NotFound` when the account has no ledger; those of `plan`; `Unavailable` when the table does not answer (the same
/// again is safe).
pub(super) async fn once<F>(app: &App, account: UserId, name: &Name, mut plan: F) -> Result<Entry>
where
    F: FnMut(&Seen<'_>) -> Result<Update>,
{
    let mut tries = Tries::begin();
    loop {
        let head = app.db().get::<Head>(&keys::ledger_head(account)).await?;
        let head = head.ok_or(Error::NotFound)?;
        head.known()?;
        if let Some(entry) = happened(app, &head, name).await? {
            return Ok(entry);
        }
        let seen = Seen {
            head: &head,
            exact: tries.made < EXACT,
        };
        let update = plan(&seen)?.when(Cond::eq("rev", head.rev)?);
        let head: Head = match app.db().update(&update).await? {
            Outcome::Applied(doc) | Outcome::Refused(Some(doc)) => doc.read()?,
            Outcome::Refused(None) => return Err(Error::NotFound),
        };
        if let Some(entry) = head.entry(name) {
            return Ok(entry);
        }
        if head.jn >= ROOM {
            make_room(app, &head).await?;
        }
        tries.wait().await?;
    }
}
