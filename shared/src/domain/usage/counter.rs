//! Counters: what is added up per bucket and dimension.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use crate::domain::ledger::{CallStatus, UsageRecorded};
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::store::keys::{self, Key};
use crate::store::{Doc, Entity, Update};

/// A figure beyond this is no usage but a fault; it also keeps sums far from the end of 64 bits.
const BELIEVABLE: i64 = 1_000_000_000_000;

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// Everything.
    #[serde(rename = "none")]
    All,
    /// By agent.
    Agent,
    /// By model.
    Model,
    /// By member.
    Member,
    /// By workspace.
    Workspace,
}

impl Dimension {
    /// Those that have counters. Everything in a workspace is the sum over its models, of which there are few: so it needs
    /// none of its own, and a call is added to nine counters instead of twelve.
    pub const COUNTED: [Dimension; 3] = [Dimension::Agent, Dimension::Model, Dimension::Member];

    /// The dimension whose counters tell this one.
    pub(super) fn counted(self) -> Self {
        match self {
            Self::All | Self::Workspace => Self::Model,
            other => other,
        }
    }

    /// The name in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Member => "member",
            Self::Workspace => "workspace",
        }
    }

    /// Which counter of this dimension an event belongs to.
    pub fn value(self, event: &UsageRecorded) -> String {
        match self {
            Self::All => "all".into(),
            Self::Agent => event.agent_id.to_string(),
            Self::Model => event.usage.model.clone().unwrap_or_else(|| "unknown".into()),
            Self::Member => event.user_id.to_string(),
            Self::Workspace => event.workspace_id.to_string(),
        }
    }
}

/// Sums over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Calls.
    pub calls: i64,
    /// Calls that did not end as the user wanted: neither completed nor stopped.
    pub failures: i64,
    /// Tokens of prompts.
    pub input_tokens: i64,
    /// Tokens of answers.
    pub output_tokens: i64,
    /// Tokens of prompts that the provider had cached.
    pub cached_tokens: i64,
    /// What was charged, in micro-cbT.
    pub cost: i64,
    /// At the provider's list price, in millionths of a US dollar.
    pub provider_cost_micro_usd: i64,
    /// Milliseconds, added up.
    pub latency_ms: i64,
}

impl Counts {
    /// One call.
    ///
    /// # Errors
    /// `Invalid` when a figure is negative or beyond belief.
    pub fn of(event: &UsageRecorded) -> Result<Self> {
        let number = |name: &str, value: u64| {
            let value = i64::try_from(value).ok().filter(|v| *v <= BELIEVABLE);
            value.ok_or_else(|| Error::field(name, "is beyond belief"))
        };
        let cost = event.cost.as_micro();
        if cost < 0 {
            return Err(Error::field("cost", "must not be negative"));
        }
        Ok(Self {
            calls: 1,
            failures: i64::from(!matches!(
                event.status,
                CallStatus::Completed | CallStatus::Stopped
            )),
            input_tokens: number("inputTokens", event.usage.input_tokens)?,
            output_tokens: number("outputTokens", event.usage.output_tokens)?,
            cached_tokens: number("cachedTokens", event.usage.cached_tokens)?,
            cost,
            provider_cost_micro_usd: number("providerCostMicroUsd", event.usage.provider_cost_micro_usd)?,
            latency_ms: number("latencyMs", event.usage.latency_ms)?,
        })
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_add)
    }

    /// This without the other, which is a part of it.
    pub(super) fn minus(self, other: Self) -> Self {
        self.zip(other, i64::saturating_sub)
    }

    fn zip(self, other: Self, f: fn(i64, i64) -> i64) -> Self {
        let mut figures = self.figures();
        figures
            .iter_mut()
            .zip(other.figures())
            .for_each(|(a, b)| *a = f(*a, b));
        Self::of_figures(figures)
    }

    /// In the order of `FIGURES`.
    fn figures(&self) -> [i64; FIGURES.len()] {
        [
            self.calls,
            self.failures,
            self.input_tokens,
            self.output_tokens,
            self.cached_tokens,
            self.cost,
            self.provider_cost_micro_usd,
            self.latency_ms,
        ]
    }

    fn of_figures(figures: [i64; FIGURES.len()]) -> Self {
        let [
            calls,
            failures,
            input_tokens,
            output_tokens,
            cached_tokens,
            cost,
            provider_cost_micro_usd,
            latency_ms,
        ] = figures;
        Self {
            calls,
            failures,
            input_tokens,
            output_tokens,
            cached_tokens,
            cost,
            provider_cost_micro_usd,
            latency_ms,
        }
    }
}

