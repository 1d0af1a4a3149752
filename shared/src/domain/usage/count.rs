//! Counting usage events, each once, however often the queue delivers it: an event's row is created in the transaction
//! that adds it to the counters, so that what has its row is counted and what has none is not.
//!
//! A batch of a hundred events of one workspace in one hour costs one transaction per about eighty events: a row each,
//! and one update for each of the counters that they share, instead of twelve updates per event.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::counter::{CounterId, Counts, Sum};
use super::event::UsageEvent;
use super::record::SERVICES;
use crate::app::App;
use crate::context::Context;
use crate::domain::cloud_event::CloudEvent;
use crate::domain::ledger::{USAGE_RECORDED, UsageRecorded};
use crate::error::{Error, FieldError, Result};
use crate::ids::WorkspaceId;
use crate::store::tx::MAX_WRITES;
use crate::store::{Entity, Key, keys};

/// How far ahead of our clock an event may be.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// How often a transaction is tried from which others counted an event first.
const TRIES: u32 = 5;

/// How many workspaces are counted side by side.
const WIDTH: usize = 8;

const COUNTED: &str = "already_counted";

/// The source of events that come from our own outbox.
const OURS: &str = "camarad";

/// How long the id of another service's event is known: longer than it may come late.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 100);

/// An event that is to be counted, with its place in the batch.
struct Pending {
    place: usize,
    row: UsageEvent,
    counts: Counts,
    counters: Vec<CounterId>,
    told: Option<Told>,
}

impl Pending {
    /// What shows that it was counted.
    fn marks(&self) -> impl Iterator<Item = Key> + use<> {
        let told = self.told.as_ref().map(Told::key);
        std::iter::once(self.row.key()).chain(told)
    }
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
    let now = app.clock().now();
    let recorded = accepted(&event, now)?;
    let counters = CounterId::all_of(&recorded)?;
    let told = event.source.starts_with(SERVICES).then(|| Told::of(&event, now));
    Ok(Pending {
        place,
        counts: Counts::of(&recorded)?,
        row: UsageEvent {
            event_id: event.id,
            recorded,
        },
        counters,
        told,
    })
}

/// What an event records, if it is one that is counted.
///
/// # Errors
/// `Invalid` with what is wrong.
pub(super) fn accepted(event: &CloudEvent, now: Timestamp) -> Result<UsageRecorded> {
    if event.event_type != USAGE_RECORDED {
        return Err(Error::field("type", format!("must be {USAGE_RECORDED}")));
    }
    if event.source != OURS && !event.source.starts_with(SERVICES) {
        return Err(Error::field("source", "is not known here"));
    }
    let recorded: UsageRecorded =
        serde_json::from_value(event.data.clone()).map_err(|e| Error::field("data", e.to_string()))?;
    if recorded.agent_id.workspace() != recorded.workspace_id {
        return Err(Error::field("data.agentId", "is not an agent of the workspace"));
    }
    if recorded.at.duration_since(now) > AHEAD {
        return Err(Error::field("data.at", "lies in the future"));
    }
    Counts::of(&recorded).map_err(|error| match error {
        Error::Invalid(fields) => Error::Invalid(
            fields
                .into_iter()
                .map(|f| FieldError {
                    field: format!("data.{}", f.field),
                    ..f
                })
                .collect(),
        ),
        other => other,
    })?;
    Ok(recorded)
}

/// That an event of another service was counted. Ours are told apart by their calls, and their rows are mark enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    source: String,
    id: String,
    at: Timestamp,
}

impl Told {
    fn of(event: &CloudEvent, now: Timestamp) -> Self {
        Self {
            source: event.source.clone(),
            id: event.id.clone(),
            at: now,
        }
    }
}

impl Entity for Told {
    const KIND: &'static str = "usage-told";
    fn key(&self) -> Key {
        keys::usage_told(&self.source, &self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some((self.at + KEPT).as_second())
    }
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
        let marks: Vec<_> = event.marks().collect();
        let home = marks.iter().find_map(|mark| homes.get(mark).copied());
        if let Some(home) = home.and_then(|n| groups.get_mut(n)) {
            home.events.push(event);
            continue;
        }
        let fits = groups.last().is_some_and(|g| g.takes(&event));
        if !fits {
            groups.push(Group::default());
        }
        homes.extend(marks.into_iter().map(|mark| (mark, groups.len() - 1)));
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
        let rows: usize = self.events.iter().chain([event]).map(|e| e.marks().count()).sum();
        rows + self.counters.len() + new <= MAX_WRITES
    }
}

async fn count_group(app: &App, events: Vec<Pending>) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut left: Vec<_> = events
        .into_iter()
        .filter(|e| {
            let known = e.marks().filter(|mark| !seen.insert(mark.clone())).count();
            known == 0
        })
        .collect();
    for _ in 0..TRIES {
        match commit(app, &left).await {
            Err(Error::Conflict { code: COUNTED, .. }) => {}
            done => return done,
        }
        let marks: Vec<_> = left.iter().flat_map(Pending::marks).collect();
        let counted = app.db().batch(&marks).await?;
        left.retain(|event| !event.marks().any(|mark| counted.has(&mark)));
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
    let already = || Error::Conflict {
        code: COUNTED,
        detail: "the event has been counted already".into(),
    };
    for event in events {
        tx = tx.create_or(&event.row, already)?;
        if let Some(told) = &event.told {
            tx = tx.create_or(told, already)?;
        }
    }
    for (id, sum) in sums {
        tx = tx.update(id.add(&sum)?, || Error::internal("a counter refused an addition"));
    }
    tx.run().await
}
