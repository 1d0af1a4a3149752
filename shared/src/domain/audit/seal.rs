//! The sealer: gives records their numbers and hashes. One per chain at a time, by the queue's groups; should there be
//! two, the head's condition lets one through.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::chain::{Chain, Kind, Mark, Seal, Sealable, Signer, record_hash};
use super::sweep::{self, Page};
use crate::app::App;
use crate::config::Config;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::AuditId;
use crate::ports::queue::{Grouped, MAX_BATCH};
use crate::store::keys;
use crate::store::record::AuditRecord;
use crate::store::{Cond, Doc, Key, Update};

/// How many records are sealed in one transaction: a seal and a mark each, and the head. Reading them with their marks
/// must fit one batch, too.
pub const AT_ONCE: usize = 45;

/// How often another sealer may come first.
const TRIES: u32 = 6;

/// How long seals are kept after the last record before them has lived to its end: for that long, checkpoints may be
/// overdue.
const SPARE: SignedDuration = SignedDuration::from_hours(35 * 24);

/// How many seals are read at once, and how often, when a checkpoint moves; the next run goes on.
const PART: u32 = 1_000;
const PARTS: u32 = 50;

const RACED: &str = "sealed_by_another";

/// What the sealer is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Order {
    /// In whose chain.
    pub scope: String,
    /// The records' places (`keys::audit_place`).
    #[serde(default)]
    pub records: Vec<String>,
    /// Whether its checkpoint is due.
    #[serde(default)]
    pub checkpoint: bool,
    /// Whether it is to be compared with its log.
    #[serde(default)]
    pub compare: bool,
}

impl Order {
    /// To seal these records.
    pub fn of(scope: &str, records: &[String]) -> Self {
        Self {
            scope: scope.to_owned(),
            records: records.to_vec(),
            checkpoint: false,
            compare: false,
        }
    }
}

/// What a message of the queue is.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Wanted {
    Seal(Order),
    Compare(Page),
}

/// Asks the sealer to seal these records: scopes and places.
///
/// # Errors
/// `Unavailable` when the queue does not take everything; asking again does no harm.
pub async fn ask(app: &App, records: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let mut by_scope: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (scope, place) in records {
        by_scope.entry(scope).or_default().push(place);
    }
    let mut orders = Vec::new();
    for (scope, places) in by_scope {
        for places in places.chunks(AT_ONCE) {
            orders.push(Order::of(&scope, places));
        }
    }
    send(app, &orders).await
}

/// Sends orders, each to its chain's sealer.
///
/// # Errors
/// As `ask`.
pub async fn send(app: &App, orders: &[Order]) -> Result<()> {
    if orders.is_empty() {
        return Ok(());
    }
    let grouped = orders.iter().map(|order| {
        Ok(Grouped {
            group: order.scope.clone(),
            body: serde_json::to_string(order).map_err(Error::internal)?,
        })
    });
    post(app, &grouped.collect::<Result<Vec<_>>>()?).await
}

/// Puts messages into the sealer's queue.
pub(super) async fn post(app: &App, grouped: &[Grouped]) -> Result<()> {
    let url = Config::need(&app.config().audit_queue_url, "AUDIT_QUEUE_URL")?;
    for batch in grouped.chunks(MAX_BATCH) {
        if !app.queue()?.send_grouped(url, batch).await?.is_empty() {
            return Err(Error::Unavailable(
                "the audit queue did not take everything".into(),
            ));
        }
    }
    Ok(())
}

/// Carries orders out, chain by chain; answers the places of those that must come again. Each failure is logged.
pub async fn carry_out(app: &App, bodies: &[&str]) -> Vec<usize> {
    let mut failed = Vec::new();
    let mut chains: BTreeMap<String, (Vec<usize>, Vec<Order>)> = BTreeMap::new();
    for (place, body) in bodies.iter().enumerate() {
        match serde_json::from_str::<Wanted>(body) {
            Ok(Wanted::Seal(order)) => {
                let (places, orders) = chains.entry(order.scope.clone()).or_default();
                places.push(place);
                orders.push(order);
            }
            Ok(Wanted::Compare(page)) => {
                if let Err(error) = Box::pin(sweep::compare_page(app, &page)).await {
                    tracing::error!(error = %error, cause = ?error, "a page of chains could not be compared");
                    failed.push(place);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, place, "no order of a sealer");
                failed.push(place);
            }
        }
    }
    for (scope, (places, orders)) in chains {
        if let Err(error) = Box::pin(work(app, &scope, orders)).await {
            tracing::error!(error = %error, cause = ?error, audit.scope = scope, "a chain could not be sealed");
            failed.extend(places);
        }
    }
    failed.sort_unstable();
    failed
}

