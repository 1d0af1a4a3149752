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
    /// None has begun: the account can be read, and no more.
    Incomplete,
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// The renewal could not be charged. Until `graceEndsAt` as good as paid, afterwards the account can be read only.
    PastDue,
    /// Its trial is over and nothing was paid, or it was given up: the account can be read, and no more.
    Expired,
    /// It was cancelled, and is over: the account can be read, and no more.
    Canceled,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionView {
    /// The plan that is paid for, or tried; before that, the one that was chosen.
    pub plan: Plan,
    /// Where it stands.
    pub status: SubscriptionState,
    /// Whether the account can be read only.
    pub read_only: bool,
    /// When the trial ends, or ended, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub trial_ends_at: Option<Timestamp>,
    /// Whether the next subscription would begin with a trial.
    pub trial_available: bool,
    /// When what is paid for began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub period_starts_at: Option<Timestamp>,
    /// When it ends: the next renewal, or the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub period_ends_at: Option<Timestamp>,
    /// Whether it ends then.
    pub cancel_at_period_end: bool,
    /// The plan that counts from the next renewal on, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_plan: Option<Plan>,
    /// When full use ends although the renewal was not paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub grace_ends_at: Option<Timestamp>,
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
        let (live, billing) = (account.is_live(now), &account.billing);
        let known = billing.subscription.as_ref().filter(|s| s.is_alive());
        Self {
            plan: account.plan,
            status: match account.status {
                SubscriptionStatus::Incomplete => SubscriptionState::Incomplete,
                SubscriptionStatus::Trialing if live => SubscriptionState::Trialing,
                SubscriptionStatus::Active => SubscriptionState::Active,
                SubscriptionStatus::PastDue => SubscriptionState::PastDue,
                SubscriptionStatus::Canceled => SubscriptionState::Canceled,
                SubscriptionStatus::Trialing | SubscriptionStatus::Expired | SubscriptionStatus::Closed => {
                    SubscriptionState::Expired
                }
            },
            read_only: !live,
            trial_ends_at: account.trial_ends_at,
            trial_available: !billing.trial_used,
            period_starts_at: known.map(|s| s.period.start),
            period_ends_at: known.map(|s| s.period.end),
            cancel_at_period_end: known.is_some_and(|s| s.cancel_at_period_end),
            next_plan: known.map(|s| s.plan).filter(|plan| *plan != account.plan),
            grace_ends_at: billing
                .grace_ends_at
                .filter(|_| account.status == SubscriptionStatus::PastDue),
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
