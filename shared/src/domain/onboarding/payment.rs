//! What onboarding asks of Stripe. Every request is named by the execution, so that a step that is run again gets what
//! the first run of it got.

use super::{Onboarding, Order, Page};
use crate::app::App;
use crate::context::Context;
use crate::domain::billing::checkout::{Returns, addresses, price};
use crate::domain::billing::customer::{ensure, rewritten};
use crate::domain::billing::pages::{self, Opened};
use crate::domain::billing::state::OpenCheckout;
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::ports::stripe::{NewCheckout, OperationKey, Sale, Trial};
use crate::store::Update;

/// Where the browser comes back to.
const BACK: (&str, &str) = ("/onboarding?checkout=success", "/onboarding?checkout=cancelled");

fn key(onboarding: &Onboarding) -> OperationKey {
    OperationKey::new(format!("onboarding:{}", onboarding.execution_id))
}

/// Whether a subscription stands behind the account: then nothing is sold, and its plan stays.
pub(super) fn is_subscribed(account: &Account) -> bool {
    account.billing.is_subscribed()
}

/// The person's customer, made now if there is none.
pub(super) async fn customer(app: &App, cause: &Context, onboarding: &Onboarding) -> Result<String> {
    ensure(app, cause, onboarding.user_id).await
}

/// What a page would sell to the person now.
pub(super) async fn order(app: &App, account: &Account, onboarding: &Onboarding) -> Result<Order> {
    Ok(Order {
        price: price(app, &onboarding.plan.lookup_key()).await?,
        trial_ends_at: (!account.billing.trial_used).then_some(onboarding.trial_ends_at),
    })
}

/// The account's part with the page that is open.
pub(super) fn opened(account: &Account, page: &Page) -> Result<Update> {
    let mut billing = account.billing.next();
    billing.checkout = Some(OpenCheckout {
        id: page.id.clone(),
        expires_at: page.expires_at,
    });
    rewritten(account, &billing)
}

/// The account's part without the page that was closed; `None` when it tells of no such page.
pub(super) fn closed(account: &Account, onboarding: &Onboarding) -> Result<Option<Update>> {
    let ours = onboarding.page.as_ref().map(|page| &page.id);
    if ours.is_none() || account.billing.checkout.as_ref().map(|c| &c.id) != ours {
        return Ok(None);
    }
    let mut billing = account.billing.next();
    billing.checkout = None;
    rewritten(account, &billing).map(Some)
}

/// The page where a card is entered; the same one however often it is asked for. None for who has a subscription by now,
/// or has opened another page meanwhile.
pub(super) async fn open(app: &App, onboarding: &Onboarding) -> Result<Option<Page>> {
    let lacks = |what| Error::internal(format!("an onboarding without {what}"));
    let order = onboarding.order.as_ref().ok_or_else(|| lacks("an order"))?;
    let back = Returns {
        success: Some(BACK.0.into()),
        cancel: Some(BACK.1.into()),
    };
    let (success_url, cancel_url) = addresses(app, &back)?;
    let new = NewCheckout {
        customer: onboarding.customer.clone().ok_or_else(|| lacks("a customer"))?,
        user: onboarding.user_id,
        sale: Sale::Subscription {
            price: order.price.clone(),
            trial: order.trial_ends_at.map(Trial::Until),
        },
        success_url,
        cancel_url,
    };
    Ok(match pages::open(app, new, &key(onboarding)).await? {
        Opened::Page(page) => Some(Page {
            id: page.id,
            url: page.url,
            expires_at: page.expires_at,
        }),
        Opened::Subscribed | Opened::Superseded => None,
    })
}

/// Closes the page of this execution, if it may have asked for one: what became of a request whose answer got lost only
/// Stripe knows.
pub(super) async fn close(app: &App, onboarding: &Onboarding) -> Result<()> {
    let (Some(customer), Some(_)) = (&onboarding.customer, &onboarding.order) else {
        return Ok(());
    };
    pages::close_own(app, customer, &key(onboarding)).await
}
