//! The names of operations that move cbT from outside a call.

use jiff::Timestamp;
use serde::Serialize;

use super::movement::Name;
use crate::ids::OperationId;

/// The name of an operation that moves cbT: the same name never moves anything twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation(String);

/// Why an invoice's line grants cbT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineReason {
    /// A trial's period.
    Trial,
    /// The first paid period.
    Create,
    /// A renewal.
    Cycle,
    /// A larger plan from the middle of a period on; by the invoice that it was paid with.
    Upgrade(String),
}

impl Operation {
    /// An operator's grant.
    pub fn granted(id: OperationId) -> Self {
        Self(format!("grant:{id}"))
    }

    /// What a paid line of a subscription grants: once per period and reason, whichever events tell of it.
    pub fn invoice(subscription: &str, period_start: Timestamp, reason: &LineReason) -> Self {
        let reason = match reason {
            LineReason::Trial => "trial".to_owned(),
            LineReason::Create => "create".to_owned(),
            LineReason::Cycle => "cycle".to_owned(),
            LineReason::Upgrade(invoice) => format!("upgrade:{invoice}"),
        };
        let start = period_start.as_second();
        Self(format!("grant:invoice:{subscription}:{start}:{reason}"))
    }

    /// What a paid top-up grants.
    pub fn topup(checkout_session: &str) -> Self {
        Self(format!("grant:topup:{checkout_session}"))
    }

    /// What is taken back, by what caused it: `refund:re_…` of a charge.
    pub fn adjusted(cause: &str) -> Self {
        Self(format!("adjust:{cause}"))
    }

    pub(super) fn name(&self) -> Name {
        Name::Other(self.0.clone())
    }
}
