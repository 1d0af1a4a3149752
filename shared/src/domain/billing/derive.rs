//! What follows from what Stripe has, by the clock and nothing else.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::snapshot::Snapshot;
use super::state::{Subscription, is_alive};
use crate::domain::ledger::{Grant, LineReason, Operation, Period, Until};
use crate::domain::plans::{GRACE_DAYS, Plan, Rollover};
use crate::domain::users::SubscriptionStatus;
use crate::error::{Error, Result};
use crate::money::{Cbt, MICRO, Positive};
use crate::ports::stripe::{
    BillingReason, InvoiceFacts, InvoiceStatus, LineFacts, RefundFacts, Span, StripeStatus,
    SubscriptionFacts, TopUpFacts,
};

/// How long full use goes on after a renewal that was not paid.
pub const GRACE: SignedDuration = SignedDuration::from_hours(24 * GRACE_DAYS);

/// What an account should say.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Where the subscription stands.
    pub status: SubscriptionStatus,
    /// The plan that has been paid for.
    pub plan: Plan,
    /// When the trial ends, or ended, if there was one.
    pub trial_ends_at: Option<Timestamp>,
    /// The subscription.
    pub subscription: Subscription,
    /// When full use ends although the renewal was not paid.
    pub grace_ends_at: Option<Timestamp>,
    /// The invoice that is due.
    pub due: Option<String>,
    /// Until when the account may spend.
    pub until: Timestamp,
}

/// What was bought and given back: how much cbT should go.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeBack {
    /// Under which name.
    pub operation: Operation,
    /// How much.
    pub amount: Positive,
    /// By which refund or lost dispute.
    pub refund: String,
    /// Why.
    pub reason: String,
}

fn unpaid(invoice: &InvoiceFacts) -> bool {
    matches!(invoice.status, InvoiceStatus::Open | InvoiceStatus::Uncollectible)
}

/// The subscription that counts: one that goes on before one that ended, and the newest of these. One whose first payment
/// was never made counts for nothing.
fn current<'a>(all: impl Iterator<Item = &'a SubscriptionFacts>) -> Option<&'a SubscriptionFacts> {
    let begun = |s: &&SubscriptionFacts| {
        !matches!(
            s.status,
            StripeStatus::Incomplete | StripeStatus::IncompleteExpired
        )
    };
    all.filter(begun)
        .max_by_key(|s| (is_alive(s.status), s.created, &s.id))
}

impl Snapshot {
    /// What the account should say; `None` while no subscription has begun.
    pub fn standing(&self, now: Timestamp) -> Option<Standing> {
        let subscription = current(self.counted())?;
        let mut due: Vec<_> = self.of(&subscription.id).filter(|i| unpaid(i)).collect();
        due.sort_by_key(|i| (i.created, &i.id));
        let due = due.first();
        let since = due.map_or(subscription.period.start, |i| i.created);
        let trial_end = subscription.trial.map_or(subscription.period.end, |t| t.end);
        let ended = subscription.ended_at.unwrap_or(subscription.period.end);
        let (status, until) = match subscription.status {
            StripeStatus::Trialing => (SubscriptionStatus::Trialing, trial_end),
            StripeStatus::Active => (SubscriptionStatus::Active, subscription.period.end + GRACE),
            StripeStatus::PastDue | StripeStatus::Unpaid => (SubscriptionStatus::PastDue, since + GRACE),
            StripeStatus::Paused => (SubscriptionStatus::Expired, trial_end),
            StripeStatus::Canceled if due.is_some() => (SubscriptionStatus::Expired, ended),
            StripeStatus::Canceled | StripeStatus::Incomplete | StripeStatus::IncompleteExpired => {
                (SubscriptionStatus::Canceled, ended)
            }
        };
        let overdue = status == SubscriptionStatus::PastDue;
        Some(Standing {
            status,
            plan: self.entitled(subscription, now),
            trial_ends_at: subscription.trial.map(|t| t.end),
            grace_ends_at: overdue.then_some(until),
            due: due.filter(|_| overdue).map(|i| i.id.clone()),
            until,
            subscription: Subscription {
                id: subscription.id.clone(),
                item: subscription.item.clone(),
                plan: subscription.plan,
                status: subscription.status,
                period: subscription.period,
                cancel_at_period_end: subscription.cancel_at_period_end,
                paid_from: self.paid_from(subscription),
            },
        })
    }

    /// The subscriptions that are not superfluous.
    fn counted(&self) -> impl Iterator<Item = &SubscriptionFacts> {
        let surplus = |s: &&SubscriptionFacts| self.surplus.iter().any(|known| known.id == s.id);
        self.subscriptions.iter().filter(move |s| !surplus(s))
    }

    /// Whether a subscription lives.
    pub(super) fn is_subscribed(&self) -> bool {
        self.counted().any(|s| is_alive(s.status))
    }

    /// The first one that had a trial: there is no second one.
    fn first_tried(&self) -> Option<&str> {
        let tried = self.counted().filter(|s| s.trial.is_some());
        let first = tried.min_by_key(|s| (s.created, &s.id));
        first.map(|s| s.id.as_str())
    }

