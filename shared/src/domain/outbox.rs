//! Publishing what the outbox holds. A row is the promise that an event will be acted on; it goes once that has been
//! done. An event may therefore be published twice, and whoever gets it deduplicates by its id.

use futures_util::stream::{self, StreamExt};
use jiff::SignedDuration;
use serde::de::DeserializeOwned;

use super::agents::delete as agents;
use super::billing;
use super::cloud_event::CloudEvent;
use super::ledger::{self, USAGE_RECORDED};
use super::notifications;
use super::users::{deletion, preferences};
use super::workspaces::delete as workspaces;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::EventId;
use crate::ports::queue::MAX_BATCH;
use crate::store::record::OutboxRecord;
use crate::store::{Cond, Entity, Page, PageRequest, keys};

/// A row that is younger is left to the table's stream.
const OVERLOOKED: SignedDuration = SignedDuration::from_mins(1);

/// How many events are carried out side by side.
const WIDTH: usize = 8;

/// Publishes each event and removes its row; answers the ids of those that have to come again. Each failure is logged.
pub async fn publish(app: &App, records: &[OutboxRecord]) -> Vec<EventId> {
    let (metered, others): (Vec<_>, Vec<_>) = records.iter().partition(|r| r.event_type == USAGE_RECORDED);
    let mut results = Vec::with_capacity(records.len());
    for batch in metered.chunks(MAX_BATCH) {
        results.extend(meter(app, batch).await);
    }
    let work: Vec<_> = others
        .into_iter()
        .map(|record| carried_out(app, record))
        .collect();
    results.extend(
        stream::iter(work)
            .buffer_unordered(WIDTH)
            .collect::<Vec<_>>()
            .await,
    );
    let work: Vec<_> = results
        .into_iter()
        .map(|(record, result)| settled(app, record, result))
        .collect();
    stream::iter(work)
        .buffer_unordered(WIDTH)
        .filter_map(std::future::ready)
        .collect()
        .await
}

type Published<'a> = (&'a OutboxRecord, Result<()>);

/// Sends usage events to the metering queue.
async fn meter<'a>(app: &App, batch: &[&'a OutboxRecord]) -> Vec<Published<'a>> {
    let refused = match send(app, batch).await {
        Ok(refused) => refused,
        Err(error) => {
            tracing::error!(error = %error, cause = ?error, "the metering queue takes no messages");
            (0..batch.len()).collect()
        }
    };
    let outcome = |n: usize| match refused.contains(&n) {
        true => Err(Error::Unavailable(
            "the metering queue did not take the event".into(),
        )),
        false => Ok(()),
    };
    batch
        .iter()
        .enumerate()
        .map(|(n, record)| (*record, outcome(n)))
        .collect()
}

async fn send(app: &App, batch: &[&OutboxRecord]) -> Result<Vec<usize>> {
    let url = Config::need(&app.config().metering_queue_url, "METERING_QUEUE_URL")?;
    let bodies = batch
        .iter()
        .map(|r| serde_json::to_string(&CloudEvent::of(r)).map_err(Error::internal));
    app.queue()?.send(url, &bodies.collect::<Result<Vec<_>>>()?).await
}

async fn carried_out<'a>(app: &App, record: &'a OutboxRecord) -> Published<'a> {
    (record, carry_out(app, record).await)
}

/// Does what the event asks of us; repeating it does no harm.
async fn carry_out(app: &App, record: &OutboxRecord) -> Result<()> {
    if ledger::on_event(app, record).await? {
        return Ok(());
    }
    match record.event_type.as_str() {
        workspaces::DELETED => {
            let deleted = data::<workspaces::Deleted>(record)?.workspace_id;
            billing::limits::freed(app, deleted).await?;
            workspaces::purge(app, deleted).await
        }
        agents::DELETED => {
            let deleted = data::<agents::Deleted>(record)?.agent_id;
            agents::purge(app, deleted).await?;
            billing::limits::freed(app, deleted.workspace()).await
        }
        deletion::REQUESTED => {
            let user = data::<deletion::Requested>(record)?.user_id;
            billing::event::order_leave(app, user, &record.id.to_string()).await?;
            deletion::carry_on(app, user).await
        }
        notifications::RAISED => notifications::write(app, record).await,
        // For the person's other devices, which as yet see it at their next read: nothing waits for it.
        preferences::CHANGED => Ok(()),
        unknown => Err(Error::internal(format!(
            "nobody publishes events of the type {unknown}"
        ))),
    }
}

fn data<T: DeserializeOwned>(record: &OutboxRecord) -> Result<T> {
    serde_json::from_value(record.data.clone()).map_err(Error::internal)
}

/// Removes the row of an event that was published; the id of one that was not, or whose row is still there.
async fn settled(app: &App, record: &OutboxRecord, result: Result<()>) -> Option<EventId> {
    let removed = match result {
        Ok(()) => app.db().take(&record.key(), &Cond::item_exists()).await.map(drop),
        Err(error) => Err(error),
    };
    let error = removed.err()?;
    tracing::error!(event.id = %record.id, event.type_ = record.event_type, error = %error, cause = ?error, "an event could not be published");
    Some(record.id)
}

/// What a sweep of the outbox did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptOutbox {
    /// Events that the stream had overlooked.
    pub published: usize,
    /// Events that could not be published; the next sweep tries again.
    pub failed: usize,
}

/// Publishes every event that has waited for longer than a minute.
///
/// # Errors
/// When the table does not answer. An event that cannot be published does not stop the others.
pub async fn sweep(app: &App) -> Result<SweptOutbox> {
    let mut swept = SweptOutbox::default();
    let now = app.clock().now();
    for shard in 0..keys::SHARDS {
        let list = keys::outbox_shard(shard);
        let mut page = PageRequest::default();
        loop {
            let Page { items, next_cursor } = app.db().list::<OutboxRecord>(&list, &page, false).await?;
            let last = items.last().map(|record| record.key().sk().to_owned());
            let waiting: Vec<_> = items
                .into_iter()
                .filter(|r| now.duration_since(r.at) >= OVERLOOKED)
                .collect();
            let failed = publish(app, &waiting).await.len();
            swept.published += waiting.len() - failed;
            swept.failed += failed;
            match (next_cursor, last) {
                (Some(_), Some(last)) => page = page.starting_after(last),
                _ => break,
            }
        }
    }
    Ok(swept)
}
