//! What we read of payments, and of what was given back of them.

use serde::Deserialize;

use super::RefundFacts;
use super::answers::Ref;

#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    pub(super) id: String,
    #[serde(default)]
    amount_refunded: i64,
    #[serde(default)]
    disputed: bool,
    payment_intent: Option<Ref>,
    customer: Option<Ref>,
}

impl Charge {
    /// Who paid it.
    pub(super) fn payer(self) -> Option<String> {
        self.customer.map(Ref::id)
    }

    /// Its payment, if something of it was given back, or is disputed.
    pub(super) fn refunded(self) -> Option<String> {
        self.payment_intent
            .filter(|_| self.amount_refunded > 0 || self.disputed)
            .map(Ref::id)
    }
}

/// <https://docs.stripe.com/api/disputes/object>
#[derive(Debug, Deserialize)]
pub(super) struct Dispute {
    id: String,
    amount: i64,
    status: String,
    payment_intent: Option<Ref>,
}

impl Dispute {
    /// What was given back by it, if it is lost. Until then nothing is decided.
    pub(super) fn facts(self) -> Option<RefundFacts> {
        (self.status == "lost").then(|| RefundFacts {
            id: self.id,
            payment_intent: self.payment_intent.map(Ref::id),
            amount: self.amount,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    id: String,
    amount: i64,
    status: Option<String>,
    payment_intent: Option<Ref>,
}

impl Refund {
    /// The refund, unless it came to nothing.
    pub(super) fn facts(self) -> Option<RefundFacts> {
        let failed = matches!(self.status.as_deref(), Some("failed" | "canceled"));
        (!failed).then(|| RefundFacts {
            id: self.id,
            payment_intent: self.payment_intent.map(Ref::id),
            amount: self.amount,
        })
    }
}
