//! Pages of Stripe's on which a person pays, or manages how.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::customer::{account, ensure, rewritten};
use super::pages::{self, Opened};
use super::state::OpenCheckout;
use crate::app::App;
use crate::context::Context;
use crate::domain::current::on_current;
use crate::domain::plans::{Plan, TRIAL_DAYS, TopUp};
use crate::domain::users::{Account, SubscriptionStatus};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::stripe::{CheckoutPage, NewCheckout, OperationKey, Sale, Trial};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use jiff::Timestamp;

/// Where a page of Stripe's leads back to: a path of the frontend.
#[derive(Debug, Clone, Default)]
pub struct Returns {
    /// After payment.
    pub success: Option<String>,
    /// Otherwise.
    pub cancel: Option<String>,
}

/// A page to pay on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutView {
    /// Send the browser there.
    pub url: String,
    /// Stripe's id of it.
    pub session_id: String,
    /// Until when it is open.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

impl From<CheckoutPage> for CheckoutView {
    fn from(page: CheckoutPage) -> Self {
        Self {
            url: page.url,
            session_id: page.id,
            expires_at: page.expires_at,
        }
    }
}

/// A page where a person manages cards and sees invoices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PortalView {
    /// Send the browser there.
    pub url: String,
}

/// What has to be agreed with people.
///
/// # Errors
/// `Conflict`, always for such a plan.
pub(super) fn for_sale(plan: Plan) -> Result<()> {
    match plan.self_service() {
        true => Ok(()),
        false => Err(Error::Conflict {
            code: "contact_sales",
            detail: "this plan is agreed by contract: write to us".into(),
        }),
    }
}

/// The id of the price with this lookup key.
pub(crate) async fn price(app: &App, lookup_key: &str) -> Result<String> {
    let known = app.stripe()?.prices(&[lookup_key.to_owned()]).await?;
    let price = known
        .into_iter()
        .find(|p| p.lookup_key.as_deref() == Some(lookup_key));
    price.map(|p| p.id).ok_or_else(|| {
        Error::internal(format!(
            "Stripe has no price {lookup_key}: run `make stripe-setup`"
        ))
    })
}

/// The name of what one request does at Stripe.
pub(super) fn operation(what: &str, cause: &Context, user: UserId, once: Option<&OnceKey>) -> OperationKey {
    let which = once.map_or_else(|| cause.request_id.clone(), OnceKey::hash);
    OperationKey::new(format!("{what}:{user}:{which}"))
}

/// Puts on record who asks Stripe for what, before it is asked: nothing is done there in anybody's name without.
pub(super) async fn asked(app: &App, cause: &Context, user: UserId, what: Value) -> Result<()> {
    let tx = app.tx(cause);
    let tx = tx.audit(Action::BillingRequested, Scope::Account(user), user, what)?;
    tx.run().await
}

/// The addresses that a page of Stripe's leads back to.
///
/// # Errors
/// `Invalid` for what is no path of the frontend.
pub(crate) fn addresses(app: &App, returns: &Returns) -> Result<(String, String)> {
    Ok((
        address(app, returns.success.as_deref(), "/billing?checkout=success")?,
        address(app, returns.cancel.as_deref(), "/billing?checkout=cancelled")?,
    ))
}

/// A path of the frontend as an address. Only paths come from callers, so that nobody is sent elsewhere.
fn address(app: &App, path: Option<&str>, otherwise: &str) -> Result<String> {
    let origin = app
        .config()
        .frontend_origins
        .first()
        .map_or(app.config().public_url.as_str(), String::as_str);
    let path = path.unwrap_or(otherwise);
    let plain = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    if !plain || path.chars().any(char::is_control) {
        return Err(Error::field(
            "returnTo",
            "must be a path of the frontend, such as /billing",
        ));
    }
    Ok(format!("{origin}{path}"))
}

/// A page on which this person subscribes to a plan: with a trial, if it is their first subscription. No other page
/// stays open, so that nobody pays for two subscriptions.
///
/// # Errors
/// `Conflict` `contact_sales`, `already_subscribed`, or `checkout_superseded` when another page was opened meanwhile;
/// `NotFound` when the account was closed meanwhile; those of Stripe.
pub async fn subscribe(
    app: &App,
    cause: &Context,
    user: UserId,
    plan: Plan,
    returns: &Returns,
    once: Option<&OnceKey>,
) -> Result<Reply<CheckoutView>> {
    for_sale(plan)?;
    let urls = addresses(app, returns)?;
    unsubscribed(&account(app, user).await?)?;
    asked(app, cause, user, json!({ "request": "checkout", "plan": plan })).await?;
    let customer = ensure(app, cause, user).await?;
    let account = account(app, user).await?;
    unsubscribed(&account)?;
    let new = offer(app, &account, (customer, plan), urls).await?;
    let key = operation("checkout", cause, user, once);
    let page = match pages::open(app, new, &key).await? {
        Opened::Page(page) => page,
        Opened::Subscribed => return Err(already_subscribed()),
        Opened::Superseded => {
            return Err(Error::Conflict {
                code: "checkout_superseded",
                detail: "another page was opened after this one: pay there, or begin anew".into(),
            });
        }
    };
    let id = page.id.clone();
    let noted = note(app, cause, account, page, once).await;
    if let Err(Error::NotFound | Error::Conflict { .. }) = &noted {
        pages::close(app, &id).await?;
    }
    noted
}

