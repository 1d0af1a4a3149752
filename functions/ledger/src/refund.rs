//! `POST /api/ledger/refund`: what operators give back of a call's charge.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::ledger::{self, RefundOrder, RefundView};
use camarad::error::{Error, Result};
use camarad::http::problem::WriteProblems;
use camarad::http::{Body, OnceRequired, Operator};
use camarad::ids::CallId;
use camarad::money::{Cbt, Positive};
use camarad::reply::Reply;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(refund))
}

/// What comes back.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RefundCall {
    /// Of which call. What a service charged has such an id, too.
    #[garde(skip)]
    call_id: CallId,
    /// How much, more than zero; all that has not come back yet, unless told.
    #[garde(skip)]
    amount: Option<Cbt>,
    /// Why; the account's owner reads it.
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// Give back what a call was charged
///
/// All of it or a part, to the ledger that paid; what comes back never expires. All refunds of a call together are at most
/// its charge: what is beyond is 409 `refund_exceeds_charge`; a call that runs is 409 `call_not_ended`. What was counted as
/// used stays counted. For Camarad's operators, with a recent sign-in. The Idempotency-Key is required, since money moves.
#[utoipa::path(post, path = "/api/ledger/refund", tag = "ledger", request_body = RefundCall,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = RefundView), WriteProblems))]
async fn refund(
    State(app): State<App>,
    Operator(who): Operator,
    once: OnceRequired,
    Body(req): Body<RefundCall>,
) -> Result<Reply<RefundView>> {
    let amount = req.amount.map(Positive::new).transpose();
    let order = RefundOrder {
        call: req.call_id,
        amount: amount.map_err(|e| Error::field("amount", e.to_string()))?,
        reason: req.reason,
    };
    once.once()
        .run(&app, ledger::order_refund(&app, &who.context, &once.0, order))
        .await
}
