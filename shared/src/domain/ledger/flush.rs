//! Flush: moves entries out of a head's journal into rows of their own. Rows first, head last and only if no other
//! flush was faster; every row is written so that writing it again, however late, changes nothing.

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::entry::Entry;
use super::expire;
use super::head::{Head, claim, removal, unclaim};
use super::hold::{End, Hold, HoldState, Reservation};
use super::movement::Name;
use super::settle::of_entry;
use super::voids;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::Positive;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Doc, Entity, Outcome, Update};

/// How many holds of running calls stay in the journal: those end in one round trip. Each makes the head, and so every
/// movement, some 200 bytes larger.
const KEPT: usize = 8;

/// For how long: a call that runs longer has time for two more round trips.
const KEPT_FOR: SignedDuration = SignedDuration::from_mins(2);

/// How many rows are written at once.
const WIDTH: usize = 8;

/// The record that an operation has happened, for those that have no row of another kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Operation {
    account: UserId,
    pub(super) entry: Entry,
}

impl Entity for Operation {
    const KIND: &'static str = "ledgerOperation";
    fn key(&self) -> Key {
        keys::ledger_operation(self.account, &self.entry.operation)
    }
}

/// What a flush did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Entries that left the head.
    pub moved: u32,
    /// Entries that stay in it: holds of running calls.
    pub kept: u32,
}

/// What is to be written for one operation before it leaves the head.
enum Step {
    Keep(Hold),
    /// The hold's row, unless its end is in the journal too and writes it.
    Open(Entry, Option<Hold>),
    /// The hold's row, if the hold is in the journal too; otherwise it was written when the hold left.
    End(Entry, Option<Hold>),
    Other(Entry),
}

/// The account whose head this image of the table's stream shows, if a flush may find something to do.
///
/// # Errors
/// `Internal` when the image is no head.
pub fn is_due(image: &Doc) -> Result<Option<UserId>> {
    let Some(account) = keys::account_of_head(&image.key()?) else {
        return Ok(None);
    };
    Ok((image.field::<u32>("jn")?.unwrap_or(0) > 0).then_some(account))
}

/// Moves an account's journal into rows, except the youngest holds of running calls: those get their row, so that they
/// can be swept, and stay.
///
/// # Errors
/// When the table does not answer. What was begun is completed by the next flush.
pub async fn flush(app: &App, account: UserId) -> Result<Flushed> {
    let Some(head) = current(app, account).await? else {
        return Ok(Flushed::default());
    };
    let steps = plan(&head, app.clock().now())?;
    let kept = steps.iter().filter(|s| matches!(s, Step::Keep(_))).count();
    let missing = missing_rows(app, &steps).await?;
    let gone: Vec<_> = steps.iter().filter_map(Step::leaving).collect();
    // Collected first: a closure that borrows across an await is not `Send` for all lifetimes.
    let writes: Vec<_> = steps.iter().map(|step| write(app, step, &missing)).collect();
    stream::iter(writes)
        .buffer_unordered(WIDTH)
        .try_collect::<()>()
        .await?;
    if gone.is_empty() {
        return Ok(Flushed {
            moved: 0,
            kept: u32::try_from(kept).unwrap_or(u32::MAX),
        });
    }
    let removal = voids::forget(removal(&head, &gone)?, &head, app.clock().now())?;
    let moved = match app.db().update(&removal).await? {
        Outcome::Applied(_) => u32::try_from(gone.len()).unwrap_or(u32::MAX),
        // Another flush was faster, or an answer was lost and this one came through after all.
        Outcome::Refused(_) => 0,
    };
    Ok(Flushed {
        moved,
        kept: u32::try_from(kept).unwrap_or(u32::MAX),
    })
}

/// The head, without what has expired.
async fn current(app: &App, account: UserId) -> Result<Option<Head>> {
    let key = keys::ledger_head(account);
    let head = app.db().get::<Head>(&key).await?;
    let Some(head) = head else { return Ok(None) };
    head.known()?;
    if head.lots_stand(app.clock().now()) {
        return Ok(Some(head));
    }
    // Should another be faster, so much the better.
    expire::take_out(app, &head).await?;
    app.db().get::<Head>(&key).await
}

/// Flushes a journal that was met full, unless somebody else is at it: 64 callers that all write the same rows would
/// only be in each other's way. A flush that meets an outage is no error of the caller's: it tries on, as the others do.
pub(super) async fn make_room(app: &App, full: &Head) -> Result<()> {
    let now = app.clock().now().as_millisecond();
    if full.flushing.is_some_and(|until| now < until) {
        return Ok(());
    }
    let until = now + CLAIM_MS;
    if let Outcome::Refused(seen) = app.db().update(&claim(full, now, until)?).await? {
        // Refused by its own first try, whose answer got lost?
        let standing = seen.map(|doc| doc.field::<i64>("flushing")).transpose()?;
        if standing.flatten() != Some(until) {
            return Ok(());
        }
    }
    // Boxed, as the callers' futures would otherwise carry room for it all the time.
    match Box::pin(flush(app, full.account)).await {
        Err(Error::Unavailable(_)) => app.db().update(&unclaim(full, until)?).await.map(drop),
        flushed => flushed.map(drop),
    }
}

/// How long a flush may take before somebody else tries, too. It ends its claim itself; so this is how long others wait
/// for one that died, and several times what one takes that is throttled.
const CLAIM_MS: i64 = 2_000;

impl Step {
    fn leaving(&self) -> Option<String> {
        match self {
            Self::Keep(_) => None,
            Self::Open(entry, _) | Self::End(entry, _) | Self::Other(entry) => Some(entry.operation.clone()),
        }
    }
}

