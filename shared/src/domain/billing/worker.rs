//! The look at a customer that an event orders.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;

use super::apply::apply;
use super::event::Order;
use super::snapshot::{Snapshot, fetch};
use super::state::{StripeCustomer, is_alive};
use super::{pages, reconcile, surplus};
use crate::app::App;
use crate::domain::users::deletion::{self, Deletion};
use crate::domain::users::{Account, SubscriptionStatus};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::db::back_off;
use crate::store::keys;

/// How often a look is begun again because the account was written meanwhile.
const TRIES: u32 = 5;

/// Why what a closed account has at Stripe ends.
const CLOSED: &str = "the account was closed";

/// How ids of charges begin.
const CHARGE: &str = "ch_";

/// How many customers are looked at side by side.
const WIDTH: usize = 4;

/// Carries orders out; answers the places of those that must come again. All orders of one customer in a batch are one
/// look, and fail together: so none overtakes another. Each failure is logged.
pub async fn carry_out(app: &App, bodies: &[&str]) -> Vec<usize> {
    let mut failed = Vec::new();
    let mut customers: BTreeMap<String, (Vec<usize>, bool)> = BTreeMap::new();
    for (place, body) in bodies.iter().enumerate() {
        match serde_json::from_str::<Order>(body) {
            Ok(order) => {
                let (places, compare) = customers.entry(order.customer).or_default();
                places.push(place);
                *compare |= reconcile::compares(&order.event);
            }
            Err(error) => {
                tracing::error!(error = %error, "an order to look at a customer cannot be read");
                failed.push(place);
            }
        }
    }
    let looks: Vec<_> = customers
        .iter()
        .map(|(customer, (places, compare))| async move {
            (places, customer, carried_out(app, customer, *compare).await)
        })
        .collect();
    let mut looks = stream::iter(looks).buffer_unordered(WIDTH);
    while let Some((places, customer, result)) = looks.next().await {
        if let Err(error) = result {
            tracing::error!(stripe.customer = customer, error = %error, cause = ?error, "a customer could not be looked at");
            failed.extend(places);
        }
    }
    failed.sort_unstable();
    failed
}

async fn carried_out(app: &App, customer: &str, compare: bool) -> Result<()> {
    if customer.starts_with(CHARGE) {
        return match app.stripe()?.payer(customer).await? {
            Some(payer) => look(app, &payer).await,
            None => Ok(()),
        };
    }
    if compare && let Some(held) = holder(app, customer).await? {
        reconcile::compare(app, held.user_id).await?;
    }
    look(app, customer).await
}

async fn holder(app: &App, customer: &str) -> Result<Option<StripeCustomer>> {
    app.db().get(&keys::stripe_customer(customer)).await
}

/// Looks at a customer: fetches what Stripe has, and makes account and ledger say so. A customer of nobody's is nobody's
/// business.
///
/// # Errors
/// Those of Stripe, table and ledger; looking again does no harm.
pub async fn look(app: &App, customer: &str) -> Result<()> {
    match holder(app, customer).await? {
        Some(held) => look_at(app, held.user_id).await,
        None => {
            tracing::warn!(stripe.customer = customer, "nobody has this customer");
            Ok(())
        }
    }
}

/// The same for a person.
///
/// # Errors
/// As `look`.
pub async fn look_at(app: &App, user: UserId) -> Result<()> {
    for n in 0..TRIES {
        let Some(account) = app.db().get::<Account>(&keys::account(user)).await? else {
            return Ok(());
        };
        if account.status == SubscriptionStatus::Closed {
            return leave(app, &account).await;
        }
        let snapshot = fetch(app, &account).await?;
        match apply(app, user, &snapshot).await {
            Ok(()) => match one_remains(app, user, &snapshot).await {
                Err(Error::PreconditionFailed) => back_off(n).await,
                done => return done,
            },
            Err(Error::PreconditionFailed) => back_off(n).await,
            Err(Error::NotFound) => {} // closed meanwhile
            Err(error) => return Err(error),
        }
    }
    Err(Error::Unavailable("the account kept changing".into()))
}

/// Sees to it that an account has one subscription, and nothing open where another could be bought.
async fn one_remains(app: &App, user: UserId, snapshot: &Snapshot) -> Result<()> {
    surplus::end(app, user, snapshot).await?;
    match snapshot.is_subscribed() {
        true => pages::close_superfluous(app, &snapshot.open).await,
        false => Ok(()),
    }
}

/// Ends all that a closed account has at Stripe at once: nobody is there to use what is paid for. What was charged since
/// it was closed, on a page that was open still, is given back.
///
/// # Errors
/// Those of Stripe.
pub async fn leave(app: &App, account: &Account) -> Result<()> {
    let (user, Some(customer)) = (account.user_id, account.billing.customer.as_deref()) else {
        return Ok(());
    };
    let stripe = app.stripe()?;
    if !stripe.has_customer(customer).await? {
        return Ok(()); // and with it all it had
    }
    // First: once they are closed, nothing is bought any more that would not be seen below.
    for page in stripe.open_pages(customer).await? {
        pages::close(app, &page.id).await?;
    }
    let (all, charges) = try_join(stripe.subscriptions(customer), stripe.charges(customer)).await?;
    for subscription in all.iter().filter(|s| is_alive(s.status)) {
        surplus::cancel(app, user, &subscription.id, CLOSED).await?;
    }
    let since = closed_since(app, user).await?;
    let late = charges
        .iter()
        .filter(|c| c.is_refundable() && c.created.as_second() >= since.as_second());
    for payment in late.filter_map(|c| c.payment_intent.as_deref()) {
        surplus::give_back(app, user, payment, CLOSED).await?;
    }
    Ok(())
}

/// When a closed account was closed. That is forgotten after a month, and what is younger than that came later.
async fn closed_since(app: &App, user: UserId) -> Result<Timestamp> {
    let deletion = app.db().get::<Deletion>(&keys::deletion(user)).await?;
    let forgotten = app.clock().now() - deletion::REMEMBERED;
    Ok(deletion.map_or(forgotten, |d| d.requested_at))
}
