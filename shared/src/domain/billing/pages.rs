//! Pages on which a person buys a subscription. One of them at most can be paid on, and none while a subscription lives.
//!
//! Stripe is asked which there are, as what we noted may be late or lost. Whoever opens a page closes those before it
//! first, and opens none when one of them turns out to have been paid on. Afterwards it closes all but the newest that
//! there is by then: of pages that are opened side by side everybody keeps the same one. Only then it looks for a
//! subscription once more: what is closed cannot be paid on any more, so none can come but from the page that stays. The
//! look at a customer (`worker`) closes what a function left open that died on the way.

use super::state::is_alive;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ports::stripe::{
    CheckoutPage, NewCheckout, OpenPage, OperationKey, PageEnd, Sale, Stripe, SubscriptionFacts,
};

/// What became of a request for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is open, and the only one.
    Page(CheckoutPage),
    /// There is a subscription: no page is open.
    Subscribed,
    /// Somebody opened a newer one meanwhile, which stays.
    Superseded,
}

/// Opens a page that sells a subscription, without the trial if Stripe knows of an earlier one. The operation's name
/// leads to the same page again, for as long as it is the newest.
///
/// # Errors
/// Those of Stripe. What was opened then is found under the same name.
pub(crate) async fn open(app: &App, new: NewCheckout, key: &OperationKey) -> Result<Opened> {
    let stripe = app.stripe()?;
    let customer = new.customer.clone();
    let before = on_sale(stripe, &customer).await?;
    let own = before
        .iter()
        .position(|page| page.operation.as_deref() == Some(key.as_str()));
    close_all(app, before.iter().skip(own.map_or(0, |place| place + 1))).await?;
    let known = stripe.subscriptions(&customer).await?;
    if known.iter().any(|s| is_alive(s.status)) {
        close_all(app, before.iter().take(own.map_or(0, |place| place + 1))).await?;
        return Ok(Opened::Subscribed);
    }
    let page = stripe.create_checkout(&tried_once(new, &known), key).await?;
    let after = on_sale(stripe, &customer).await?;
    let newest = after.first().is_some_and(|first| first.id == page.id);
    close_all(app, after.iter().skip(1)).await?;
    let subscribed = stripe.subscriptions(&customer).await?;
    if subscribed.iter().any(|s| is_alive(s.status)) {
        close_all(app, after.iter().take(1)).await?;
        return Ok(Opened::Subscribed);
    }
    Ok(match newest {
        true => Opened::Page(page),
        false => Opened::Superseded,
    })
}

/// There is one trial for a person, and what the account says of it may be late.
fn tried_once(mut new: NewCheckout, known: &[SubscriptionFacts]) -> NewCheckout {
    if let Sale::Subscription { trial, .. } = &mut new.sale
        && known.iter().any(|s| s.trial.is_some())
    {
        *trial = None;
    }
    new
}

/// The pages on which a subscription can be bought, newest first.
async fn on_sale(stripe: &dyn Stripe, customer: &str) -> Result<Vec<OpenPage>> {
    let mut pages = stripe.open_pages(customer).await?;
    pages.retain(|page| page.of_subscription);
    Ok(pages)
}

async fn close_all(app: &App, pages: impl Iterator<Item = &OpenPage>) -> Result<()> {
    for page in pages {
        close(app, &page.id).await?;
    }
    Ok(())
}

/// Closes a page.
///
/// # Errors
/// Those of Stripe; `Unavailable` while somebody is paying on it.
pub(crate) async fn close(app: &App, page: &str) -> Result<PageEnd> {
    let key = OperationKey::new(format!("expire:{page}"));
    app.stripe()?.expire_checkout(page, &key).await
}

/// Closes the page that this operation opened, if it can be paid on.
///
/// # Errors
/// As `close`.
pub(crate) async fn close_own(app: &App, customer: &str, key: &OperationKey) -> Result<()> {
    let pages = on_sale(app.stripe()?, customer).await?;
    let own = |page: &&OpenPage| page.operation.as_deref() == Some(key.as_str());
    close_all(app, pages.iter().filter(own)).await
}

/// Closes these pages, as there is a subscription.
///
/// # Errors
/// `PreconditionFailed` when one of them was paid on: then there is more than was looked at.
pub(super) async fn close_superfluous(app: &App, pages: &[OpenPage]) -> Result<()> {
    let mut paid = false;
    for page in pages.iter().filter(|page| page.of_subscription) {
        paid |= close(app, &page.id).await? == PageEnd::Paid;
    }
    match paid {
        true => Err(Error::PreconditionFailed),
        false => Ok(()),
    }
}
