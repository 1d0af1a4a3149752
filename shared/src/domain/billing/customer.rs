//! A person as Stripe's customer.

use serde_json::json;

use super::state::{Billing, StripeCustomer};
use super::worker::look_at;
use crate::app::App;
use crate::canonical;
use crate::context::Context;
use crate::domain::current::on_current;
use crate::domain::users::{Account, SubscriptionStatus, profile};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::stripe::{NewCustomer, OperationKey};
use crate::store::{Cond, Entity, Update, keys};

/// The account of a person who has not deleted it.
///
/// # Errors
/// `NotFound`.
pub async fn account(app: &App, user: UserId) -> Result<Account> {
    let account = app.db().get::<Account>(&keys::account(user)).await?;
    account
        .filter(|a| a.status != SubscriptionStatus::Closed)
        .ok_or(Error::NotFound)
}

/// The update that writes an account's part of Stripe anew, unless somebody did since it was read, or closed the account.
///
/// # Errors
/// `Internal`, never.
pub(crate) fn rewritten(account: &Account, billing: &Billing) -> Result<Update> {
    Ok(Update::of(account.key())
        .set("billing", billing)?
        .when(account.billing.unchanged()?)
        .when(Cond::ne("status", SubscriptionStatus::Closed)?))
}

/// How often a person's customer may be deleted at Stripe in the day for which it keeps the answer that made it.
const REMADE: u32 = 5;

/// Makes a customer. Stripe answers a repetition as it answered first, also when the customer was deleted meanwhile.
async fn made(app: &App, new: &NewCustomer) -> Result<String> {
    let stripe = app.stripe()?;
    // Whoever made one may have died before it was noted, and the name that its key follows from may be another by now.
    if let Some(known) = stripe.made_for(new).await? {
        return Ok(known);
    }
    let said = canonical::digest(&json!([new.email, new.name]));
    let key = OperationKey::new(format!("customer:{}:{said}", new.user));
    for n in 0..REMADE {
        let key = match n {
            0 => key.clone(),
            _ => key.step(&format!("anew-{n}")),
        };
        let made = stripe.create_customer(new, &key).await?;
        if stripe.has_customer(&made).await? {
            return Ok(made);
        }
    }
    Err(Error::Upstream("Stripe's customer is gone as soon as it is made"))
}

/// The person's customer at Stripe; made when they have none. May be repeated, and run twice at once: all get the same
/// one, as the operation is named after the person and what is said of them.
///
/// # Errors
/// `NotFound` when there is no such account; those of Stripe.
pub async fn ensure(app: &App, cause: &Context, user: UserId) -> Result<String> {
    let mut first = account(app, user).await?;
    if let Some(customer) = &first.billing.customer {
        if app.stripe()?.has_customer(customer).await? {
            return Ok(customer.clone());
        }
        // Somebody deleted it, and we have not been told yet.
        look_at(app, user).await?;
        first = account(app, user).await?;
    }
    let person = profile::read(app, user).await?;
    let new = NewCustomer {
        user,
        email: person.email,
        name: person.name,
    };
    let made = made(app, &new).await?;
    let made = made.as_str();
    on_current(app.db(), first, async |current: Account| {
        if let Some(customer) = current.billing.customer {
            return Ok(customer);
        }
        let held = StripeCustomer {
            customer: made.to_owned(),
            user_id: user,
        };
        let mut billing = current.billing.next();
        billing.customer = Some(made.to_owned());
        let update = rewritten(&current, &billing)?;
        app.tx(cause)
            .update(update, || Error::PreconditionFailed)
            .put(&held)?
            .run()
            .await?;
        Ok(made.to_owned())
    })
    .await
}
