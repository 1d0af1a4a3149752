//! `/api/billing`: what is for sale, subscriptions, and what was paid.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::billing::change::{self, ChangeView, EndingView, PreviewView};
use camarad::domain::billing::checkout::{self, CheckoutView, PortalView, Returns};
use camarad::domain::billing::read::{self, CatalogueView, InvoiceView, PaymentMethodView};
use camarad::domain::plans::{Plan, TopUp};
use camarad::domain::users::subscription::{self, SubscriptionView};
use camarad::error::{Error, Result};
use camarad::http::problem::{ProviderReadProblems, ProviderWriteProblems, ReadProblems};
use camarad::http::{Body, Caller, Once, OnceRequired, Paging, Query};
use camarad::money::{Cbt, MICRO};
use camarad::reply::Reply;
use camarad::store::Page;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(plans))
        .routes(routes!(show))
        .routes(routes!(check_out))
        .routes(routes!(portal))
        .routes(routes!(change_plan))
        .routes(routes!(preview))
        .routes(routes!(cancel))
        .routes(routes!(resume))
        .routes(routes!(invoices))
        .routes(routes!(payment_method))
        .routes(routes!(top_up))
}

/// A subscription to begin.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CheckOut {
    /// The plan.
    #[garde(skip)]
    plan_id: Plan,
    /// Where the browser goes after payment: a path of the frontend.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(min_length = 1, max_length = 500)]
    success_path: Option<String>,
    /// Where it goes instead.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(min_length = 1, max_length = 500)]
    cancel_path: Option<String>,
}

/// cbT to buy.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BuyCbt {
    /// How much: one of the packs that are for sale.
    #[garde(skip)]
    cbt: Cbt,
    /// Where the browser goes after payment: a path of the frontend.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(min_length = 1, max_length = 500)]
    success_path: Option<String>,
    /// Where it goes instead.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(min_length = 1, max_length = 500)]
    cancel_path: Option<String>,
}

/// A portal to open.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct OpenPortal {
    /// Where the browser comes back to: a path of the frontend.
    #[garde(length(chars, min = 1, max = 500))]
    #[schema(min_length = 1, max_length = 500)]
    return_path: Option<String>,
}

/// Another plan.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ChangePlan {
    /// The plan.
    #[garde(skip)]
    plan_id: Plan,
}

/// What is for sale
#[utoipa::path(get, path = "/api/billing/plans", tag = "billing",
    responses((status = 200, body = CatalogueView), ReadProblems))]
async fn plans(_: Caller) -> Result<Reply<CatalogueView>> {
    Reply::ok(&read::catalogue())
}

/// The caller's subscription
#[utoipa::path(get, path = "/api/billing/subscription", tag = "billing",
    responses((status = 200, body = SubscriptionView), ReadProblems))]
async fn show(State(app): State<App>, who: Caller) -> Result<Reply<SubscriptionView>> {
    Reply::ok(&subscription::read(&app, who.user, who.context.now).await?)
}

/// Begin a subscription
///
/// Answers the address of a page of Stripe's, where the card is taken. The first subscription begins with a trial.
#[utoipa::path(post, path = "/api/billing/checkout", tag = "billing", request_body = CheckOut,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = CheckoutView), ProviderWriteProblems))]
async fn check_out(
    State(app): State<App>,
    who: Caller,
    once: OnceRequired,
    Body(req): Body<CheckOut>,
) -> Result<Reply<CheckoutView>> {
    let returns = Returns {
        success: req.success_path,
        cancel: req.cancel_path,
    };
    let once = once.once();
    let page = checkout::subscribe(&app, &who.context, who.user, req.plan_id, &returns, once.key());
    once.run(&app, page).await
}

