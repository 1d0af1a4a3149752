//! What the table's stream or the queue lost: every chain is compared with its log, and its checkpoint is kept up.
//!
//! Each night one message per shard of the chains begins it; each message is one page, and sends the next one. So it takes
//! as many invocations as there are pages, and what is cut off comes again from the queue and goes on where it was.

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::seal::{AT_ONCE, Order, is_due, post, send, unsealed};
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::AuditId;
use crate::ports::queue::Grouped;
use crate::store::keys::SHARDS;
use crate::store::{Db, keys};

/// A record that is younger is left to the stream.
const OVERLOOKED: SignedDuration = SignedDuration::from_mins(2);

/// How far back a comparison looks: a week in which nobody minded the alarm, and a day.
const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How many chains are looked at side by side.
const WIDTH: usize = 16;

/// How many chains one message compares: a few seconds of work.
const PAGE: u32 = 50;

/// How many records are read at once.
const PART: u32 = 500;

/// A page of the nightly comparison: the chains of a shard after one of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Page {
    /// Which night's, so that a night's pages are not another's to the queue.
    pub night: Timestamp,
    /// Which shard.
    pub shard: u8,
    /// The last chain of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Begins the nightly comparison of every chain; answers in how many parts.
///
/// # Errors
/// `Unavailable` when the queue does not take everything; beginning again does no harm.
pub async fn begin(app: &App) -> Result<usize> {
    let night = app.clock().now();
    let pages: Vec<_> = (0..SHARDS)
        .map(|shard| Page {
            night,
            shard,
            after: None,
        })
        .collect();
    order(app, &pages).await?;
    Ok(pages.len())
}

async fn order(app: &App, pages: &[Page]) -> Result<()> {
    let grouped = pages.iter().map(|page| {
        Ok(Grouped {
            group: format!("compare#{}", page.shard),
            body: serde_json::to_string(page).map_err(Error::internal)?,
        })
    });
    post(app, &grouped.collect::<Result<Vec<_>>>()?).await
}

/// Compares the chains of a page with their logs, and orders the next page. May be repeated.
///
/// # Errors
/// When table or queue do not answer: the page comes again. A chain that alone cannot be compared gets an order of its
/// own, and stops no other.
pub(super) async fn compare_page(app: &App, page: &Page) -> Result<()> {
    let (heads, more) = app
        .db()
        .places(&keys::chains(page.shard), page.after.as_deref(), PAGE)
        .await?;
    let mut scopes: Vec<_> = heads
        .iter()
        .filter_map(keys::scope_of_chain)
        .map(str::to_owned)
        .collect();
    let last = scopes.last().cloned();
    if page.shard == 0 && page.after.is_none() {
        // The platform's chain is known before its first record.
        scopes.retain(|scope| scope != keys::PLATFORM);
        scopes.push(keys::PLATFORM.to_owned());
    }
    let again = compare_all(app, scopes).await;
    send(app, &again).await?;
    match last.filter(|_| more) {
        Some(last) => {
            let next = Page {
                after: Some(last),
                ..page.clone()
            };
            order(app, &[next]).await
        }
        None => {
            // An alarm counts these lines: sixteen a night.
            tracing::info!(audit.shard = page.shard, "AUDIT_SHARD_COMPARED");
            Ok(())
        }
    }
}

/// Orders for those that could not be compared.
async fn compare_all(app: &App, scopes: Vec<String>) -> Vec<Order> {
    let work: Vec<_> = scopes.into_iter().map(|scope| named(app, scope)).collect();
    let mut done = stream::iter(work).buffer_unordered(WIDTH);
    let (mut chains, mut lost, mut checkpoints, mut again) = (0_usize, 0_usize, 0_usize, Vec::new());
    while let Some((scope, result)) = done.next().await {
        chains += 1;
        match result {
            Ok((overlooked, due)) => {
                lost += overlooked;
                checkpoints += usize::from(due);
            }
            Err(error) => {
                tracing::error!(error = %error, cause = ?error, audit.scope = scope, "a chain could not be compared");
                again.push(Order {
                    compare: true,
                    ..Order::of(&scope, &[])
                });
            }
        }
    }
    tracing::info!(
        chains,
        overlooked = lost,
        checkpoints,
        failed = again.len(),
        "audit chains compared"
    );
    again
}

async fn named(app: &App, scope: String) -> (String, Result<(usize, bool)>) {
    let result = compare(app, &scope).await;
    (scope, result)
}

/// Orders what a chain lacks; answers how many records that are, and whether its checkpoint is due.
pub(super) async fn compare(app: &App, scope: &str) -> Result<(usize, bool)> {
    let now = app.clock().now();
    let mut overlooked = Vec::new();
    for records in recent(app.db(), scope, now).await? {
        overlooked.extend(unsealed(app, scope, &records).await?);
    }
    let chain = app.db().get::<Chain>(&keys::chain(scope)).await?;
    let due = match &chain {
        Some(chain) => is_due(app, chain, now).await?,
        None => false,
    };
    let places: Vec<_> = overlooked
        .iter()
        .map(|(at, id)| keys::audit_place(*at, *id))
        .collect();
    let mut orders: Vec<_> = places
        .chunks(AT_ONCE)
        .map(|part| Order::of(scope, part))
        .collect();
    if due {
        orders.push(Order {
            checkpoint: true,
            ..Order::of(scope, &[])
        });
    }
    send(app, &orders).await?;
    Ok((places.len(), due))
}

/// The records of a log that are neither too young nor too old, in parts.
async fn recent(db: &Db, scope: &str, now: Timestamp) -> Result<Vec<Vec<(Timestamp, AuditId)>>> {
    let (from, to) = keys::audit_span(now.checked_sub(LOOKS_BACK).ok(), now.checked_sub(OVERLOOKED).ok());
    let mut parts = Vec::new();
    for list in keys::audit_parts(scope) {
        let mut from = from.clone();
        loop {
            let (docs, more) = db.between(&list, (&from, &to), PART, false).await?;
            let mut places = Vec::with_capacity(docs.len());
            for doc in &docs {
                places.push(doc.key()?.sk().to_owned());
            }
            if let Some(last) = places.last() {
                // The space comes before every character of an id, so the next part starts right after this record.
                from = format!("{last} ");
            }
            parts.push(places.iter().filter_map(|p| keys::audit_of_place(p)).collect());
            if !more {
                break;
            }
        }
    }
    Ok(parts)
}
