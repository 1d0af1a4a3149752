//! From what follows to the table and the ledger.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::customer::rewritten;
use super::derive::Standing;
use super::event::StripeEvent;
use super::reconcile::Drift;
use super::snapshot::Snapshot;
use super::{limits, state::Billing, taken};
use crate::app::App;
use crate::canonical;
use crate::context::Context;
use crate::domain::ledger::{self, Until};
use crate::domain::notifications::{self, Notice};
use crate::domain::users::preferences::NotificationType;
use crate::domain::users::{Account, SubscriptionStatus};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::record::{Action, Scope};
use crate::store::{Outcome, Tx, keys};

/// How long before its end a trial is said to end.
const WARNED: SignedDuration = SignedDuration::from_hours(24 * 3);

/// Makes the account and its ledger say what Stripe says. Every step may be repeated, and whoever dies in between leaves
/// what the next run goes on with.
///
/// # Errors
/// `PreconditionFailed` when somebody wrote the account's part since the snapshot was begun: fetch again; `NotFound` when
/// there is no such account, or it was closed; those of table and ledger.
pub async fn apply(app: &App, user: UserId, snapshot: &Snapshot) -> Result<()> {
    brought(app, user, snapshot, false).await
}

/// The same, for whoever has found that the ledger is not as the account says.
pub(super) async fn apply_anew(app: &App, user: UserId, snapshot: &Snapshot) -> Result<()> {
    brought(app, user, snapshot, true).await
}

async fn brought(app: &App, user: UserId, snapshot: &Snapshot, anew: bool) -> Result<()> {
    let now = app.clock().now();
    let account = super::customer::account(app, user).await?;
    if account.billing.rev != snapshot.rev {
        return Err(Error::PreconditionFailed);
    }
    let standing = snapshot.standing(now);
    let wanted = wanted(&account, snapshot, standing.as_ref(), now);
    let rev = match wanted == account {
        true => account.billing.rev,
        false => write(app, &account, &wanted, standing.as_ref(), now).await?,
    };
    let rev = settle(app, (&wanted, rev), snapshot, anew).await?;
    if let Some(until) = standing.map(|s| s.until).or(ended(&account, snapshot, now)) {
        ledger::allow(app, user, Until::At(until)).await?;
    }
    if is_over(wanted.status) {
        ledger::close(app, user, now).await?;
    }
    // What may be spent is not fenced by the account: if that has moved on, the newer word must be the last.
    let after = super::customer::account(app, user).await?;
    if after.billing.rev != rev {
        return Err(Error::PreconditionFailed);
    }
    limits::spread(app, &after).await?;
    match (&account.billing.customer, snapshot.deleted) {
        (Some(gone), true) => forget(app, user, gone).await,
        _ => Ok(()),
    }
}

/// Forgets a customer who was deleted at Stripe. That is the last step: nobody finds the account by this customer any
/// more, so all that follows from their end must have been done.
async fn forget(app: &App, user: UserId, gone: &str) -> Result<()> {
    let current = super::customer::account(app, user).await?;
    if current.billing.customer.as_deref() != Some(gone) {
        return Ok(());
    }
    let billing = Billing {
        customer: None,
        subscription: None,
        checkout: None,
        surplus: Vec::new(),
        ..current.billing.next()
    };
    let cause = Context::system("billing", app.clock().now());
    let what = json!({ "customer": { "before": gone, "after": null } });
    app.tx(&cause)
        .update(rewritten(&current, &billing)?, || Error::PreconditionFailed)
        .delete(keys::stripe_customer(gone), None, || Error::PreconditionFailed)
        .audit(Action::SubscriptionUpdated, Scope::Account(user), user, what)?
        .run()
        .await
}

