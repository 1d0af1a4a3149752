//! Subscriptions beyond the one: pages are kept from selling a second (`pages`), but who pays on two at the same moment
//! has two. The one that the account tells of stays, or the first that was made. Each other one is noted with the
//! account before it is touched, so that no two looks choose differently; from then on it grants nothing and says nothing
//! of the account. What was paid for it is given back first, and then it ends: so whoever dies in between leaves
//! something that the next look sees.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::checkout::asked;
use super::customer::{account, rewritten};
use super::snapshot::Snapshot;
use super::state::{Billing, is_alive};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::stripe::{InvoiceFacts, InvoiceStatus, OperationKey, SubscriptionFacts};
use crate::store::Outcome;

/// A subscription that counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Surplus {
    /// Its id.
    pub id: String,
    /// What had been paid for it when all of that was given back, in the currency's smallest unit.
    #[serde(default)]
    pub given_back: i64,
}

/// Which of these are superfluous: those that are known to be, and of others that live all but one.
pub(super) fn among(all: &[SubscriptionFacts], billing: &Billing) -> Vec<Surplus> {
    let mut surplus = billing.surplus.clone();
    let told = billing.subscription.as_ref().map(|s| &s.id);
    // Stripe lists the newest first, also of those that it made in the same second.
    let mut alive: Vec<_> = (all.iter().rev())
        .filter(|s| is_alive(s.status) && surplus.iter().all(|known| known.id != s.id))
        .collect();
    alive.sort_by_key(|s| (Some(&s.id) != told, s.created));
    surplus.extend(alive.iter().skip(1).map(|s| Surplus {
        id: s.id.clone(),
        given_back: 0,
    }));
    surplus
}

/// Ends what is superfluous and not ended yet, and gives back what was paid for it. May be repeated.
///
/// # Errors
/// Those of Stripe and the table; `PreconditionFailed` when somebody wrote the account's part meanwhile: look again.
pub(super) async fn end(app: &App, user: UserId, snapshot: &Snapshot) -> Result<()> {
    let mut noted = snapshot.surplus.clone();
    for one in &mut noted {
        let Some(subscription) = snapshot.subscriptions.iter().find(|s| s.id == one.id) else {
            continue;
        };
        let paid: Vec<_> = snapshot.of(&one.id).filter(|i| is_paid(i)).collect();
        let amount = paid.iter().map(|i| i.amount_paid).sum();
        if is_alive(subscription.status) || one.given_back != amount {
            ended(app, user, subscription, (&paid, snapshot)).await?;
            one.given_back = amount;
        }
    }
    match noted == snapshot.surplus {
        true => Ok(()),
        false => note(app, user, snapshot, noted).await,
    }
}

fn is_paid(invoice: &InvoiceFacts) -> bool {
    invoice.status == InvoiceStatus::Paid && invoice.amount_paid > 0
}

async fn ended(
    app: &App,
    user: UserId,
    subscription: &SubscriptionFacts,
    (paid, snapshot): (&[&InvoiceFacts], &Snapshot),
) -> Result<()> {
    // The alarm counts these lines.
    tracing::error!(user.id = %user, stripe.subscription = subscription.id, "BILLING_DRIFT: a subscription too many is ended");
    let stripe = app.stripe()?;
    for invoice in paid {
        for payment in stripe.payments(&invoice.id).await? {
            let mut charges = snapshot.charges.iter();
            if charges.any(|c| c.payment_intent.as_ref() == Some(&payment) && c.is_refundable()) {
                give_back(app, user, &payment, "a subscription too many").await?;
            }
        }
    }
    if is_alive(subscription.status) {
        cancel(app, user, &subscription.id, "a subscription too many").await?;
    }
    Ok(())
}