/// Open the portal
///
/// Answers the address of a page of Stripe's, where cards are managed and invoices are shown.
#[utoipa::path(post, path = "/api/billing/portal", tag = "billing", request_body = OpenPortal,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = PortalView), ProviderWriteProblems))]
async fn portal(
    State(app): State<App>,
    who: Caller,
    once: Once,
    Body(req): Body<OpenPortal>,
) -> Result<Reply<PortalView>> {
    let once = once.secret(&app).await?;
    let page = checkout::portal(
        &app,
        &who.context,
        who.user,
        req.return_path.as_deref(),
        once.key(),
    );
    once.run(&app, page).await
}

/// Change the plan
///
/// A larger plan counts as soon as the difference for the rest of the period is paid, which is tried at once; a smaller
/// one from the next renewal on; in a trial either counts at once.
#[utoipa::path(post, path = "/api/billing/change-plan", tag = "billing", request_body = ChangePlan,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 200, body = ChangeView), ProviderWriteProblems))]
async fn change_plan(
    State(app): State<App>,
    who: Caller,
    once: OnceRequired,
    Body(req): Body<ChangePlan>,
) -> Result<Reply<ChangeView>> {
    let once = once.once();
    let change = change::change_plan(&app, &who.context, who.user, req.plan_id, once.key());
    once.run(&app, change).await
}

/// What a change of plan would cost
#[utoipa::path(get, path = "/api/billing/change-plan/preview", tag = "billing", params(ChangePlan),
    responses((status = 200, body = PreviewView), ProviderReadProblems))]
async fn preview(
    State(app): State<App>,
    who: Caller,
    Query(req): Query<ChangePlan>,
) -> Result<Reply<PreviewView>> {
    Reply::ok(&change::preview(&app, &who.context, who.user, req.plan_id).await?)
}

/// Cancel the subscription at the end of its period
#[utoipa::path(post, path = "/api/billing/cancel", tag = "billing",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = EndingView), ProviderWriteProblems))]
async fn cancel(State(app): State<App>, who: Caller, once: Once) -> Result<Reply<EndingView>> {
    let done = change::cancel(&app, &who.context, who.user, once.key());
    once.run(&app, done).await
}

/// Let a cancelled subscription go on
///
/// While its period lasts; after that a new one begins with a checkout.
#[utoipa::path(post, path = "/api/billing/resume", tag = "billing",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = EndingView), ProviderWriteProblems))]
async fn resume(State(app): State<App>, who: Caller, once: Once) -> Result<Reply<EndingView>> {
    let done = change::resume(&app, &who.context, who.user, once.key());
    once.run(&app, done).await
}

/// The caller's invoices, newest first
#[utoipa::path(get, path = "/api/billing/invoices", tag = "billing",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<InvoiceView>), ProviderReadProblems))]
async fn invoices(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<InvoiceView>>> {
    Reply::ok(&read::invoices(&app, who.user, &page).await?)
}

/// How the caller pays
#[utoipa::path(get, path = "/api/billing/payment-method", tag = "billing",
    responses((status = 200, body = PaymentMethodView), ProviderReadProblems))]
async fn payment_method(State(app): State<App>, who: Caller) -> Result<Reply<PaymentMethodView>> {
    Reply::ok(&read::payment_method(&app, who.user).await?)
}

/// Buy cbT
///
/// Answers the address of a page of Stripe's. What is bought never expires, and is spent after the month's.
#[utoipa::path(post, path = "/api/billing/topup", tag = "billing", request_body = BuyCbt,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = CheckoutView), ProviderWriteProblems))]
async fn top_up(
    State(app): State<App>,
    who: Caller,
    once: OnceRequired,
    Body(req): Body<BuyCbt>,
) -> Result<Reply<CheckoutView>> {
    let whole = (req.cbt.as_micro() % MICRO == 0).then_some(req.cbt.as_micro() / MICRO);
    let pack = whole.and_then(TopUp::find);
    let pack = pack.ok_or_else(|| Error::field("cbt", "is not a pack that is for sale"))?;
    let returns = Returns {
        success: req.success_path,
        cancel: req.cancel_path,
    };
    let once = once.once();
    let page = checkout::top_up(&app, &who.context, who.user, pack, &returns, once.key());
    once.run(&app, page).await
}