/// What the page is to sell.
async fn offer(
    app: &App,
    account: &Account,
    (customer, plan): (String, Plan),
    (success_url, cancel_url): (String, String),
) -> Result<NewCheckout> {
    let days = u32::try_from(TRIAL_DAYS).map_err(Error::internal)?;
    Ok(NewCheckout {
        customer,
        user: account.user_id,
        sale: Sale::Subscription {
            price: price(app, &plan.lookup_key()).await?,
            trial: (!account.billing.trial_used).then_some(Trial::Days(days)),
        },
        success_url,
        cancel_url,
    })
}

/// Notes that the page is open, as long as the account is there and has no subscription.
async fn note(
    app: &App,
    cause: &Context,
    account: Account,
    page: CheckoutPage,
    once: Option<&OnceKey>,
) -> Result<Reply<CheckoutView>> {
    let open = OpenCheckout {
        id: page.id.clone(),
        expires_at: page.expires_at,
    };
    let view = CheckoutView::from(page);
    let (open, view) = (&open, &view);
    on_current(app.db(), account, async |current: Account| {
        if current.status == SubscriptionStatus::Closed {
            return Err(Error::NotFound);
        }
        unsubscribed(&current)?;
        let mut billing = current.billing.next();
        billing.checkout = Some(open.clone());
        let update = rewritten(&current, &billing)?;
        app.tx(cause)
            .update(update, || Error::PreconditionFailed)
            .once(once)
            .commit(Reply::created(view)?)
            .await
    })
    .await
}

fn already_subscribed() -> Error {
    Error::Conflict {
        code: "already_subscribed",
        detail: "there is a subscription: change its plan".into(),
    }
}

fn unsubscribed(account: &Account) -> Result<()> {
    match account.billing.is_subscribed() {
        false => Ok(()),
        true => Err(already_subscribed()),
    }
}

/// A page on which this person buys cbT.
///
/// # Errors
/// `Invalid` when there is no such pack; `SubscriptionRequired` without a subscription, as what is bought could not be
/// spent; those of Stripe.
pub async fn top_up(
    app: &App,
    cause: &Context,
    user: UserId,
    pack: TopUp,
    returns: &Returns,
    once: Option<&OnceKey>,
) -> Result<Reply<CheckoutView>> {
    let (success_url, cancel_url) = (
        address(app, returns.success.as_deref(), "/billing?topup=success")?,
        address(app, returns.cancel.as_deref(), "/billing?topup=cancelled")?,
    );
    if !account(app, user).await?.is_live(cause.now) {
        return Err(Error::SubscriptionRequired);
    }
    asked(app, cause, user, json!({ "request": "topup", "cbt": pack.cbt })).await?;
    let new = NewCheckout {
        customer: ensure(app, cause, user).await?,
        user,
        sale: Sale::TopUp {
            price: price(app, &pack.lookup_key()).await?,
            cbt: pack.cbt,
        },
        success_url,
        cancel_url,
    };
    let key = operation("topup", cause, user, once);
    let page = app.stripe()?.create_checkout(&new, &key).await?;
    // Who closed the account meanwhile may have looked for open pages before this one was there.
    if let Err(gone) = account(app, user).await {
        pages::close(app, &page.id).await?;
        return Err(gone);
    }
    let reply = Reply::created(&CheckoutView::from(page))?;
    answered(app, cause, once, reply).await
}

/// A page where this person manages cards and sees invoices.
///
/// # Errors
/// Those of Stripe.
pub async fn portal(
    app: &App,
    cause: &Context,
    user: UserId,
    return_to: Option<&str>,
    once: Option<&OnceKey>,
) -> Result<Reply<PortalView>> {
    let back = address(app, return_to, "/billing")?;
    account(app, user).await?;
    asked(app, cause, user, json!({ "request": "portal" })).await?;
    let customer = ensure(app, cause, user).await?;
    let key = operation("portal", cause, user, once);
    let url = app.stripe()?.create_portal(&customer, &back, &key).await?;
    answered(app, cause, once, Reply::created(&PortalView { url })?).await
}

/// Keeps the answer under the caller's key, where nothing of ours changes with it.
pub(super) async fn answered<T>(
    app: &App,
    cause: &Context,
    once: Option<&OnceKey>,
    reply: Reply<T>,
) -> Result<Reply<T>> {
    match once {
        None => Ok(reply),
        Some(_) => app.tx(cause).once(once).commit(reply).await,
    }
}
