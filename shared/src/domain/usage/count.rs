//! Counting usage events, each once, however often the queue delivers it: an event's row is created in the transaction
//! that adds it to the counters, so that what has its row is counted and what has none is not.
//!
//! A batch of a hundred events of one workspace in one hour costs one transaction per about eighty events: a row each,
//! and one update for each of the counters that they share, instead of twelve updates per event.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use jiff::SignedDuration;

use super::counter::{CounterId, Counts, Sum};
use super::event::UsageEvent;
use crate::app::App;
use crate::context::Context;
use crate::domain::cloud_event::CloudEvent;
use crate::domain::ledger::{USAGE_RECORDED, UsageRecorded};
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::store::tx::MAX_WRITES;
use crate::store::{Entity, Key};

/// How far ahead of our clock an event may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// How often a transaction is tried from which others counted an event first.
const TRIES: u32 = 5;

/// How many workspaces are counted side by side.
const WIDTH: usize = 8;

const COUNTED: &str = "already_counted";

/// An event that is to be counted, with its place in the batch.
struct Pending {
    place: usize,
    row: UsageEvent,
    counts: Counts,
    counters: Vec<CounterId>,
}

/// Events that are counted in one transaction.
#[derive(Default)]
struct Group {
    events: Vec<Pending>,
    counters: BTreeSet<CounterId>,
}

/// Counts the events in these message bodies and answers the places of those that could not be counted and must come
/// again, or end in the dead-letter queue when they never can be. Each failure is logged.
pub async fn count(app: &App, bodies: &[&str]) -> Vec<usize> {
    let mut failed = Vec::new();
    let mut pending: BTreeMap<WorkspaceId, Vec<Pending>> = BTreeMap::new();
    for (place, body) in bodies.iter().enumerate() {
        match read(app, place, body) {
            Ok(event) => pending
                .entry(event.row.recorded.workspace_id)
                .or_default()
                .push(event),
            Err(error) => {
                tracing::error!(error = %error, place, "a usage event is not acceptable");
                failed.push(place);
            }
        }
    }
    let work: Vec<_> = pending
        .into_values()
        .map(|events| count_workspace(app, events))
        .collect();
    let mut done = stream::iter(work).buffer_unordered(WIDTH);
    while let Some(places) = done.next().await {
        failed.extend(places);
    }
    failed.sort_unstable();
    failed
}

fn read(app: &App, place: usize, body: &str) -> Result<Pending> {
    let event = CloudEvent::parse(body)?;
    if event.event_type != USAGE_RECORDED {
        return Err(Error::field("type", format!("must be {USAGE_RECORDED}")));
    }
    let recorded: UsageRecorded =
        serde_json::from_value(event.data).map_err(|e| Error::field("data", e.to_string()))?;
    if recorded.agent_id.workspace() != recorded.workspace_id {
        return Err(Error::field("data.agentId", "is not an agent of the workspace"));
    }
    if recorded.at.duration_since(app.clock().now()) > AHEAD {
        return Err(Error::field("data.at", "lies in the future"));
    }
    let (counts, counters) = (Counts::of(&recorded)?, CounterId::all_of(&recorded)?);
    Ok(Pending {
        place,
        row: UsageEvent {
            event_id: event.id,
            recorded,
        },
        counts,
        counters,
    })
}

/// Counts events of one workspace; answers the places of those that could not be.
async fn count_workspace(app: &App, events: Vec<Pending>) -> Vec<usize> {
    let mut failed = Vec::new();
    for group in grouped(events) {
        let places: Vec<_> = group.events.iter().map(|e| e.place).collect();
        if let Err(error) = count_group(app, group.events).await {
            tracing::error!(error = %error, cause = ?error, events = places.len(), "usage could not be counted");
            failed.extend(places);
        }
    }
    failed
}

/// As few groups as fit a transaction each; an event that comes twice stays in its first one's group.
fn grouped(events: Vec<Pending>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut homes: BTreeMap<Key, usize> = BTreeMap::new();
    for event in events {
        let key = event.row.key();
        if let Some(home) = homes.get(&key).and_then(|n| groups.get_mut(*n)) {
            home.events.push(event);
            continue;
        }
        let fits = groups.last().is_some_and(|g| g.takes(&event));
        if !fits {
            groups.push(Group::default());
        }
        homes.insert(key, groups.len() - 1);
        if let Some(group) = groups.last_mut() {
            group.counters.extend(event.counters.iter().cloned());
            group.events.push(event);
        }
    }
    groups
}

impl Group {
    fn takes(&self, event: &Pending) -> bool {
        let new = event
            .counters
            .iter()
            .filter(|id| !self.counters.contains(id))
            .count();
        self.events.len() + self.counters.len() + 1 + new <= MAX_WRITES
    }
}

async fn count_group(app: &App, events: Vec<Pending>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut left: Vec<_> = events.into_iter().filter(|e| seen.insert(e.row.key())).collect();
    for _ in 0..TRIES {
        match commit(app, &left).await {
            Err(Error::Conflict { code: COUNTED, .. }) => {}
            done => return done,
        }
        let keys: Vec<_> = left.iter().map(|e| e.row.key()).collect();
        let counted = app.db().batch(&keys).await?;
        left.retain(|event| !counted.has(&event.row.key()));
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(Error::Unavailable(
        "other consumers kept counting the same events".into(),
    ))
}

async fn commit(app: &App, events: &[Pending]) -> Result<()> {
    let mut sums: BTreeMap<&CounterId, Sum> = BTreeMap::new();
    for event in events {
        for id in &event.counters {
            let sum = sums.entry(id).or_default();
            sum.add(event.row.recorded.at, event.counts);
        }
    }
    let cause = Context::system("metering-consumer", app.clock().now());
    let mut tx = app.tx(&cause);
    for event in events {
        tx = tx.create_or(&event.row, || Error::Conflict {
            code: COUNTED,
            detail: "the event has been counted already".into(),
        })?;
    }
    for (id, sum) in sums {
        tx = tx.update(id.add(&sum)?, || Error::internal("a counter refused an addition"));
    }
    tx.run().await
}
