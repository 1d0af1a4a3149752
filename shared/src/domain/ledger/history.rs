//! What an account's owner sees: the balance, and every entry, exact at once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, EntryView};
use super::expire::expire;
use super::grant::Period;
use super::head::Head;
use super::lots::Lot;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::Cbt;
use crate::store::page::cursor;
use crate::store::{Doc, Entity, Page, PageRequest, keys};

/// How much cbT an account has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// The sum of all entries.
    pub balance: Cbt,
    /// The part of it that no running call holds.
    pub available: Cbt,
    /// What running calls hold.
    pub held: Cbt,
    /// The part of it that expires, in the order in which it is spent: soonest first, and before what never expires.
    pub lots: Vec<LotView>,
    /// What was charged since the period began.
    pub used: Cbt,
    /// What the period brought; top-ups do not count.
    pub quota: Cbt,
    /// The period; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

/// cbT that expires together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LotView {
    /// What is left of it.
    pub amount: Cbt,
    /// From when it cannot be spent.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// How an account stands in its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub account: UserId,
    /// What was charged since the period began.
    pub used: Cbt,
    /// What the period brought.
    pub quota: Cbt,
    /// The period; absent before the first.
    pub period: Option<Period>,
}

/// How the account whose head this image of the table's stream shows stood then; `None` when it shows no head.
///
/// # Errors
/// `Internal` when the image is not what a head looks like.
pub fn standing(image: &Doc) -> Result<Option<Standing>> {
    let Some(account) = keys::account_of_head(&image.key()?) else {
        return Ok(None);
    };
    let amount = |name| -> Result<Cbt> { Ok(Cbt::micro(image.field::<i64>(name)?.unwrap_or(0))) };
    Ok(Some(Standing {
        account,
        used: amount("used")?,
        quota: amount("quota")?,
        period: image.field("period")?,
    }))
}

/// An account's balance; zero for one without a ledger.
///
/// # Errors
/// When the table does not answer.
pub async fn balance(app: &App, account: UserId) -> Result<Balance> {
    let key = keys::ledger_head(account);
    let mut head = app.db().get::<Head>(&key).await?;
    if head.as_ref().is_some_and(|h| !h.lots_stand(app.clock().now())) {
        expire(app, account).await?;
        head = app.db().get::<Head>(&key).await?;
    }
    let head = head.unwrap_or_else(|| Head::empty(account));
    let now = app.clock().now().as_second();
    let view = |lot: &Lot| -> Result<LotView> {
        Ok(LotView {
            amount: lot.amount,
            expires_at: Timestamp::from_second(lot.leaves(now)).map_err(Error::internal)?,
        })
    };
    Ok(Balance {
        balance: head.posted,
        available: head.avail,
        held: head.held(),
        lots: head.lots_now().lots.iter().map(view).collect::<Result<_>>()?,
        used: head.used,
        quota: head.quota,
        period: head.period,
    })
}

/// One page of an account's entries, newest first: the head's journal and the rows, merged by number.
///
/// # Errors
/// `Invalid` on `query.cursor`.
pub async fn history(app: &App, account: UserId, page: &PageRequest) -> Result<Page<EntryView>> {
    let entries = entries(app, account, page).await?;
    Ok(entries.map(EntryView::from))
}

/// The same, as stored.
///
/// # Errors
/// `Invalid` on `query.cursor`.
pub async fn entries(app: &App, account: UserId, page: &PageRequest) -> Result<Page<Entry>> {
    let before = match page.after() {
        None => u64::MAX,
        Some(after) => keys::entry_number(after)
            .ok_or_else(|| Error::field("query.cursor", "is not a cursor of this list"))?,
    };
    // The head first: what leaves it later has its row by then, and what comes later is not asked for.
    let Some(head) = app.db().get::<Head>(&keys::ledger_head(account)).await? else {
        return Ok(Page::whole(Vec::new()));
    };
    let before = before.min(head.seq.saturating_add(1));
    let start = keys::ledger_entry(account, before);
    let rows = app
        .db()
        .list::<Entry>(
            &keys::ledger_entries(account),
            &page.starting_after(start.sk()),
            true,
        )
        .await?;
    let more_rows = rows.next_cursor.is_some();
    Ok(merge(head.entries(), rows.items, before, page.limit(), more_rows))
}

fn merge(journal: Vec<Entry>, rows: Vec<Entry>, before: u64, limit: u32, more_rows: bool) -> Page<Entry> {
    let mut all = rows;
    all.extend(journal.into_iter().filter(|e| e.seq < before));
    all.sort_unstable_by_key(|e| std::cmp::Reverse(e.seq));
    all.dedup_by_key(|e| e.seq);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = more_rows || all.len() > limit;
    all.truncate(limit);
    let next_cursor = all.last().filter(|_| more).map(|last| cursor(last.key().sk()));
    Page {
        items: all,
        next_cursor,
    }
}
