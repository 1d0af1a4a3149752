//! A trial, as Stripe's news of it would be applied: for people of whom it does not matter how they subscribed.

use camarad::app::App;
use camarad::domain::billing::{Snapshot, apply, expected};
use camarad::domain::ledger::{Until, allow};
use camarad::domain::plans::{Plan, TRIAL_DAYS};
use camarad::domain::users::Account;
use camarad::ids::UserId;
use camarad::ports::stripe::{
    BillingReason, InvoiceFacts, InvoiceStatus, LineFacts, Span, StripeStatus, SubscriptionFacts,
};
use camarad::store::keys;
use jiff::SignedDuration;

/// Somebody begins a trial of `plan` now, and gets its cbT; or it goes on, and they come.
///
/// # Panics
/// When the account is not there.
pub async fn begin(app: &App, user: UserId, plan: Plan) {
    let (_, snapshot) = look(app, user, plan, true).await;
    apply(app, user, &snapshot).await.expect("applied");
}

/// Somebody has begun a trial of `plan`, whose invoice, and the cbT with it, are still to come. The account is as applying
/// the news leaves it; that it was applied is in no record, as if it were long ago.
///
/// # Panics
/// When the account is not there.
pub async fn begun(app: &App, user: UserId, plan: Plan) {
    let (account, snapshot) = look(app, user, plan, false).await;
    let now = app.clock().now();
    let mut trying = expected(&account, &snapshot, now);
    trying.billing.rev += 1;
    app.db().put(&trying, None).await.expect("written");
    let end = trying.trial_ends_at.expect("a trial");
    allow(app, user, Until::At(end)).await.expect("allowed");
}

async fn look(app: &App, user: UserId, plan: Plan, invoiced: bool) -> (Account, Snapshot) {
    let account: Option<Account> = app
        .db()
        .get(&keys::account(user))
        .await
        .expect("the table answers");
    let account = account.expect("an account");
    let known = account.billing.subscription.as_ref().map(|s| s.period);
    let start = app.clock().now();
    let trial = known.unwrap_or(Span {
        start,
        end: start + SignedDuration::from_hours(24 * TRIAL_DAYS),
    });
    let invoices = invoiced.then(|| invoice(user, plan, trial));
    let snapshot = Snapshot {
        rev: account.billing.rev,
        subscriptions: vec![subscription(user, plan, trial)],
        invoices: invoices.into_iter().collect(),
        prices: [(plan.lookup_key(), plan)].into(),
        ..Snapshot::default()
    };
    (account, snapshot)
}

fn subscription(user: UserId, plan: Plan, trial: Span) -> SubscriptionFacts {
    SubscriptionFacts {
        id: format!("sub_{user}"),
        item: format!("si_{user}"),
        plan,
        status: StripeStatus::Trialing,
        created: trial.start,
        trial: Some(trial),
        period: trial,
        cancel_at_period_end: false,
        ended_at: None,
    }
}

fn invoice(user: UserId, plan: Plan, period: Span) -> InvoiceFacts {
    InvoiceFacts {
        id: format!("in_{user}"),
        subscription: Some(format!("sub_{user}")),
        status: InvoiceStatus::Paid,
        reason: BillingReason::Create,
        created: period.start,
        number: None,
        currency: "usd".into(),
        total: 0,
        amount_paid: 0,
        amount_remaining: 0,
        attempts: 0,
        next_attempt: None,
        hosted_url: None,
        pdf_url: None,
        lines: vec![LineFacts {
            period,
            price: Some(plan.lookup_key()),
            amount: 0,
            proration: false,
            of_subscription: true,
        }],
    }
}
