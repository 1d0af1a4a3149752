//! cbT that were bought, and whose payment was given back, go again: as far as they are there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::derive::TakeBack;
use crate::app::App;
use crate::context::Context;
use crate::domain::ledger::{self, Adjust, Adjusted};
use crate::domain::notifications::{self, Notice};
use crate::domain::users::preferences::NotificationType;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::Cbt;
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// What could not be taken back, as it had been spent or running calls held it: for operators, who decide what follows. A
/// balance is never below zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// Whose.
    pub user_id: UserId,
    /// The refund, or the dispute that we lost.
    pub refund: String,
    /// How much cbT had been bought with what was given back.
    #[serde(with = "crate::money::stored")]
    pub wanted: Cbt,
    /// How much of it was gone.
    #[serde(with = "crate::money::stored")]
    pub short: Cbt,
    /// When that was found.
    pub found_at: Timestamp,
}

impl Entity for Shortfall {
    const KIND: &'static str = "billing_shortfall";
    fn key(&self) -> Key {
        keys::billing_shortfall(&self.refund)
    }
}

/// Takes back what was given back, each refund once. May be repeated.
///
/// # Errors
/// Those of ledger and table.
pub(super) async fn back(app: &App, user: UserId, all: &[TakeBack]) -> Result<()> {
    for going in all {
        let adjust = Adjust {
            operation: going.operation.clone(),
            amount: going.amount,
            reason: going.reason.clone(),
        };
        let adjusted = ledger::adjust(app, user, &adjust).await?;
        if adjusted.shortfall.cbt() > Cbt::ZERO {
            report(app, user, going, &adjusted).await?;
        }
    }
    Ok(())
}

/// Puts on record what could not be taken, tells its owner, and rouses whoever is on call; once.
async fn report(app: &App, user: UserId, going: &TakeBack, adjusted: &Adjusted) -> Result<()> {
    let now = app.clock().now();
    let short = Shortfall {
        user_id: user,
        refund: going.refund.clone(),
        wanted: going.amount.cbt(),
        short: adjusted.shortfall.cbt(),
        found_at: now,
    };
    if app.db().get::<Shortfall>(&short.key()).await?.is_some() {
        return Ok(());
    }
    let notice = Notice {
        user,
        kind: NotificationType::PaymentFailed,
        data: json!({ "refundId": short.refund, "takenBack": -adjusted.entry.delta, "shortfall": short.short }),
        dedupe: short.refund.clone(),
    };
    let cause = Context::system("billing", now);
    let tx = app.tx(&cause).create_or(&short, || Error::PreconditionFailed)?;
    notifications::stage(tx, &notice)?.run().await?;
    // The alarm counts these lines.
    tracing::error!(user.id = %user, stripe.refund = short.refund, short = %short.short, "BILLING_SHORTFALL");
    Ok(())
}