fn plan(head: &Head, now: Timestamp) -> Result<Vec<Step>> {
    let entries = head.entries();
    let young = |e: &Entry| now.duration_since(e.at) < KEPT_FOR;
    let mut kept = 0;
    let mut steps = Vec::with_capacity(entries.len());
    // From the youngest on, so that those are kept.
    for entry in entries.into_iter().rev() {
        let name = Name::from(entry.operation.as_str());
        steps.push(match name {
            Name::Hold(call) if head.entry(&Name::End(call)).is_some() => Step::Open(entry, None),
            Name::Hold(_) if kept < KEPT && young(&entry) => {
                kept += 1;
                Step::Keep(row(head, &entry)?)
            }
            Name::Hold(_) => {
                let hold = row(head, &entry)?;
                Step::Open(entry, Some(hold))
            }
            Name::End(call) => {
                let hold = head.entry(&Name::Hold(call)).map(|h| row(head, &h)).transpose()?;
                Step::End(entry, hold)
            }
            Name::Refund(..) | Name::Other(_) => Step::Other(entry),
        });
    }
    Ok(steps)
}

/// The row of a hold in the journal.
fn row(head: &Head, entry: &Entry) -> Result<Hold> {
    let bad = || Error::internal(format!("the journal entry {} is no hold", entry.operation));
    let movement = head.ops.get(&entry.operation).ok_or_else(bad)?;
    Ok(Hold::of(&Reservation {
        account: entry.account,
        call: entry.call.ok_or_else(bad)?,
        held: Positive::new(entry.held).map_err(Error::internal)?,
        memo: entry.memo.clone().ok_or_else(bad)?,
        seq: entry.seq,
        at: entry.at,
        expires_at: movement.until.ok_or_else(bad)?,
        capped: movement.capped,
    }))
}

/// Which of the holds that stay have no row yet. Reading is cheaper than writing in vain.
async fn missing_rows(app: &App, steps: &[Step]) -> Result<Vec<Key>> {
    let kept: Vec<_> = steps
        .iter()
        .filter_map(|s| {
            if let Step::Keep(hold) = s {
                Some(hold.key())
            } else {
                None
            }
        })
        .collect();
    if kept.is_empty() {
        return Ok(kept);
    }
    let mut found = app.db().batch(&kept).await?;
    let mut missing = Vec::new();
    for key in kept {
        if found.read::<Hold>(&key)?.is_none() {
            missing.push(key);
        }
    }
    Ok(missing)
}

async fn write(app: &App, step: &Step, missing: &[Key]) -> Result<()> {
    match step {
        Step::Keep(hold) if missing.contains(&hold.key()) => create(app, hold).await,
        Step::Keep(_) => Ok(()),
        Step::Open(entry, hold) => {
            if let Some(hold) = hold {
                create(app, hold).await?;
            }
            create(app, entry).await
        }
        Step::End(entry, hold) => {
            let end = of_entry(entry)?;
            ended(app, entry, &end, hold.as_ref()).await?;
            create(app, entry).await
        }
        Step::Other(entry) => {
            create(
                app,
                &Operation {
                    account: entry.account,
                    entry: entry.clone(),
                },
            )
            .await?;
            create(app, entry).await
        }
    }
}

/// Writes a row unless it is there: its content never differs.
async fn create<E: Entity>(app: &App, entity: &E) -> Result<()> {
    app.db().put(entity, Some(&Cond::item_absent())).await.map(drop)
}

/// What a flush of every ledger did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlushedAll {
    /// Ledgers looked at.
    pub ledgers: u32,
    /// Entries that left their heads.
    pub moved: u32,
    /// Ledgers that could not be flushed; the next run tries again.
    pub failed: u32,
}

/// Flushes every ledger: what the table's stream missed.
///
/// # Errors
/// When the table does not answer. A ledger that cannot be flushed is logged and does not stop the others.
pub async fn flush_all(app: &App) -> Result<FlushedAll> {
    let mut all = FlushedAll::default();
    let mut walk = app.db().walk(keys::ledger_heads, PAGE);
    while let Some(heads) = walk.next().await? {
        let accounts = heads.iter().filter_map(keys::account_of_head);
        let flushes: Vec<_> = accounts.map(|account| named(app, account)).collect();
        let mut done = stream::iter(flushes).buffer_unordered(WIDTH);
        while let Some((account, result)) = done.next().await {
            all.count(account, result);
        }
    }
    Ok(all)
}

async fn named(app: &App, account: UserId) -> (UserId, Result<Flushed>) {
    (account, flush(app, account).await)
}

/// How many heads are looked up at once.
const PAGE: u32 = 100;

impl FlushedAll {
    fn count(&mut self, account: UserId, result: Result<Flushed>) {
        self.ledgers += 1;
        match result {
            Ok(flushed) => self.moved += flushed.moved,
            Err(error) => {
                self.failed += 1;
                tracing::error!(error = %error, cause = ?error, account = %account, "a ledger could not be flushed");
            }
        }
    }
}

/// Marks a hold's row as ended, which takes it out of the sweeper's sight.
async fn ended(app: &App, entry: &Entry, end: &End, hold: Option<&Hold>) -> Result<()> {
    let call = entry.call.ok_or_else(|| Error::internal("the end of no call"))?;
    let update = Update::of(keys::hold(call))
        .set("state", HoldState::Ended)?
        .set("end", end)?
        .unindex1();
    let update = match hold {
        Some(hold) => update.fill(hold)?,
        None => update.when(Cond::item_exists()),
    };
    match app.db().update(&update.when(Cond::absent("end"))).await? {
        Outcome::Refused(None) => Err(Error::internal(format!("the row of {call} is missing"))),
        Outcome::Applied(_) | Outcome::Refused(Some(_)) => Ok(()),
    }
}