    /// Whether there was a trial.
    pub fn tried(&self) -> bool {
        self.subscriptions.iter().any(|s| s.trial.is_some())
    }

    /// The invoices of a subscription.
    pub(super) fn of<'a>(&'a self, subscription: &'a str) -> impl Iterator<Item = &'a InvoiceFacts> {
        self.invoices
            .iter()
            .filter(move |i| i.subscription.as_deref() == Some(subscription))
    }

    /// Lines that were paid for, each with its plan and its invoice.
    fn paid<'a>(
        &'a self,
        subscription: &'a str,
    ) -> impl Iterator<Item = (&'a InvoiceFacts, &'a LineFacts, Plan)> {
        let invoices = self.of(subscription).filter(|i| i.status == InvoiceStatus::Paid);
        invoices.flat_map(move |invoice| {
            let lines = invoice.lines.iter().filter(|l| l.of_subscription);
            lines.filter_map(move |line| {
                let plan = self.prices.get(line.price.as_ref()?)?;
                Some((invoice, line, *plan))
            })
        })
    }

    /// The plan that has been paid for: that of the last paid line that covers `now`; in the hour between a period's
    /// beginning and its payment, that of the last paid line. A trial is of the subscription's own plan.
    fn entitled(&self, subscription: &SubscriptionFacts, now: Timestamp) -> Plan {
        if subscription.status == StripeStatus::Trialing {
            return subscription.plan;
        }
        let charged = self
            .paid(&subscription.id)
            .filter(|(_, line, _)| line.amount >= 0);
        let last = charged.max_by_key(|(invoice, line, plan)| {
            let covers = line.period.covers(now);
            (covers, invoice.created, line.period.start, plan.price_cents())
        });
        last.map_or(subscription.plan, |(_, _, plan)| plan)
    }

    fn paid_from(&self, subscription: &SubscriptionFacts) -> Option<Timestamp> {
        let whole = self.paid(&subscription.id).filter(|(_, line, _)| !line.proration);
        whole.map(|(_, line, _)| line.period.start).max()
    }

    /// All that should have been granted for what was paid, oldest first.
    ///
    /// # Errors
    /// `Internal` when an amount or a time is beyond all bounds.
    pub fn grants(&self) -> Result<Vec<Grant>> {
        let mut all: Vec<(Timestamp, Grant)> = Vec::new();
        let tried = self.first_tried();
        for subscription in self.counted() {
            for (_, line, plan) in self.paid(&subscription.id).filter(|(_, l, _)| !l.proration) {
                let reason = self.reason(subscription, line);
                if reason == LineReason::Trial && tried != Some(subscription.id.as_str()) {
                    continue;
                }
                let granted = whole_period(subscription, reason, line, plan)?;
                all.extend(granted.map(|grant| (line.period.start, grant)));
            }
            all.extend(self.upgrades(subscription)?);
        }
        all.sort_by_key(|(start, _)| *start);
        let mut grants: Vec<_> = all.into_iter().map(|(_, grant)| grant).collect();
        for bought in self.top_ups.iter().filter(|t| t.paid) {
            grants.extend(top_up(bought));
        }
        Ok(grants)
    }

    fn reason(&self, subscription: &SubscriptionFacts, line: &LineFacts) -> LineReason {
        let tried = subscription.trial.is_some_and(|t| t.covers(line.period.start));
        let invoice = self
            .of(&subscription.id)
            .find(|i| i.lines.iter().any(|l| std::ptr::eq(l, line)));
        match invoice.map(|i| i.reason) {
            _ if tried => LineReason::Trial,
            Some(BillingReason::Create) => LineReason::Create,
            _ => LineReason::Cycle,
        }
    }

    /// A larger plan within a period: the difference for what was left of it, rounded down.
    fn upgrades(&self, subscription: &SubscriptionFacts) -> Result<Vec<(Timestamp, Grant)>> {
        let mut changes: BTreeMap<(String, Timestamp), Vec<(&LineFacts, Plan)>> = BTreeMap::new();
        for (invoice, line, plan) in self.paid(&subscription.id).filter(|(_, l, _)| l.proration) {
            let place = (invoice.id.clone(), line.period.start);
            changes.entry(place).or_default().push((line, plan));
        }
        let mut found = Vec::new();
        for ((invoice, start), lines) in changes {
            let new = lines
                .iter()
                .filter(|(l, _)| l.amount > 0)
                .max_by_key(|(_, p)| p.price_cents());
            let Some((line, plan)) = new else { continue };
            let old = lines.iter().find(|(l, _)| l.amount < 0).map(|(_, p)| *p);
            let more = difference(*plan, old) * i128::from(line.period.seconds());
            let whole = self.whole(subscription, line);
            let amount = more / i128::from(length(whole, line)?);
            let amount = i64::try_from(amount).map_err(Error::internal)?;
            let Ok(amount) = Positive::new(Cbt::micro(amount)) else {
                continue; // a smaller plan takes nothing back
            };
            let reason = LineReason::Upgrade(invoice);
            found.push((
                start,
                Grant {
                    operation: Operation::invoice(&subscription.id, start, &reason),
                    amount,
                    reason: format!("Change to the {} plan, for the rest of the period", plan.name()),
                    until: Until::Unchanged,
                    expires: expiry(*plan, line.period.end)?,
                    grace: GRACE,
                    // More of what the period brought, so that its quota is what there is.
                    period: whole.map(period),
                },
            ));
        }
        Ok(found)
    }

    /// The whole period whose rest this line charges for, if it was paid.
    fn whole(&self, subscription: &SubscriptionFacts, rest: &LineFacts) -> Option<Span> {
        let whole = self.paid(&subscription.id).filter(|(_, l, _)| !l.proration);
        let whole = whole.filter(|(_, l, _)| l.period.end == rest.period.end);
        whole.map(|(_, l, _)| l.period).max_by_key(|p| p.seconds())
    }

    /// The last period that was paid on a plan which brings nothing by itself: an operator grants what the contract says.
    pub fn by_contract(&self) -> Option<Period> {
        let paid = self.subscriptions.iter().flat_map(|s| self.paid(&s.id));
        let whole = paid.filter(|(_, line, plan)| !line.proration && plan.monthly_cbt().is_none());
        let last = whole.max_by_key(|(_, line, _)| line.period.start);
        last.map(|(_, line, _)| period(line.period))
    }

    /// What should go again, since the payment was given back.
    ///
    /// # Errors
    /// `Internal`, never.
    pub fn take_backs(&self) -> Result<Vec<TakeBack>> {
        let share = |refund: &RefundFacts| {
            let payment = refund.payment_intent.as_ref()?;
            let bought = self
                .top_ups
                .iter()
                .find(|t| t.paid && t.payment_intent.as_ref() == Some(payment))?;
            let micro = i128::from(bought.cbt) * i128::from(MICRO);
            let amount = micro * i128::from(refund.amount) / i128::from(bought.amount.max(1));
            let amount = i64::try_from(amount.min(micro)).ok()?;
            Some(TakeBack {
                operation: Operation::adjusted(&format!("refund:{}", refund.id)),
                amount: Positive::new(Cbt::micro(amount)).ok()?,
                refund: refund.id.clone(),
                reason: "A payment for cbT was given back".into(),
            })
        };
        Ok(self.refunds.iter().filter_map(share).collect())
    }
}