/// Gives back what is left of a payment, and puts that on record before.
pub(super) async fn give_back(app: &App, user: UserId, payment: &str, why: &str) -> Result<()> {
    let cause = Context::system("billing", app.clock().now());
    let what = json!({ "request": "refund", "payment": payment, "reason": why });
    asked(app, &cause, user, what).await?;
    let key = OperationKey::new(format!("refund:{payment}"));
    app.stripe()?.refund(payment, &key).await?;
    tracing::info!(user.id = %user, stripe.payment = payment, "a payment was given back: {why}");
    Ok(())
}

/// Ends a subscription at once, and puts that on record before.
pub(super) async fn cancel(app: &App, user: UserId, subscription: &str, why: &str) -> Result<()> {
    let cause = Context::system("billing", app.clock().now());
    let what = json!({ "request": "end", "subscription": subscription, "reason": why });
    asked(app, &cause, user, what).await?;
    let key = OperationKey::new(format!("end:{subscription}"));
    app.stripe()?.cancel_now(subscription, &key).await?;
    tracing::info!(user.id = %user, stripe.subscription = subscription, "a subscription ended: {why}");
    Ok(())
}

async fn note(app: &App, user: UserId, snapshot: &Snapshot, noted: Vec<Surplus>) -> Result<()> {
    let current = account(app, user).await?;
    if current.billing.surplus != snapshot.surplus {
        return Err(Error::PreconditionFailed);
    }
    let billing = Billing {
        surplus: noted,
        ..current.billing.next()
    };
    match app.db().update(&rewritten(&current, &billing)?).await? {
        Outcome::Applied(_) => Ok(()),
        Outcome::Refused(_) => Err(Error::PreconditionFailed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::billing::state::Subscription;
    use crate::domain::plans::Plan;
    use crate::ports::stripe::{Span, StripeStatus};
    use jiff::{SignedDuration, Timestamp};

    fn facts(id: &str, hour: i64, status: StripeStatus) -> SubscriptionFacts {
        let created = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hour);
        SubscriptionFacts {
            id: id.into(),
            item: format!("si_{id}"),
            plan: Plan::Personal,
            status,
            created,
            trial: None,
            period: Span {
                start: created,
                end: created + SignedDuration::from_hours(720),
            },
            cancel_at_period_end: false,
            ended_at: None,
        }
    }

    fn telling(id: &str) -> Billing {
        let known = facts(id, 0, StripeStatus::Active);
        Billing {
            subscription: Some(Subscription {
                id: known.id,
                item: known.item,
                plan: known.plan,
                status: known.status,
                period: known.period,
                cancel_at_period_end: false,
                paid_from: None,
            }),
            ..Billing::default()
        }
    }

    fn ids(surplus: &[Surplus]) -> Vec<&str> {
        surplus.iter().map(|s| s.id.as_str()).collect()
    }

    #[test]
    fn the_first_stays_unless_the_account_tells_of_another() {
        let all = [
            facts("c", 3, StripeStatus::Active),
            facts("b", 2, StripeStatus::PastDue),
            facts("a", 1, StripeStatus::Canceled),
        ];
        assert_eq!(ids(&among(&all, &Billing::default())), ["c"]);
        assert_eq!(ids(&among(&all, &telling("c"))), ["b"]);
        assert_eq!(ids(&among(&all, &telling("a"))), ["c"], "that one has ended");
        assert_eq!(ids(&among(&all[1..], &telling("a"))), [""; 0]);
        let at_once = [
            facts("first", 1, StripeStatus::Trialing),
            facts("second", 1, StripeStatus::Trialing),
        ];
        let newest_first: Vec<_> = at_once.into_iter().rev().collect();
        assert_eq!(ids(&among(&newest_first, &Billing::default())), ["second"]);
    }

    #[test]
    fn what_was_superfluous_once_stays_so() {
        let all = [
            facts("b", 2, StripeStatus::Active),
            facts("a", 1, StripeStatus::Canceled),
        ];
        let known = Surplus {
            id: "b".into(),
            given_back: 9,
        };
        let billing = Billing {
            surplus: vec![known.clone()],
            ..telling("a")
        };
        assert_eq!(among(&all, &billing), [known]);
    }
}
