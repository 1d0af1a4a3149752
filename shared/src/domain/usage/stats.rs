//! Sums over time, shaped for charts: every bucket of the span is there, the empty ones too.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::bucket::Bucket;
use super::counter::{Counter, Counts, Dimension};
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::money::Cbt;
use crate::store::{Db, keys};

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct StatsQuery {
    /// The buckets' size.
    pub range: Bucket,
    /// A moment in the first bucket.
    pub from: Option<Timestamp>,
    /// The end, itself not included; now, when absent.
    pub to: Option<Timestamp>,
    /// What each bucket is divided by.
    pub group_by: Dimension,
}

/// Sums over calls.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CountsView {
    /// Calls.
    pub calls: i64,
    /// Calls that neither completed nor were stopped.
    pub failures: i64,
    /// Tokens of prompts.
    pub input_tokens: i64,
    /// Tokens of answers.
    pub output_tokens: i64,
    /// Tokens of prompts that the provider had cached.
    pub cached_tokens: i64,
    /// What was charged.
    pub cost: Cbt,
    /// The mean time from request to end of answer; 0 without calls.
    pub average_latency_ms: i64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            calls: counts.calls,
            failures: counts.failures,
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            cached_tokens: counts.cached_tokens,
            cost: Cbt::micro(counts.cost),
            average_latency_ms: counts.latency_ms.checked_div(counts.calls).unwrap_or(0),
        }
    }
}

/// One part of a bucket.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    /// The agent's or member's id, or the model's name.
    pub key: String,
    /// Its sums.
    #[serde(flatten)]
    pub counts: CountsView,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketView {
    /// When it starts.
    #[schema(value_type = String, format = DateTime)]
    pub start: Timestamp,
    /// Its sums.
    #[serde(flatten)]
    pub counts: CountsView,
    /// Its parts, by key; absent without `groupBy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<GroupView>>,
}

/// Sums over time.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatsView {
    /// The buckets' size.
    pub range: Bucket,
    /// The start of the first bucket.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The end of the last bucket.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// What each bucket is divided by.
    pub group_by: Dimension,
    /// Every bucket of the span, oldest first.
    pub buckets: Vec<BucketView>,
    /// Over all of them.
    pub totals: CountsView,
}

/// The starts of the buckets that are asked for, and the end of the last.
fn span(query: &StatsQuery, now: Timestamp) -> Result<(Vec<Timestamp>, Timestamp)> {
    let size = query.range;
    // The bucket that holds the last moment before `to`.
    let last = match query.to {
        None => size.start(now)?,
        Some(to) => size.start(to.checked_sub(jiff::SignedDuration::from_nanos(1)).map_err(far)?)?,
    };
    let first = match query.from {
        Some(from) => size.start(from)?,
        None => size.step(last, 1 - i64::try_from(size.shown()).map_err(Error::internal)?)?,
    };
    if first > last {
        return Err(Error::field("query.from", "must be before `to`"));
    }
    let (mut starts, mut next) = (Vec::new(), first);
    while next <= last {
        if starts.len() == size.most() {
            let message = format!("must be at most {} buckets before `to`", size.most());
            return Err(Error::field("query.from", message));
        }
        starts.push(next);
        next = size.step(next, 1).map_err(far)?;
    }
    Ok((starts, next))
}

fn far(_: impl Sized) -> Error {
    Error::field("query.to", "is too far from today")
}

/// The sums of a workspace.
///
/// # Errors
/// `Invalid` on `query.from` or `query.to`.
pub async fn stats(db: &Db, workspace: WorkspaceId, query: &StatsQuery, now: Timestamp) -> Result<StatsView> {
    let (starts, end) = span(query, now)?;
    let (Some(first), Some(last)) = (starts.first(), starts.last()) else {
        return Err(Error::internal("a span without buckets"));
    };
    let list = keys::usage_counters(workspace, query.range.as_str(), query.group_by.as_str());
    let (from, to) = keys::usage_span(&first.to_string(), &last.to_string());
    let mut by_start: BTreeMap<Timestamp, Vec<Counter>> = BTreeMap::new();
    for counter in db.part::<Counter>(&list, &from, &to).await? {
        by_start.entry(counter.id.start).or_default().push(counter);
    }
    let mut totals = Counts::default();
    let mut buckets = Vec::with_capacity(starts.len());
    for start in &starts {
        let counters = by_start.remove(start).unwrap_or_default();
        let sum = counters
            .iter()
            .fold(Counts::default(), |sum, c| sum.plus(c.counts));
        totals = totals.plus(sum);
        buckets.push(BucketView {
            start: *start,
            counts: sum.into(),
            groups: groups(query.group_by, counters),
        });
    }
    Ok(StatsView {
        range: query.range,
        from: *first,
        to: end,
        group_by: query.group_by,
        buckets,
        totals: totals.into(),
    })
}

fn groups(by: Dimension, counters: Vec<Counter>) -> Option<Vec<GroupView>> {
    let view = |c: Counter| GroupView {
        key: c.id.value,
        counts: c.counts.into(),
    };
    (by != Dimension::All).then(|| counters.into_iter().map(view).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn query(range: Bucket, from: Option<&str>, to: Option<&str>) -> StatsQuery {
        StatsQuery {
            range,
            from: from.map(at),
            to: to.map(at),
            group_by: Dimension::All,
        }
    }

    fn spanned(query: &StatsQuery) -> (usize, String, String) {
        let (starts, end) = span(query, at("2026-03-15T10:20:30Z")).unwrap();
        (starts.len(), starts[0].to_string(), end.to_string())
    }

    #[test]
    fn without_a_span_the_last_buckets_are_shown_with_the_running_one() {
        let of = |range| spanned(&query(range, None, None));
        assert_eq!(
            of(Bucket::Hour),
            (24, "2026-03-14T11:00:00Z".into(), "2026-03-15T11:00:00Z".into())
        );
        assert_eq!(
            of(Bucket::Day),
            (30, "2026-02-14T00:00:00Z".into(), "2026-03-16T00:00:00Z".into())
        );
        assert_eq!(
            of(Bucket::Month),
            (12, "2025-04-01T00:00:00Z".into(), "2026-04-01T00:00:00Z".into())
        );
    }

    #[test]
    fn the_end_of_a_span_is_not_in_it() {
        let asked = query(
            Bucket::Day,
            Some("2026-03-01T12:00:00Z"),
            Some("2026-03-03T00:00:00Z"),
        );
        assert_eq!(
            spanned(&asked),
            (2, "2026-03-01T00:00:00Z".into(), "2026-03-03T00:00:00Z".into())
        );
    }

    #[test]
    fn a_span_that_is_empty_or_endless_is_refused() {
        let now = at("2026-03-15T10:20:30Z");
        for (from, to) in [
            ("2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z"),
            ("0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z"),
            ("2025-01-01T00:00:00Z", "2026-01-03T00:00:00Z"),
        ] {
            let refused = span(&query(Bucket::Day, Some(from), Some(to)), now);
            assert!(
                matches!(&refused, Err(Error::Invalid(f)) if f[0].field == "query.from"),
                "{refused:?}"
            );
        }
    }
}
