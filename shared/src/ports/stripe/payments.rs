//! What we read of payments, and of what was given back of them.

use serde::Deserialize;

use super::answers::{Ref, at};
use super::{ChargeFacts, RefundFacts};
use crate::error::Result;

#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    pub(super) id: String,
    created: i64,
    #[serde(default)]
    paid: bool,
    #[serde(default)]
    amount: i64,
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

    pub(super) fn facts(self) -> Result<ChargeFacts> {
        Ok(ChargeFacts {
            payment_intent: self.payment_intent.map(Ref::id),
            created: at(self.created)?,
            paid: self.paid,
            amount: self.amount,
            refunded: self.amount_refunded,
            disputed: self.disputed,
        })
    }
}

/// What an invoice was paid with. <https://docs.stripe.com/api/invoice-payment/object>
#[derive(Debug, Deserialize)]
pub(super) struct InvoicePayment {
    pub(super) id: String,
    payment: PaidWith,
}

#[derive(Debug, Deserialize)]
struct PaidWith {
    payment_intent: Option<Ref>,
}

impl InvoicePayment {
    pub(super) fn payment_intent(self) -> Option<String> {
        self.payment.payment_intent.map(Ref::id)
    }
}

/// <https://docs.stripe.com/api/disputes/object>
#[derive(Debug, Deserialize)]
pub(super) struct Dispute {
    pub(super) id: String,
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
    pub(super) id: String,
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