async fn work(app: &App, scope: &str, orders: Vec<Order>) -> Result<()> {
    if orders.iter().any(|o| o.compare) {
        sweep::compare(app, scope).await?;
    }
    let due = orders.iter().any(|o| o.checkpoint);
    let mut records = Vec::new();
    for place in orders.iter().flat_map(|o| &o.records) {
        let record = keys::audit_of_place(place);
        records.push(record.ok_or_else(|| Error::internal(format!("{place} is no record's place")))?);
    }
    records.sort_unstable();
    records.dedup();
    for records in records.chunks(AT_ONCE) {
        seal(app, scope, records).await?;
    }
    if due {
        checkpoint(app, scope).await?;
    }
    Ok(())
}

/// Seals those of the records that are not sealed yet, in the order of their times. Answers how many those were.
///
/// # Errors
/// `Unavailable` when other sealers kept coming first, or the table does not answer. What was sealed stays sealed.
pub async fn seal(app: &App, scope: &str, records: &[(Timestamp, AuditId)]) -> Result<usize> {
    let signer = Signer::load(app).await?;
    for _ in 0..TRIES {
        let (chain, found) = read(app, scope, records).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let count = found.len();
        match commit(app, &signer, (scope, chain), found).await {
            Err(Error::Conflict { code: RACED, .. }) => {}
            done => return done.map(|()| count),
        }
    }
    Err(Error::Unavailable("other sealers kept coming first".into()))
}

/// The chain as it stands, and what of the records is not in it.
async fn read(
    app: &App,
    scope: &str,
    records: &[(Timestamp, AuditId)],
) -> Result<(Option<Chain>, Vec<Sealable>)> {
    let head = keys::chain(scope);
    let mut wanted = vec![head.clone()];
    for (at, id) in records {
        wanted.extend([keys::audit(scope, *at, *id), keys::sealed(scope, *at, *id)]);
    }
    let mut batch = app.db().batch(&wanted).await?;
    let mut open = Vec::new();
    for (at, id) in records {
        if batch.has(&keys::sealed(scope, *at, *id)) {
            continue;
        }
        match batch.take(&keys::audit(scope, *at, *id)) {
            Some(doc) => open.push(sealable(&doc)?),
            // It has lived to its end, or somebody asks for what never was.
            None => tracing::warn!(audit.scope = scope, audit.id = %id, "a record to be sealed is not there"),
        }
    }
    Ok((batch.read(&head)?, open))
}

fn sealable(doc: &Doc) -> Result<Sealable> {
    let record: AuditRecord = doc.clone().read()?;
    Ok(Sealable {
        id: record.id,
        at: record.at,
        expires_at: record.expires_at,
        hash: record_hash(doc)?,
    })
}

async fn commit(
    app: &App,
    signer: &Signer,
    (scope, chain): (&str, Option<Chain>),
    records: Vec<Sealable>,
) -> Result<()> {
    let cause = Context::system("audit-sealer", app.clock().now());
    let raced = || Error::Conflict {
        code: RACED,
        detail: "another sealer came first".into(),
    };
    let old = chain.clone().unwrap_or_else(|| Chain::new(scope));
    let mut new = old.clone();
    let mut tx = app.tx(&cause);
    for record in records {
        let end = record.expires_at.as_second();
        new.longest = new.longest.max(end);
        let seal = Seal::new(
            scope,
            (new.seq + 1, &new.hash),
            record,
            new.longest + SPARE.as_secs(),
        );
        let mark = Mark {
            scope: scope.to_owned(),
            id: seal.id,
            at: seal.at,
            seq: seal.seq,
            kept_until: end + SPARE.as_secs(),
        };
        (new.seq, new.hash) = (seal.seq, seal.hash.clone());
        tx = tx.create_or(&seal, raced)?.create_or(&mark, raced)?;
    }
    let head = signer.state(Kind::Head, scope, (new.seq, &new.hash), cause.now);
    new.head = Some(head.clone());
    tx = match chain {
        None => tx.create_or(&new, raced)?,
        Some(_) => {
            let update = Update::of(keys::chain(scope))
                .set("seq", new.seq)?
                .set("hash", &new.hash)?
                .set("longest", new.longest)?
                .set("head", &head)?
                .when(Cond::eq("seq", old.seq)?.and(Cond::eq("hash", &old.hash)?));
            tx.update(update, raced)
        }
    };
    tx.run().await?;
    // The anchor: this line is kept for ten years, and nothing of ours may delete it.
    tracing::info!(
        audit.anchor = serde_json::to_string(&head).map_err(Error::internal)?,
        "chain head"
    );
    Ok(())
}

