//! People and their accounts.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plans::Plan;
use crate::ids::UserId;
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// A person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Who.
    pub id: UserId,
    /// Verified address, lower case; unique.
    pub email: String,
    /// 1 to 100 characters.
    pub name: String,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// BCP 47.
    pub locale: String,
    /// IANA name.
    pub timezone: String,
    /// The last sign-in.
    pub last_login_at: Timestamp,
    /// When onboarding ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onboarding_completed_at: Option<Timestamp>,
    /// When the person first signed in.
    pub created_at: Timestamp,
    /// The last change of the profile.
    pub updated_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
}

impl Entity for User {
    const KIND: &'static str = "user";
    fn key(&self) -> Key {
        keys::user(self.id)
    }
}

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// In its trial; over at `trialEndsAt`, whatever the status still says.
    Trialing,
    /// Paid.
    Active,
}

/// What a person pays for: the plan, and the counters that enforce its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Whose.
    pub user_id: UserId,
    /// The plan.
    pub plan: Plan,
    /// Where the subscription stands.
    pub status: SubscriptionStatus,
    /// When the trial ends.
    pub trial_ends_at: Timestamp,
    /// Workspaces owned; changes only in the transaction that creates or deletes one.
    pub workspaces: u32,
    /// Agents in them; likewise.
    pub agents: u32,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl Account {
    /// Whether the account may be used for more than reading at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.status {
            SubscriptionStatus::Trialing => now < self.trial_ends_at,
            SubscriptionStatus::Active => true,
        }
    }
}

impl Entity for Account {
    const KIND: &'static str = "account";
    fn key(&self) -> Key {
        keys::account(self.user_id)
    }
}
