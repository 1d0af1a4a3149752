//! Counters: what is added up per bucket and dimension.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use crate::domain::ledger::{CallStatus, UsageRecorded};
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::store::keys::{self, Key};
use crate::store::{Entity, Update};

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
}

impl Dimension {
    /// Every dimension.
    pub const ALL: [Dimension; 4] = [
        Dimension::All,
        Dimension::Agent,
        Dimension::Model,
        Dimension::Member,
    ];

    /// The name in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Member => "member",
        }
    }

    /// Which counter of this dimension an event belongs to.
    pub fn value(self, event: &UsageRecorded) -> String {
        match self {
            Self::All => "all".into(),
            Self::Agent => event.agent_id.to_string(),
            Self::Model => event.usage.model.clone().unwrap_or_else(|| "unknown".into()),
            Self::Member => event.user_id.to_string(),
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
        Self {
            calls: self.calls.saturating_add(other.calls),
            failures: self.failures.saturating_add(other.failures),
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cached_tokens: self.cached_tokens.saturating_add(other.cached_tokens),
            cost: self.cost.saturating_add(other.cost),
            provider_cost_micro_usd: self
                .provider_cost_micro_usd
                .saturating_add(other.provider_cost_micro_usd),
            latency_ms: self.latency_ms.saturating_add(other.latency_ms),
        }
    }
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
        let mut all = Vec::with_capacity(Bucket::ALL.len() * Dimension::ALL.len());
        for bucket in Bucket::ALL {
            for dimension in Dimension::ALL {
                all.push(Self {
                    workspace_id: event.workspace_id,
                    bucket,
                    dimension,
                    start: bucket.start(event.at)?,
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
    pub(super) fn add(&self, by: &Counts) -> Result<Update> {
        Update::of(self.key())
            .add("calls", by.calls)?
            .add("failures", by.failures)?
            .add("inputTokens", by.input_tokens)?
            .add("outputTokens", by.output_tokens)?
            .add("cachedTokens", by.cached_tokens)?
            .add("cost", by.cost)?
            .add("providerCostMicroUsd", by.provider_cost_micro_usd)?
            .add("latencyMs", by.latency_ms)?
            .fill(&Counter {
                id: self.clone(),
                counts: *by,
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
