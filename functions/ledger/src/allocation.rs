//! `/api/workspaces/{id}/allocation`: what a workspace may draw from its owner's account.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::ledger::{self, AllocationView};
use camarad::domain::permissions::grant;
use camarad::error::{Error, Result};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Member, Once};
use camarad::ids::WorkspaceId;
use camarad::money::{Amount, Cbt};
use camarad::reply::Reply;
use serde::{Deserialize, Deserializer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(allocation, allocate))
}

/// What a workspace may draw.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Allocate {
    /// In each period, zero or more; `null` is all that the account has.
    #[garde(skip)]
    #[serde(deserialize_with = "named")]
    #[schema(required)]
    limit: Option<Cbt>,
}

/// Must be there, though it may be `null`.
fn named<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cbt>, D::Error> {
    Option::deserialize(d)
}

/// What a workspace may draw from its owner's account, and has drawn
#[utoipa::path(get, path = "/api/workspaces/{id}/allocation", tag = "ledger",
    params(("id" = WorkspaceId, Path)),
    responses((status = 200, body = AllocationView), ReadProblems))]
async fn allocation(
    State(app): State<App>,
    who: Member<grant::BillingManage>,
) -> Result<Reply<AllocationView>> {
    Reply::ok(&ledger::allocation(&app, &who.workspace).await?)
}

/// Set what a workspace may draw from its owner's account in a period
///
/// From then on calls in the workspace that its owner's account pays for are refused with 402 `allocation_exhausted` when
/// they would pass the limit, or with 409 `cbt_held` while running calls hold what is left of it. What the workspace was
/// charged before it had a limit does not count, nor do calls that run already.
#[utoipa::path(put, path = "/api/workspaces/{id}/allocation", tag = "ledger", request_body = Allocate,
    params(("id" = WorkspaceId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = AllocationView), WriteProblems))]
async fn allocate(
    State(app): State<App>,
    who: Member<grant::BillingManage>,
    once: Once,
    Body(req): Body<Allocate>,
) -> Result<Reply<AllocationView>> {
    let limit = req.limit.map(Amount::new).transpose();
    let limit = limit.map_err(|e| Error::field("limit", e.to_string()))?;
    let work = ledger::allocate(&app, who.context(), once.key(), (&who.workspace, limit));
    once.run(&app, work).await
}
