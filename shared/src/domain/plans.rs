//! The plans: prices, limits and monthly cbT. The one place that knows them.

use serde::{Deserialize, Serialize};

use crate::money::Cbt;

/// How long a trial lasts.
pub const TRIAL_DAYS: i64 = 15;

/// A plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// For one person.
    Personal,
    /// For a company.
    Business,
    /// For an agency that shares one pool of cbT with its members.
    Agency,
    /// By contract.
    Custom,
}

/// What a plan allows. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Workspaces that the account owns.
    pub workspaces: Option<u32>,
    /// Agents in all of them.
    pub agents: Option<u32>,
    /// Distinct members in all of them.
    pub members: Option<u32>,
}

/// Whose cbT a call spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The acting user's own.
    Own,
    /// The workspace owner's, shared with the members.
    Shared,
}

/// Agents that may be active at once in one workspace, on every plan.
pub const ACTIVE_AGENTS: u32 = 10;

impl Plan {
    /// Every plan.
    pub const ALL: [Plan; 4] = [Plan::Personal, Plan::Business, Plan::Agency, Plan::Custom];

    /// The plan's limits.
    pub fn limits(self) -> Limits {
        let (workspaces, agents, members) = match self {
            Self::Personal => (Some(3), Some(5), Some(1)),
            Self::Business => (Some(10), Some(10), Some(5)),
            Self::Agency => (None, Some(20), Some(20)),
            Self::Custom => (None, None, None),
        };
        Limits {
            workspaces,
            agents,
            members,
        }
    }

    /// cbT granted each month; `None` by contract.
    pub fn monthly_cbt(self) -> Option<Cbt> {
        match self {
            Self::Personal => Some(Cbt::whole(10_000)),
            Self::Business => Some(Cbt::whole(40_000)),
            Self::Agency => Some(Cbt::whole(150_000)),
            Self::Custom => None,
        }
    }

    /// Whose cbT calls in the plan's workspaces spend.
    pub fn pool(self) -> Pool {
        match self {
            Self::Personal | Self::Business => Pool::Own,
            Self::Agency | Self::Custom => Pool::Shared,
        }
    }

    /// Messages an hour per agent; `None` is unlimited.
    pub fn messages_per_hour(self) -> Option<u32> {
        match self {
            Self::Personal => Some(100),
            Self::Business | Self::Agency => Some(500),
            Self::Custom => None,
        }
    }

    /// The longest that a workspace on this plan keeps its audit records, in days: a year, or seven.
    pub fn audit_days(self) -> u16 {
        match self {
            Self::Personal => 365,
            Self::Business | Self::Agency | Self::Custom => 2_555,
        }
    }

    /// Whether a person can start it by themselves.
    pub fn self_service(self) -> bool {
        self != Self::Custom
    }
}
