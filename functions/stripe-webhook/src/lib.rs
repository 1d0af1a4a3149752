//! `/api/billing/webhook`: what Stripe tells.

use axum::extract::State;
use axum::http::HeaderMap;
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::billing::event::{self, StripeEvent};
use camarad::domain::billing::webhook;
use camarad::error::{Error, Result};
use camarad::http::Raw;
use camarad::http::problem::Problem;
use camarad::reply::Reply;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(receive))
}

/// Take in an event of Stripe's
///
/// Signed by Stripe over the body as it came, at most five minutes ago. The event is stored, and answered; what follows
/// from it comes a moment later.
#[utoipa::path(post, path = "/api/billing/webhook", tag = "billing", security(()),
    request_body(content = String, content_type = "application/json", description = "An event, as Stripe sends it"),
    params(("Stripe-Signature" = String, Header, description = "`t=…,v1=…`")),
    responses((status = 204, description = "It is stored"), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 422, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json")))]
async fn receive(
    State(app): State<App>,
    context: Context,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Reply<()>> {
    let mut signatures = headers.get_all("stripe-signature").iter();
    let signature = signatures.next().and_then(|v| v.to_str().ok());
    let (Some(signature), None) = (signature, signatures.next()) else {
        return Err(Error::Unauthenticated("the webhook is not signed"));
    };
    webhook::check(&app, signature, &body, context.now).await?;
    event::receive(&app, &StripeEvent::parse(&body, context.now)?).await?;
    Ok(Reply::no_content())
}
