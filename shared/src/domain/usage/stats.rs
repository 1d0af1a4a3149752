//! Sums over time, shaped for charts: every bucket of the span is there, the empty ones too.

use jiff::Timestamp;
use serde::Serialize;

use super::bucket::Bucket;
use super::counter::{Counts, Dimension};
use super::sums::{Sources, Sums};
use super::zone::Zone;
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::money::Cbt;
use crate::store::Db;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct StatsQuery {
    /// The buckets' size.
    pub range: Bucket,
    /// By whose calendar.
    pub zone: Zone,
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
    /// The agent's, member's or workspace's id, or the model's name.
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
    /// The same as the clocks of the time zone show it: RFC 3339 with their offset; with the zone in brackets, RFC 9557.
    #[schema(value_type = String, format = DateTime)]
    pub local: String,
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
    /// By the calendar of which time zone.
    pub timezone: String,
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
pub(super) fn span(query: &StatsQuery, now: Timestamp) -> Result<Vec<Timestamp>> {
    let (size, zone) = (query.range, query.zone.rules());
    // The bucket that holds the last moment before `to`.
    let last = match query.to {
        None => size.start(now, zone)?,
        Some(to) => {
            let before = to.checked_sub(jiff::SignedDuration::from_nanos(1));
            size.start(before.map_err(far)?, zone)?
        }
    };
    let first = match query.from {
        Some(from) => size.start(from, zone)?,
        None => size.step(
            last,
            1 - i64::try_from(size.shown()).map_err(Error::internal)?,
            zone,
        )?,
    };
    if first > last {
        return Err(Error::field("query.from", "must be before `to`"));
    }
    let (mut edges, mut next) = (Vec::new(), first);
    while next <= last {
        if edges.len() == size.most() {
            let message = format!("must be at most {} buckets before `to`", size.most());
            return Err(Error::field("query.from", message));
        }
        edges.push(next);
        next = size.step(next, 1, zone).map_err(far)?;
    }
    edges.push(next);
    Ok(edges)
}

fn far(_: impl Sized) -> Error {
    Error::field("query.to", "is too far from today")
}

/// The most buckets of all workspaces together that one answer adds up: in a time zone other than UTC each is a read.
const MOST: usize = 5_000;

/// The sums of these workspaces together.
///
/// # Errors
/// `Invalid` on `query.from` or `query.to`.
pub async fn stats(
    db: &Db,
    workspaces: &[WorkspaceId],
    query: &StatsQuery,
    now: Timestamp,
) -> Result<StatsView> {
    let edges = span(query, now)?;
    if workspaces.len() > 1 && edges.len().saturating_sub(1) * workspaces.len() > MOST {
        let most = MOST / workspaces.len();
        let message = format!(
            "must be at most {most} buckets before `to`, of {} workspaces",
            workspaces.len()
        );
        return Err(Error::field("query.from", message));
    }
    let sources = Sources {
        db,
        workspaces,
        dimension: query.group_by,
    };
    let sums = sources.between(query.range, &edges).await?;
    let mut totals = Counts::default();
    let mut buckets = Vec::with_capacity(sums.len());
    for (start, sums) in edges.iter().zip(sums) {
        let sum = sums.values().fold(Counts::default(), |sum, c| sum.plus(*c));
        totals = totals.plus(sum);
        buckets.push(BucketView {
            start: *start,
            local: query.zone.shown(*start),
            counts: sum.into(),
            groups: groups(query.group_by, sums),
        });
    }
    let (Some(from), Some(to)) = (edges.first(), edges.last()) else {
        return Err(Error::internal("a span without buckets"));
    };
    Ok(StatsView {
        range: query.range,
        timezone: query.zone.name().to_owned(),
        from: *from,
        to: *to,
        group_by: query.group_by,
        buckets,
        totals: totals.into(),
    })
}

fn groups(by: Dimension, sums: Sums) -> Option<Vec<GroupView>> {
    let view = |(key, counts): (String, Counts)| GroupView {
        key,
        counts: counts.into(),
    };
    (by != Dimension::All).then(|| sums.into_iter().map(view).collect())
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
            zone: Zone::parse("UTC").unwrap(),
            from: from.map(at),
            to: to.map(at),
            group_by: Dimension::All,
        }
    }

    fn spanned(query: &StatsQuery) -> (usize, String, String) {
        let edges = span(query, at("2026-03-15T10:20:30Z")).unwrap();
        let end = edges.last().unwrap();
        (edges.len() - 1, edges[0].to_string(), end.to_string())
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