/// Brings the ledger to what was paid for and given back, and notes that once all of it is done. Answers the account's
/// revision.
async fn settle(app: &App, (account, rev): (&Account, u64), snapshot: &Snapshot, anew: bool) -> Result<u64> {
    let (grants, backs) = (snapshot.grants()?, snapshot.take_backs()?);
    let names = grants.iter().map(|grant| &grant.operation);
    let names: Vec<_> = names.chain(backs.iter().map(|back| &back.operation)).collect();
    let begun = snapshot.by_contract();
    let due = match (&begun, names.is_empty()) {
        (Some(period), _) => Some(json!([names, period])),
        (None, false) => Some(json!(names)),
        (None, true) => None,
    };
    let due = due.map(|due| canonical::digest(&due));
    if due.is_none() || (account.billing.settled == due && !anew) {
        return Ok(rev);
    }
    for grant in &grants {
        ledger::grant(app, account.user_id, grant).await?;
    }
    if let Some(period) = &begun {
        ledger::begin(app, account.user_id, period).await?;
    }
    taken::back(app, account.user_id, &backs).await?;
    if account.billing.settled == due {
        return Ok(rev);
    }
    let mut current = account.clone();
    current.billing.rev = rev;
    let noted = Billing {
        settled: due,
        ..current.billing.next()
    };
    match app.db().update(&rewritten(&current, &noted)?).await? {
        Outcome::Applied(_) => Ok(noted.rev),
        Outcome::Refused(_) => Err(Error::PreconditionFailed),
    }
}

/// The account as it should be at `now`.
pub fn expected(account: &Account, snapshot: &Snapshot, now: Timestamp) -> Account {
    wanted(account, snapshot, snapshot.standing(now).as_ref(), now)
}

/// A customer who is gone has no subscription any more. The account tells of it until all has followed from that.
fn ended(account: &Account, snapshot: &Snapshot, now: Timestamp) -> Option<Timestamp> {
    let known = account.billing.subscription.as_ref();
    let ends = known.filter(|s| s.is_alive())?.period.end;
    snapshot.deleted.then(|| ends.min(now))
}

/// The account as it should be.
fn wanted(account: &Account, snapshot: &Snapshot, standing: Option<&Standing>, now: Timestamp) -> Account {
    let mut wanted = account.clone();
    wanted.billing.trial_used |= snapshot.tried();
    wanted.billing.surplus = snapshot.surplus.clone();
    let Some(standing) = standing else {
        if snapshot.deleted && account.billing.is_subscribed() {
            wanted.status = SubscriptionStatus::Canceled;
        }
        return wanted;
    };
    let checkout = wanted.billing.checkout.take();
    wanted.status = standing.status;
    wanted.plan = standing.plan;
    wanted.trial_ends_at = standing.trial_ends_at.or(account.trial_ends_at);
    wanted.billing = Billing {
        subscription: Some(standing.subscription.clone()),
        grace_ends_at: standing.grace_ends_at,
        grace_told: standing.grace_ends_at.filter(|end| *end <= now),
        trial_warned: standing.trial_ends_at.filter(|end| warned(standing, *end, now)),
        checkout: checkout.filter(|_| !standing.subscription.is_alive()),
        ..wanted.billing
    };
    wanted
}

fn is_over(status: SubscriptionStatus) -> bool {
    matches!(status, SubscriptionStatus::Canceled | SubscriptionStatus::Expired)
}

fn warned(standing: &Standing, end: Timestamp, now: Timestamp) -> bool {
    standing.status != SubscriptionStatus::Trialing || end.duration_since(now) <= WARNED
}

/// Writes it, with what is told of it. Answers the account's new revision.
async fn write(
    app: &App,
    old: &Account,
    new: &Account,
    standing: Option<&Standing>,
    now: Timestamp,
) -> Result<u64> {
    let cause = Context::system("billing", now);
    let mut billing = new.billing.clone();
    billing.rev = old.billing.rev + 1;
    let update = rewritten(old, &billing)?
        .set("plan", new.plan)?
        .set("status", new.status)?;
    let update = match new.trial_ends_at {
        Some(end) => update.set("trialEndsAt", end)?,
        None => update,
    };
    let tx = app.tx(&cause).update(update, || Error::PreconditionFailed);
    let tx = with_surplus(audited(tx, old, new)?, (old, new), now)?;
    let mut tx = told(tx, (old, new), standing)?;
    if let (Some(end), Some(customer)) = (new.billing.grace_ends_at, &new.billing.customer)
        && old.billing.grace_ends_at != Some(end)
    {
        // Nothing happens at Stripe then.
        tx = tx.put(&StripeEvent::of_grace(customer, end))?;
    }
    tx.run().await?;
    Ok(billing.rev)
}