/// Moves a chain's checkpoint past every record at its beginning that has lived to its end. It walks from seal to seal,
/// so that it never passes a gap: what was removed from the beginning stays missing.
///
/// # Errors
/// When the table does not answer.
pub async fn checkpoint(app: &App, scope: &str) -> Result<()> {
    let Some(chain) = app.db().get::<Chain>(&keys::chain(scope)).await? else {
        return Ok(());
    };
    let now = app.clock().now();
    let start = chain.start();
    let passed = passed(app, scope, start.clone(), now).await?;
    if passed == start {
        return Ok(());
    }
    let signer = Signer::load(app).await?;
    let statement = signer.state(Kind::Checkpoint, scope, (passed.0, &passed.1), now);
    let unmoved = match &chain.checkpoint {
        None => Cond::absent("checkpoint"),
        Some(old) => Cond::eq(["checkpoint", "seq"], old.seq)?,
    };
    let update = Update::of(keys::chain(scope)).set("checkpoint", &statement)?;
    app.db()
        .update(&update.when(Cond::item_exists().and(unmoved)))
        .await?;
    tracing::info!(
        audit.anchor = serde_json::to_string(&statement).map_err(Error::internal)?,
        "chain checkpoint"
    );
    Ok(())
}

/// Number and hash of the last seal before the first record that lives.
async fn passed(app: &App, scope: &str, start: (u64, String), now: Timestamp) -> Result<(u64, String)> {
    let mut passed = start;
    for _ in 0..PARTS {
        let (from, to) = keys::seals_from(passed.0 + 1);
        let list = keys::seals(scope);
        let (docs, more) = app.db().between(&list, (&from, &to), PART, false).await?;
        for doc in docs {
            let seal: Seal = doc.read()?;
            if !seal.follows((passed.0, &passed.1)) {
                tracing::error!(audit.scope = scope, audit.seq = seal.seq, "a chain is broken");
                return Ok(passed);
            }
            if seal.expires_at > now {
                return Ok(passed);
            }
            passed = (seal.seq, seal.hash);
        }
        if !more {
            break;
        }
    }
    Ok(passed)
}

/// Whether a chain's checkpoint could move.
///
/// # Errors
/// When the table does not answer.
pub(super) async fn is_due(app: &App, chain: &Chain, now: Timestamp) -> Result<bool> {
    let (from, to) = keys::seals_from(chain.start().0 + 1);
    let list = keys::seals(&chain.scope);
    let (first, _) = app.db().between(&list, (&from, &to), 1, false).await?;
    let ends = first
        .first()
        .map(|doc| doc.field::<Timestamp>("expiresAt"))
        .transpose()?;
    Ok(ends.flatten().is_some_and(|end| end <= now))
}

/// Which of these records have no mark.
///
/// # Errors
/// When the table does not answer.
pub(super) async fn unsealed(
    app: &App,
    scope: &str,
    records: &[(Timestamp, AuditId)],
) -> Result<Vec<(Timestamp, AuditId)>> {
    let mut open = Vec::new();
    for part in records.chunks(100) {
        let marks: Vec<Key> = part
            .iter()
            .map(|(at, id)| keys::sealed(scope, *at, *id))
            .collect();
        let found = app.db().batch(&marks).await?;
        open.extend(
            part.iter()
                .zip(&marks)
                .filter(|(_, mark)| !found.has(mark))
                .map(|(r, _)| *r),
        );
    }
    Ok(open)
}