fn difference(new: Plan, old: Option<Plan>) -> i128 {
    let micro = |plan: Plan| plan.monthly_cbt().map_or(0, Cbt::as_micro);
    i128::from(micro(new)) - i128::from(old.map_or(micro(new), micro))
}

/// How long the whole period is, in seconds, whose rest this line charges for.
fn length(whole: Option<Span>, rest: &LineFacts) -> Result<i64> {
    let end = rest.period.end;
    let seconds = match whole {
        Some(whole) => whole.seconds(),
        None => Span {
            start: months(end, -1)?,
            end,
        }
        .seconds(),
    };
    Ok(seconds.max(rest.period.seconds()).max(1))
}

fn period(span: Span) -> Period {
    Period {
        start: span.start,
        end: span.end,
    }
}

fn whole_period(
    subscription: &SubscriptionFacts,
    reason: LineReason,
    line: &LineFacts,
    plan: Plan,
) -> Result<Option<Grant>> {
    let Some(monthly) = plan.monthly_cbt() else {
        return Ok(None); // by contract
    };
    let (expires, what) = match reason {
        LineReason::Trial => (Some(line.period.end), "Trial of the"),
        _ => (expiry(plan, line.period.end)?, "A month of the"),
    };
    Ok(Some(Grant {
        operation: Operation::invoice(&subscription.id, line.period.start, &reason),
        amount: Positive::new(monthly).map_err(Error::internal)?,
        reason: format!("{what} {} plan", plan.name()),
        until: Until::Unchanged,
        expires,
        grace: GRACE,
        period: Some(period(line.period)),
    }))
}

fn top_up(bought: &TopUpFacts) -> Option<Grant> {
    let amount = bought.cbt.checked_mul(MICRO).map(Cbt::micro)?;
    Some(Grant {
        operation: Operation::topup(&bought.session),
        amount: Positive::new(amount).ok()?,
        reason: format!("{} cbT bought", bought.cbt),
        until: Until::Unchanged,
        expires: None,
        grace: SignedDuration::ZERO,
        period: None,
    })
}

/// When a period's cbT are to go: with it, or some periods later; for want of a next period, a grace after that.
fn expiry(plan: Plan, period_end: Timestamp) -> Result<Option<Timestamp>> {
    match plan.rollover() {
        Rollover::Periods(n) => months(period_end, i32::from(n)).map(Some),
        Rollover::Forever => Ok(None),
    }
}

/// That many calendar months away, in UTC, as Stripe counts periods.
fn months(at: Timestamp, n: i32) -> Result<Timestamp> {
    let moved = at.to_zoned(TimeZone::UTC).checked_add(n.months());
    moved.map(|zoned| zoned.timestamp()).map_err(Error::internal)
}