/// What a counter counts, as stored.
const FIGURES: [&str; 8] = [
    "calls",
    "failures",
    "inputTokens",
    "outputTokens",
    "cachedTokens",
    "cost",
    "providerCostMicroUsd",
    "latencyMs",
];

/// The quarters of an hour whose sums an hour's counter also has, as `calls0`, `calls1` …; the last is what is left.
/// Every time zone's offset has been a multiple of fifteen minutes since 1972, so with them hours add up to the days of
/// any zone. They cost nothing to write: the item stays below 1 KB.
const QUARTERS: usize = 3;

/// A quarter of an hour.
pub(super) const QUARTER: SignedDuration = SignedDuration::from_mins(15);

/// The sums of some calls in one counter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    whole: Counts,
    quarters: [Counts; QUARTERS],
}

impl Sum {
    /// Adds a call of this moment.
    pub(super) fn add(&mut self, at: Timestamp, counts: Counts) {
        self.whole = self.whole.plus(counts);
        let quarter = at.as_second().rem_euclid(3600) / QUARTER.as_secs();
        if let Some(sum) = usize::try_from(quarter)
            .ok()
            .and_then(|n| self.quarters.get_mut(n))
        {
            *sum = sum.plus(counts);
        }
    }
}

/// The four quarters of an hour's counter.
///
/// # Errors
/// `Internal` when the item is no counter.
pub(super) fn quarters(doc: &Doc) -> Result<[Counts; QUARTERS + 1]> {
    let mut all = [Counts::default(); QUARTERS + 1];
    let mut rest = doc.clone().read::<Counter>()?.counts;
    for (n, quarter) in all.iter_mut().enumerate().take(QUARTERS) {
        let mut figures = [0; FIGURES.len()];
        for (figure, name) in figures.iter_mut().zip(FIGURES) {
            *figure = doc.field(&format!("{name}{n}"))?.unwrap_or(0);
        }
        *quarter = Counts::of_figures(figures);
        rest = rest.minus(*quarter);
    }
    if let Some(last) = all.last_mut() {
        *last = rest;
    }
    Ok(all)
}

/// Which counter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CounterId {
    pub(super) workspace_id: WorkspaceId,
    pub(super) bucket: Bucket,
    pub(super) dimension: Dimension,
    pub(super) start: Timestamp,
    pub(super) value: String,
}

impl CounterId {
    /// The counters that an event is added to: one per bucket size and dimension.
    pub(super) fn all_of(event: &UsageRecorded) -> Result<Vec<Self>> {
        let mut all = Vec::with_capacity(Bucket::ALL.len() * Dimension::COUNTED.len());
        for bucket in Bucket::ALL {
            for dimension in Dimension::COUNTED {
                all.push(Self {
                    workspace_id: event.workspace_id,
                    bucket,
                    dimension,
                    start: bucket.start(event.at, &TimeZone::UTC)?,
                    value: dimension.value(event),
                });
            }
        }
        Ok(all)
    }

    fn key(&self) -> Key {
        let (bucket, dimension) = (self.bucket.as_str(), self.dimension.as_str());
        keys::usage_counter(
            self.workspace_id,
            bucket,
            dimension,
            &self.start.to_string(),
            &self.value,
        )
    }

    /// Adds to the counter, which begins at zero.
    pub(super) fn add(&self, by: &Sum) -> Result<Update> {
        let mut update = Update::of(self.key());
        for (name, figure) in FIGURES.iter().zip(by.whole.figures()) {
            update = update.add(name, figure)?;
        }
        if self.bucket == Bucket::Hour {
            for (n, quarter) in by.quarters.iter().enumerate() {
                let figures = FIGURES.iter().zip(quarter.figures());
                for (name, figure) in figures.filter(|(_, figure)| *figure != 0) {
                    update = update.add(&format!("{name}{n}"), figure)?;
                }
            }
        }
        update.fill(&Counter {
            id: self.clone(),
            counts: by.whole,
        })
    }
}

/// A counter as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counter {
    #[serde(flatten)]
    pub(super) id: CounterId,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

impl Entity for Counter {
    const KIND: &'static str = "usageCounter";
    fn key(&self) -> Key {
        self.id.key()
    }
}
