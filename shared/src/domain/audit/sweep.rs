//! What the table's stream or the queue lost: every chain is compared with its log, and its checkpoint is kept up.

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use super::chain::Chain;
use super::seal::{Order, is_due, send, unsealed};
use crate::app::App;
use crate::error::Result;
use crate::ids::AuditId;
use crate::store::{Db, keys};

/// A record that is younger is left to the stream.
const OVERLOOKED: SignedDuration = SignedDuration::from_mins(2);

/// How far back a sweep looks: two of its runs, so that one may fail.
const LOOKS_BACK: SignedDuration = SignedDuration::from_hours(49);

/// How many chains are looked at side by side.
const WIDTH: usize = 16;

/// How many chains are looked up at once.
const PAGE: u32 = 100;

/// How many records are read at once.
const PART: u32 = 500;

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Chains looked at.
    pub chains: usize,
    /// Records that had been overlooked, and are now ordered to be sealed.
    pub overlooked: usize,
    /// Checkpoints that were due, and are now ordered.
    pub checkpoints: usize,
    /// Chains that could not be compared; the next sweep tries again.
    pub failed: usize,
}

/// Compares every chain with its log.
///
/// # Errors
/// When the table does not answer. A chain that cannot be compared is logged and does not stop the others.
pub async fn sweep(app: &App) -> Result<Swept> {
    let mut swept = Swept::default();
    // The platform's chain is known before its first record.
    compare_all(app, vec![keys::PLATFORM.to_owned()], &mut swept).await;
    let mut walk = app.db().walk(keys::chains, PAGE);
    while let Some(heads) = walk.next().await? {
        let scopes = heads.iter().filter_map(keys::scope_of_chain);
        let others = scopes.filter(|scope| *scope != keys::PLATFORM);
        compare_all(app, others.map(str::to_owned).collect(), &mut swept).await;
    }
    Ok(swept)
}

async fn compare_all(app: &App, scopes: Vec<String>, swept: &mut Swept) {
    let work: Vec<_> = scopes.into_iter().map(|scope| named(app, scope)).collect();
    let mut done = stream::iter(work).buffer_unordered(WIDTH);
    while let Some((scope, result)) = done.next().await {
        swept.chains += 1;
        match result {
            Ok((overlooked, due)) => {
                swept.overlooked += overlooked;
                swept.checkpoints += usize::from(due);
            }
            Err(error) => {
                swept.failed += 1;
                tracing::error!(error = %error, cause = ?error, audit.scope = scope, "a chain could not be compared");
            }
        }
    }
}

async fn named(app: &App, scope: String) -> (String, Result<(usize, bool)>) {
    let result = compare(app, &scope).await;
    (scope, result)
}

/// Orders what a chain lacks; answers how many records that are, and whether its checkpoint is due.
async fn compare(app: &App, scope: &str) -> Result<(usize, bool)> {
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
        .chunks(super::seal::AT_ONCE)
        .map(|part| Order {
            scope: scope.to_owned(),
            records: part.to_vec(),
            checkpoint: false,
        })
        .collect();
    if due {
        orders.push(Order {
            scope: scope.to_owned(),
            records: Vec::new(),
            checkpoint: true,
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
