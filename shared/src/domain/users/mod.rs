//! People and their accounts.

pub(crate) mod change;
pub mod deletion;
pub mod export;
pub mod fields;
pub mod identity;
pub mod preferences;
pub mod profile;
pub mod subscription;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::preferences::Preferences;
use super::billing::Billing;
use super::plans::Plan;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Db, Entity};

/// The language of somebody whose provider told none.
pub const DEFAULT_LOCALE: &str = "en";

/// The time zone of somebody whose provider told none.
pub const DEFAULT_TIMEZONE: &str = "UTC";

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
    /// Whether a sign-in asks for a second factor; changes only in the transaction that turns it on or off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_factor: bool,
    /// The ways to sign in that have proven `email`: ids of providers, or `email` for a mailed link. Those of an account
    /// that is older than this list come with their next sign-in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub address_proven_by: BTreeSet<String>,
    /// The last sign-in.
    pub last_login_at: Timestamp,
    /// When onboarding ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onboarding_completed_at: Option<Timestamp>,
    /// When the person first signed in.
    pub created_at: Timestamp,
    /// The last change of the profile.
    pub updated_at: Timestamp,
    /// Grows by one with every change of the profile.
    pub version: u64,
    /// What they chose of what can be chosen.
    #[serde(default, skip_serializing_if = "Preferences::is_untouched")]
    pub preferences: Preferences,
    /// When they deleted their account. The item stays as a tombstone until what is theirs has been removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleting_at: Option<Timestamp>,
}

impl User {
    /// Whether this is one of Camarad's own staff: by the address, where a way to sign in has proven it that is good enough
    /// for operators.
    pub fn is_staff(&self, config: &Config) -> bool {
        let proven = self
            .address_proven_by
            .iter()
            .any(|way| config.proves_operators(way));
        self.is_staying() && proven && config.operators.contains(&self.email)
    }

    /// Whether the account is not being deleted.
    pub fn is_staying(&self) -> bool {
        self.deleting_at.is_none()
    }

    /// The same as a condition, for the commit of what must not come after a deletion.
    pub fn stays() -> Cond {
        Cond::item_exists().and(Cond::absent("deletingAt"))
    }
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
    /// None has begun: there was no card yet. The account can be read, and no more.
    Incomplete,
    /// In its trial; over at `trialEndsAt`, whatever the status still says.
    Trialing,
    /// Paid.
    Active,
    /// The renewal could not be charged; as good as paid until `billing.graceEndsAt`.
    PastDue,
    /// It ended without having been cancelled: never paid, given up, or without a card at the end of its trial.
    Expired,
    /// Its owner cancelled it, and it is over.
    Canceled,
    /// Over for good: its owner deleted the account.
    Closed,
}

/// What a person pays for: the plan, and the counters that enforce its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// Whose.
    pub user_id: UserId,
    /// The plan that has been paid for.
    pub plan: Plan,
    /// Where the subscription stands.
    pub status: SubscriptionStatus,
    /// When the trial ends, or ended, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_ends_at: Option<Timestamp>,
    /// Workspaces owned; changes only in the transaction that creates or deletes one.
    pub workspaces: u32,
    /// Agents in them; likewise.
    pub agents: u32,
    /// When the account was made.
    pub created_at: Timestamp,
    /// What Stripe has of it.
    #[serde(default)]
    pub billing: Billing,
}

impl Account {
    /// Of somebody who has just come: with the limits of the smallest plan, none of which is paid for.
    pub fn of_a_newcomer(user_id: UserId, now: Timestamp) -> Self {
        Self {
            user_id,
            plan: Plan::Personal,
            status: SubscriptionStatus::Incomplete,
            trial_ends_at: None,
            workspaces: 0,
            agents: 0,
            created_at: now,
            billing: Billing::default(),
        }
    }

    /// Whether the account may be used for more than reading at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.status {
            SubscriptionStatus::Trialing => self.trial_ends_at.is_some_and(|end| now < end),
            SubscriptionStatus::Active => true,
            SubscriptionStatus::PastDue => self.billing.grace_ends_at.is_some_and(|end| now < end),
            SubscriptionStatus::Incomplete
            | SubscriptionStatus::Expired
            | SubscriptionStatus::Canceled
            | SubscriptionStatus::Closed => false,
        }
    }

    /// `is_live` as a condition on the item. The order of moments as text is that of time, but for those within one
    /// second.
    pub fn may_write(now: Timestamp) -> Result<Cond> {
        let trial = Cond::eq("status", SubscriptionStatus::Trialing)?.and(Cond::gt("trialEndsAt", now)?);
        let grace =
            Cond::eq("status", SubscriptionStatus::PastDue)?.and(Cond::gt(["billing", "graceEndsAt"], now)?);
        Ok(Cond::eq("status", SubscriptionStatus::Active)?
            .or(trial)
            .or(grace))
    }

    /// The account still is what it was when it was read: as good for writing, and with the same limits.
    pub fn unchanged(&self, now: Timestamp) -> Result<Cond> {
        Ok(Cond::eq("plan", self.plan)?.and(Self::may_write(now)?))
    }

    /// The account of `user`, if it may be used for more than reading.
    ///
    /// # Errors
    /// `SubscriptionRequired`.
    pub async fn that_may_write(db: &Db, user: UserId, now: Timestamp) -> Result<Self> {
        let account = db.get::<Self>(&keys::account(user)).await?;
        account
            .filter(|a| a.is_live(now))
            .ok_or(Error::SubscriptionRequired)
    }
}

impl Entity for Account {
    const KIND: &'static str = "account";
    fn key(&self) -> Key {
        keys::account(self.user_id)
    }
}
