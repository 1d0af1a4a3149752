//! The jobs of the clock.

use camarad::app::App;
use camarad::domain::auth::signing;
use camarad::domain::billing::{event, reconcile};
use camarad::domain::onboarding::undo;
use camarad::domain::usage::quota;
use camarad::domain::users::deletion;
use camarad::domain::{audit, ledger, outbox};
use camarad::error::Result;
use serde::Deserialize;

/// A job, as the schedule's input names it: `{"job":"sweep"}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(tag = "job", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Job {
    /// Every minute: ends holds that have expired, takes expired cbT out of balances, publishes events that the table's
    /// stream overlooked, carries on with deletions of accounts, takes back onboardings that did not end, orders a look at
    /// customers whose news the queue did not take.
    Sweep,
    /// Every night: moves every journal that is left in the head of a ledger, and gives quota warnings that were missed.
    FlushLedgers,
    /// Every hour: makes a new signing key when the newest is thirty days old, and takes back those that are over.
    RotateSigningKeys,
    /// Every night: orders a comparison of each audit chain with its log, by which records that the stream or the queue lost
    /// are sealed, and checkpoints kept up.
    SealAudits,
    /// Every night: orders a comparison of each of Stripe's customers with table and ledger.
    CompareBilling,
}

/// Runs a job. Every job may be run twice, and does next time what it could not do this time.
///
/// # Errors
/// When the table did not answer. One part of a job does not stop the other.
pub async fn handle(app: App, job: Job) -> Result<()> {
    match job {
        Job::Sweep => sweep(&app).await?,
        Job::FlushLedgers => {
            let quotas = quota::sweep(&app).await;
            let all = ledger::flush_all(&app).await?;
            let quotas = quotas?;
            tracing::info!(
                ledgers = all.ledgers,
                moved = all.moved,
                failed = all.failed,
                quotas.warned = quotas.warned,
                quotas.failed = quotas.failed,
                "flushed"
            );
        }
        Job::RotateSigningKeys => {
            let done = signing::rotate(&app).await?;
            tracing::info!(rotation = ?done, "signing keys");
        }
        Job::CompareBilling => {
            let all = reconcile::order_all(&app).await?;
            tracing::info!(
                customers = all.customers,
                failed = all.failed,
                "comparisons ordered"
            );
        }
        Job::SealAudits => {
            let parts = audit::sweep::begin(&app).await?;
            tracing::info!(parts, "comparison of audit chains ordered");
        }
    }
    Ok(())
}

/// All sweeps side by side: a slow one leaves the others their time.
async fn sweep(app: &App) -> Result<()> {
    let (holds, lots, events, deletions, onboardings, payments) = futures_util::join!(
        Box::pin(ledger::sweep(app)),
        Box::pin(ledger::sweep_lots(app)),
        Box::pin(outbox::sweep(app)),
        Box::pin(deletion::sweep(app)),
        Box::pin(undo::sweep(app)),
        Box::pin(event::sweep(app)),
    );
    let (holds, lots, events) = (holds?, lots?, events?);
    let (deletions, onboardings, payments) = (deletions?, onboardings?, payments?);
    tracing::info!(
        holds.seen = holds.seen,
        holds.ended = holds.ended,
        holds.charged = holds.charged,
        holds.failed = holds.failed,
        lots.seen = lots.seen,
        lots.failed = lots.failed,
        events.published = events.published,
        events.failed = events.failed,
        deletions.due = deletions.due,
        deletions.failed = deletions.failed,
        onboardings.overdue = onboardings.overdue,
        onboardings.failed = onboardings.failed,
        stripe.ordered = payments.ordered,
        stripe.failed = payments.failed,
        "swept"
    );
    Ok(())
}
