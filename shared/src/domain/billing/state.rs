//! What an account keeps of Stripe.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::surplus::Surplus;
use crate::domain::plans::Plan;
use crate::error::Result;
use crate::ids::UserId;
use crate::ports::stripe::{Span, StripeStatus};
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity};

/// What an account keeps of Stripe. It is written as a whole, and only if nobody else wrote it since it was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Billing {
    /// Grows by one with every write of this part.
    #[serde(default)]
    pub rev: u64,
    /// The customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<Subscription>,
    /// When full use ends although the renewal was not paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ends_at: Option<Timestamp>,
    /// The same, once it has ended so and the person was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_told: Option<Timestamp>,
    /// Whether there was a trial: there is no second one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial_used: bool,
    /// The page on which a subscription may be bought at the moment, as far as we know; which there are Stripe knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<OpenCheckout>,
    /// Subscriptions that count for nothing, as there was another; for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surplus: Vec<Surplus>,
    /// The end of the trial that the person was told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_warned: Option<Timestamp>,
    /// What has been granted and taken back, as one hash: a look that finds the same due again leaves the ledger alone,
    /// however long the account has been paying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<String>,
    /// The plan that the workspaces follow as yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<Plan>,
    /// Whether some of them, or of their agents, are read-only, as the plan allows fewer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reduced: bool,
}

/// A subscription, as Stripe had it last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// The id of its item.
    pub item: String,
    /// The plan of its price: what the next renewal brings.
    pub plan: Plan,
    /// Where it stands.
    pub status: StripeStatus,
    /// What is paid for, or tried.
    pub period: Span,
    /// Whether it ends with that.
    pub cancel_at_period_end: bool,
    /// The beginning of the last period that was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_from: Option<Timestamp>,
}

impl Subscription {
    /// Whether it goes on, or may again.
    pub fn is_alive(&self) -> bool {
        is_alive(self.status)
    }
}

/// Whether a subscription in this state goes on, or may again.
pub fn is_alive(status: StripeStatus) -> bool {
    !matches!(
        status,
        StripeStatus::Canceled | StripeStatus::IncompleteExpired | StripeStatus::Incomplete
    )
}

/// A page that is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenCheckout {
    /// The session.
    pub id: String,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Billing {
    /// Whether a subscription stands behind the account: then nothing is sold, and its plan stays.
    pub fn is_subscribed(&self) -> bool {
        self.subscription.as_ref().is_some_and(Subscription::is_alive)
    }

    /// Nobody wrote it since it was read.
    ///
    /// # Errors
    /// `Internal`, never.
    pub fn unchanged(&self) -> Result<Cond> {
        let rev = Cond::eq(["billing", "rev"], self.rev)?;
        Ok(match self.rev {
            0 => rev.or(Cond::absent(["billing", "rev"])),
            _ => rev,
        })
    }

    /// The same, to be written.
    pub fn next(&self) -> Self {
        Self {
            rev: self.rev + 1,
            ..self.clone()
        }
    }
}

/// Whose a customer is. Uniqueness and look-up of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StripeCustomer {
    /// The customer.
    pub customer: String,
    /// The person.
    pub user_id: UserId,
}

impl Entity for StripeCustomer {
    const KIND: &'static str = "stripe_customer";
    fn key(&self) -> Key {
        keys::stripe_customer(&self.customer)
    }
    fn index2(&self) -> Option<Index> {
        Some(keys::stripe_customer_place(self.user_id, &self.customer))
    }
}
