//! The look at a customer that an event orders.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};

use super::apply::apply;
use super::event::Order;
use super::reconcile;
use super::snapshot::fetch;
use super::state::{StripeCustomer, is_alive};
use crate::app::App;
use crate::domain::users::{Account, SubscriptionStatus};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::stripe::OperationKey;
use crate::store::db::back_off;
use crate::store::keys;

/// How often a look is begun again because the account was written meanwhile.
const TRIES: u32 = 5;

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
            Err(Error::PreconditionFailed) => back_off(n).await,
            Err(Error::NotFound) => {} // closed meanwhile
            done => return done,
        }
    }
    Err(Error::Unavailable("the account kept changing".into()))
}

/// Ends every subscription of a closed account at once: nobody is there to use what it charges for.
///
/// # Errors
/// Those of Stripe.
pub async fn leave(app: &App, account: &Account) -> Result<()> {
    let Some(customer) = account.billing.customer.as_deref() else {
        return Ok(());
    };
    let stripe = app.stripe()?;
    let all = match stripe.subscriptions(customer).await {
        Err(Error::NotFound) => return Ok(()), // the customer is gone, and its subscriptions with it
        all => all?,
    };
    for subscription in all.iter().filter(|s| is_alive(s.status)) {
        let key = OperationKey::new(format!("close:{}", subscription.id));
        stripe.cancel_now(&subscription.id, &key).await?;
        tracing::info!(user.id = %account.user_id, stripe.subscription = subscription.id, "a closed account's subscription ended");
    }
    Ok(())
}