/// What was found to be superfluous, on record.
fn with_surplus<'a>(tx: Tx<'a>, (old, new): (&Account, &Account), now: Timestamp) -> Result<Tx<'a>> {
    let known = |id: &str| old.billing.surplus.iter().any(|s| s.id == id);
    let ids = new.billing.surplus.iter().map(|s| s.id.as_str());
    let found: Vec<_> = ids.filter(|id| !known(id)).collect();
    if found.is_empty() {
        return Ok(tx);
    }
    let drift = Drift {
        user_id: new.user_id,
        customer: new.billing.customer.clone().unwrap_or_default(),
        differences: vec![format!(
            "more than one subscription lives: {} ends",
            found.join(", ")
        )],
        found_at: now,
    };
    let what = json!({ "superfluous": found });
    tx.put(&drift)?.audit(
        Action::SubscriptionUpdated,
        Scope::Account(new.user_id),
        new.user_id,
        what,
    )
}

/// What the audit log says of an account's subscription.
fn seen(account: &Account) -> Value {
    let subscription = account.billing.subscription.as_ref();
    json!({
        "plan": account.plan,
        "status": account.status,
        "subscription": subscription.map(|s| &s.id),
        "nextPlan": subscription.map(|s| s.plan),
        "periodEndsAt": subscription.map(|s| s.period.end),
        "cancelAtPeriodEnd": subscription.is_some_and(|s| s.cancel_at_period_end),
    })
}

fn audited<'a>(tx: Tx<'a>, old: &Account, new: &Account) -> Result<Tx<'a>> {
    let (before, after) = (seen(old), seen(new));
    if before == after {
        return Ok(tx);
    }
    let action = match before["subscription"] == after["subscription"] {
        false if after["subscription"].is_string() => Action::SubscriptionCreated,
        _ if is_over(new.status) && !is_over(old.status) => Action::SubscriptionCancelled,
        _ => Action::SubscriptionUpdated,
    };
    let detail = json!({ "before": before, "after": after });
    tx.audit(action, Scope::Account(new.user_id), new.user_id, detail)
}

/// The notices that the change is worth.
fn told<'a>(tx: Tx<'a>, (old, new): (&Account, &Account), standing: Option<&Standing>) -> Result<Tx<'a>> {
    let Some(standing) = standing else {
        return Ok(tx);
    };
    let (subscription, plan) = (&standing.subscription, new.plan);
    let mut news: Vec<(NotificationType, String, Value)> = Vec::new();
    let known = old
        .billing
        .subscription
        .as_ref()
        .filter(|s| s.id == subscription.id);
    let paid = (known.and_then(|s| s.paid_from), subscription.paid_from);
    if let (Some(before), Some(from)) = paid
        && before < from
    {
        let data = json!({ "plan": plan, "periodStartsAt": from, "periodEndsAt": subscription.period.end });
        news.push((NotificationType::SubscriptionRenewed, from.to_string(), data));
    }
    if let Some(end) = new.billing.trial_warned
        && new.status == SubscriptionStatus::Trialing
    {
        let data = json!({ "plan": plan, "trialEndsAt": end });
        news.push((NotificationType::SubscriptionTrialEnding, end.to_string(), data));
    }
    if let Some(invoice) = &standing.due {
        let data = json!({ "plan": plan, "invoiceId": invoice, "graceEndsAt": standing.grace_ends_at });
        news.push((NotificationType::PaymentFailed, invoice.clone(), data));
    }
    if let Some(end) = new.billing.grace_told {
        let data = json!({ "plan": plan, "endedAt": end, "invoiceId": standing.due });
        news.push((
            NotificationType::SubscriptionExpired,
            format!("grace:{end}"),
            data,
        ));
    }
    // Who was told that it ended unpaid needs no word when Stripe gives up, too.
    if is_over(new.status) && old.status != new.status && old.billing.grace_told.is_none() {
        let data = json!({ "plan": plan, "endedAt": standing.until });
        news.push((NotificationType::SubscriptionExpired, "over".into(), data));
    }
    news.into_iter().try_fold(tx, |tx, (kind, occasion, data)| {
        let dedupe = format!("{}:{occasion}", subscription.id);
        let user = new.user_id;
        notifications::stage(
            tx,
            &Notice {
                user,
                kind,
                data,
                dedupe,
            },
        )
    })
}
