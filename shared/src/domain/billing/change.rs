//! Another plan, an end, and a change of mind.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::checkout::{answered, asked, for_sale, operation, price};
use super::customer::account;
use super::state::Subscription;
use crate::app::App;
use crate::context::Context;
use crate::domain::plans::Plan;
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::stripe::{InvoiceFacts, OperationKey, PriceChange, Proration, StripeStatus};
use crate::reply::Reply;
use crate::store::tx::OnceKey;

/// When a change of plan counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// At once, as soon as the difference is paid.
    Now,
    /// From the next period on.
    AtRenewal,
}

/// A change of plan that Stripe has taken. The account follows as soon as Stripe tells of it, within seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeView {
    /// The plan.
    pub plan: Plan,
    /// When it counts.
    pub takes_effect: Takes,
    /// When that is, if not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// What a change of plan would cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewView {
    /// The plan.
    pub plan: Plan,
    /// When it would count.
    pub takes_effect: Takes,
    /// When that is, if not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// What would be charged at once, in the currency's smallest unit, tax included.
    pub due_now: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// What that is made of.
    pub lines: Vec<PreviewLine>,
}

/// A part of what would be charged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreviewLine {
    /// In the currency's smallest unit; below zero for what is given back.
    pub amount: i64,
    /// From when it charges.
    #[schema(value_type = String, format = DateTime)]
    pub starts_at: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub ends_at: Timestamp,
}

/// A subscription that ends, or goes on after all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndingView {
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// The period's end.
    #[schema(value_type = String, format = DateTime)]
    pub period_ends_at: Timestamp,
}

/// The subscription of an account, if it goes on or may again.
pub(super) fn alive(account: &Account) -> Result<(&str, &Subscription)> {
    let billing = &account.billing;
    let subscription = billing.subscription.as_ref().filter(|s| s.is_alive());
    match (&billing.customer, subscription) {
        (Some(customer), Some(subscription)) => Ok((customer, subscription)),
        _ => Err(Error::SubscriptionRequired),
    }
}

/// What has to be done so that the account has `plan`.
struct Path {
    subscription: Subscription,
    customer: String,
    proration: Proration,
    takes: Takes,
}

/// Up counts at once and is paid at once; down counts from the renewal on; in a trial nothing was paid yet. A larger plan
/// while a smaller one is booked is one change, too: what is given back for it is of what was paid (the subscription's
/// billing mode says so). So it happens as a whole or, when it cannot be paid, the booked one stays.
fn path(account: &Account, plan: Plan) -> Result<Path> {
    for_sale(plan)?;
    let (customer, subscription) = alive(account)?;
    let conflict = |code, detail: &str| {
        Err(Error::Conflict {
            code,
            detail: detail.into(),
        })
    };
    match subscription.status {
        StripeStatus::Trialing | StripeStatus::Active => {}
        _ => return conflict("payment_due", "pay what is due first"),
    }
    if subscription.plan == plan {
        return conflict("plan_unchanged", "this is the plan already");
    }
    let (paid, trial) = (account.plan, subscription.status == StripeStatus::Trialing);
    let up = plan.price_cents() > paid.price_cents();
    let (proration, takes) = match (trial, up) {
        (true, _) => (Proration::AtRenewal, Takes::Now),
        (false, true) => (Proration::Now, Takes::Now),
        (false, false) => (Proration::AtRenewal, Takes::AtRenewal),
    };
    Ok(Path {
        customer: customer.to_owned(),
        subscription: subscription.clone(),
        proration,
        takes: if plan == paid { Takes::Now } else { takes },
    })
}

impl Path {
    fn change(&self, price: String) -> PriceChange {
        PriceChange {
            customer: self.customer.clone(),
            subscription: self.subscription.id.clone(),
            item: self.subscription.item.clone(),
            price,
            proration: self.proration,
        }
    }

    fn at(&self) -> Option<Timestamp> {
        (self.takes == Takes::AtRenewal).then_some(self.subscription.period.end)
    }
}

/// Changes the plan.
///
/// # Errors
/// `Conflict` `contact_sales`, `payment_due`, `plan_unchanged`; `SubscriptionRequired`; `PaymentFailed` when the
/// difference could not be charged, and nothing changed; those of Stripe.
pub async fn change_plan(
    app: &App,
    cause: &Context,
    user: UserId,
    plan: Plan,
    once: Option<&OnceKey>,
) -> Result<Reply<ChangeView>> {
    let account = account(app, user).await?;
    let path = path(&account, plan)?;
    let key = operation("change-plan", cause, user, once);
    asked(
        app,
        cause,
        user,
        json!({ "request": "change_plan", "plan": plan }),
    )
    .await?;
    let change = path.change(price(app, &plan.lookup_key()).await?);
    app.stripe()?.change_price(&change, &key).await?;
    let view = ChangeView {
        plan,
        takes_effect: path.takes,
        at: path.at(),
    };
    answered(app, cause, once, Reply::ok(&view)?).await
}

/// What a change of plan would cost now.
///
/// # Errors
/// As `change_plan`.
pub async fn preview(app: &App, cause: &Context, user: UserId, plan: Plan) -> Result<PreviewView> {
    let account = account(app, user).await?;
    let path = path(&account, plan)?;
    let change = path.change(price(app, &plan.lookup_key()).await?);
    let key = operation("preview", cause, user, None);
    let (invoice, currency) = match path.proration {
        Proration::AtRenewal => (None, crate::domain::plans::CURRENCY.to_owned()),
        Proration::Now => {
            let invoice = app.stripe()?.preview_change(&change, &key).await?;
            let currency = invoice.currency.clone();
            (Some(invoice), currency)
        }
    };
    let lines = |invoice: &InvoiceFacts| {
        let line = invoice.lines.iter().filter(|l| l.proration);
        let line = line.map(|l| PreviewLine {
            amount: l.amount,
            starts_at: l.period.start,
            ends_at: l.period.end,
        });
        line.collect()
    };
    Ok(PreviewView {
        plan,
        takes_effect: path.takes,
        at: path.at(),
        due_now: invoice.as_ref().map_or(0, |i| i.total),
        currency,
        lines: invoice.as_ref().map(lines).unwrap_or_default(),
    })
}

/// Lets the subscription end with its period.
///
/// # Errors
/// `SubscriptionRequired`; those of Stripe.
pub async fn cancel(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<EndingView>> {
    ending(app, cause, (user, true), once).await
}

/// Takes that back, while the period lasts.
///
/// # Errors
/// As `cancel`.
pub async fn resume(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<EndingView>> {
    ending(app, cause, (user, false), once).await
}

async fn ending(
    app: &App,
    cause: &Context,
    (user, cancel): (UserId, bool),
    once: Option<&OnceKey>,
) -> Result<Reply<EndingView>> {
    let account = account(app, user).await?;
    let (_, subscription) = alive(&account)?;
    let what = if cancel { "cancel" } else { "resume" };
    let key: OperationKey = operation(what, cause, user, once);
    asked(app, cause, user, json!({ "request": what })).await?;
    app.stripe()?
        .cancel_at_period_end(&subscription.id, cancel, &key)
        .await?;
    let view = EndingView {
        cancel_at_period_end: cancel,
        period_ends_at: subscription.period.end,
    };
    answered(app, cause, once, Reply::ok(&view)?).await
}
