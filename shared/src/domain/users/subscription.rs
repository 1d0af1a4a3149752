//! What a person pays for, as they see it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Account, SubscriptionStatus};
use crate::app::App;
use crate::domain::plans::{Limits, Plan};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::keys;

/// Where a subscription stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// Its trial is over and nothing was paid: the account can be read, and no more.
    Expired,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// The plan.
    pub plan: Plan,
    /// Where it stands.
    pub status: SubscriptionState,
    /// When the trial ends, or ended.
    #[schema(value_type = String, format = DateTime)]
    pub trial_ends_at: Timestamp,
    /// What the plan allows.
    pub limits: LimitsView,
    /// How much of it is in use.
    pub usage: LimitsUsage,
}

/// What a plan allows in all workspaces of an account together; `null` is unlimited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsView {
    /// Workspaces.
    #[schema(required)]
    pub workspaces: Option<u32>,
    /// Agents.
    #[schema(required)]
    pub agents: Option<u32>,
    /// Distinct members.
    #[schema(required)]
    pub members: Option<u32>,
}

impl From<Limits> for LimitsView {
    fn from(limits: Limits) -> Self {
        Self {
            workspaces: limits.workspaces,
            agents: limits.agents,
            members: limits.members,
        }
    }
}

/// How much of the limits is in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsUsage {
    /// Workspaces.
    pub workspaces: u32,
    /// Agents.
    pub agents: u32,
}

impl SubscriptionView {
    fn of(account: &Account, now: Timestamp) -> Self {
        Self {
            plan: account.plan,
            status: match account.status {
                _ if !account.is_live(now) => SubscriptionState::Expired,
                SubscriptionStatus::Trialing => SubscriptionState::Trialing,
                SubscriptionStatus::Active => SubscriptionState::Active,
                SubscriptionStatus::Closed => SubscriptionState::Expired,
            },
            trial_ends_at: account.trial_ends_at,
            limits: account.plan.limits().into(),
            usage: LimitsUsage {
                workspaces: account.workspaces,
                agents: account.agents,
            },
        }
    }
}

/// The subscription of this person at `now`.
///
/// # Errors
/// `NotFound`.
pub async fn read(app: &App, user: UserId, now: Timestamp) -> Result<SubscriptionView> {
    let account: Account = app.db().get(&keys::account(user)).await?.ok_or(Error::NotFound)?;
    Ok(SubscriptionView::of(&account, now))
}
