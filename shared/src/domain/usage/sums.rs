//! Sums between any two moments, exact to the quarter of an hour, from counters of UTC hours, days and months.
//!
//! In UTC the counters are the buckets: one query. In another zone a bucket's edges lie between those of UTC. Each edge is
//! moved to the nearest one of UTC, and what lies between the two (at most twelve hours of a day, sixteen of a month) is
//! corrected by the counters of those hours: one small query per edge, side by side, instead of all hours of the span.
//! Hours of zones whose offset is no full hour are put together from the quarters that an hour's counter has.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::bucket::Bucket;
use super::counter::{Counter, Counts, Dimension, QUARTER, quarters};
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::{Db, Doc, keys};

/// How many edges are corrected side by side.
const WIDTH: usize = 16;

/// How many workspaces are added up side by side.
const WORKSPACES: usize = 4;

/// Sums by agent, model, member or workspace, or of all under one name.
pub(super) type Sums = BTreeMap<String, Counts>;

/// The name under which everything is added up.
const EVERYTHING: &str = "all";

/// Of which counters sums are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) db: &'a Db,
    pub(super) workspaces: &'a [WorkspaceId],
    pub(super) dimension: Dimension,
}

impl Sources<'_> {
    /// The sums between each two neighbours of `edges`, which ascend, over all the workspaces.
    pub(super) async fn between(&self, size: Bucket, edges: &[Timestamp]) -> Result<Vec<Sums>> {
        let source = |workspace: &WorkspaceId| Source {
            db: self.db,
            workspace: *workspace,
            dimension: self.dimension,
        };
        let each = self.workspaces.iter().map(source);
        let work: Vec<_> = each
            .map(|one| async move { one.between(size, edges).await })
            .collect();
        let mut done = stream::iter(work).buffered(WORKSPACES);
        let mut all = vec![Sums::new(); edges.len().saturating_sub(1)];
        while let Some(sums) = done.try_next().await? {
            for (all, sums) in all.iter_mut().zip(sums) {
                for (value, counts) in sums {
                    let sum = all.entry(value).or_default();
                    *sum = sum.plus(counts);
                }
            }
        }
        Ok(all)
    }
}

/// The counters of one workspace.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    db: &'a Db,
    workspace: WorkspaceId,
    dimension: Dimension,
}

impl Source<'_> {
    /// The sums between each two neighbours of `edges`, which ascend: one less than there are edges. `size` says which
    /// counters are used.
    async fn between(&self, size: Bucket, edges: &[Timestamp]) -> Result<Vec<Sums>> {
        let mut all = vec![Sums::new(); edges.len().saturating_sub(1)];
        let (Some(first), Some(last)) = (edges.first(), edges.last()) else {
            return Ok(all);
        };
        if size == Bucket::Hour {
            for (at, value, counts) in self.hours(*first, *last).await? {
                add(&mut all, edges, at, &value, counts);
            }
            return Ok(all);
        }
        // The parts first, then the wholes: a part is in its whole already when that is read, so nothing falls below zero.
        let work: Vec<_> = edges.iter().map(|edge| self.moved(size, *edge)).collect();
        let moved: Vec<Moved> = stream::iter(work).buffered(WIDTH).try_collect().await?;
        let to: Vec<_> = moved.iter().map(|m| m.to).collect();
        let (Some(first), Some(last)) = (to.first(), to.last()) else {
            return Ok(all);
        };
        for doc in self.counters(size, *first, *last).await? {
            let counter: Counter = doc.read()?;
            add(
                &mut all,
                &to,
                counter.id.start,
                &self.value(counter.id.value),
                counter.counts,
            );
        }
        for (sums, edges) in all.iter_mut().zip(moved.windows(2)) {
            let [start, end] = edges else { continue };
            start.leave(sums);
            end.enter(sums);
            sums.retain(|_, counts| *counts != Counts::default());
        }
        Ok(all)
    }

    /// The counters that start from `from` on and before `to`.
    async fn counters(&self, size: Bucket, from: Timestamp, to: Timestamp) -> Result<Vec<Doc>> {
        if from >= to {
            return Ok(Vec::new());
        }
        let dimension = self.dimension.counted();
        let list = keys::usage_counters(self.workspace, size.as_str(), dimension.as_str());
        let (from, to) = keys::usage_span(&from.to_string(), &to.to_string());
        self.db.part_docs(&list, &from, &to).await
    }

    /// The quarters of hours from `from` on and before `to`: when each starts, its value and its sums.
    async fn hours(&self, from: Timestamp, to: Timestamp) -> Result<Vec<(Timestamp, String, Counts)>> {
        let mut all = Vec::new();
        let first = Bucket::Hour.start(from, &TimeZone::UTC)?;
        for doc in self.counters(Bucket::Hour, first, to).await? {
            let parts = quarters(&doc)?;
            let counter: Counter = doc.read()?;
            let value = self.value(counter.id.value);
            let mut at = counter.id.start;
            for counts in parts {
                if at >= from && at < to && counts != Counts::default() {
                    all.push((at, value.clone(), counts));
                }
                at += QUARTER;
            }
        }
        Ok(all)
    }

    /// An edge, moved to the nearest one of UTC.
    async fn moved(&self, size: Bucket, edge: Timestamp) -> Result<Moved> {
        let before = size.start(edge, &TimeZone::UTC)?;
        let after = size.step(before, 1, &TimeZone::UTC)?;
        let back = edge.duration_since(before) <= after.duration_since(edge);
        let (to, from, till) = match back {
            true => (before, before, edge),
            false => (after, edge, after),
        };
        let mut between = Sums::new();
        for (_, value, counts) in self.hours(from, till).await? {
            let sum = between.entry(value).or_default();
            *sum = sum.plus(counts);
        }
        Ok(Moved { to, back, between })
    }

    fn value(&self, stored: String) -> String {
        match self.dimension {
            Dimension::All => EVERYTHING.to_owned(),
            Dimension::Workspace => self.workspace.to_string(),
            _ => stored,
        }
    }
}

/// Adds to the sums of the bucket that `at` lies in, if it lies in one.
fn add(all: &mut [Sums], edges: &[Timestamp], at: Timestamp, value: &str, counts: Counts) {
    let after = edges.partition_point(|edge| *edge <= at);
    if let Some(sums) = after.checked_sub(1).and_then(|n| all.get_mut(n)) {
        let sum = sums.entry(value.to_owned()).or_default();
        *sum = sum.plus(counts);
    }
}

/// An edge that was moved, and what lies between where it was and where it is.
struct Moved {
    to: Timestamp,
    /// To an earlier moment, or to none.
    back: bool,
    between: Sums,
}

impl Moved {
    /// Corrects the bucket that begins here.
    fn leave(&self, sums: &mut Sums) {
        self.correct(sums, self.back);
    }

    /// Corrects the bucket that ends here.
    fn enter(&self, sums: &mut Sums) {
        self.correct(sums, !self.back);
    }

    fn correct(&self, sums: &mut Sums, take_away: bool) {
        for (value, counts) in &self.between {
            let sum = sums.entry(value.clone()).or_default();
            *sum = match take_away {
                true => sum.minus(*counts),
                false => sum.plus(*counts),
            };
        }
    }
}
