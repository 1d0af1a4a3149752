//! `POST /api/ledger/consume`: what services of ours charge.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::ledger::{self, DebitOrder, DebitView};
use camarad::error::{Error, Result};
use camarad::http::problem::WriteProblems;
use camarad::http::{Body, OnceRequired, Service};
use camarad::ids::{AgentId, UserId};
use camarad::money::{Cbt, Positive};
use camarad::reply::Reply;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(consume))
}

/// What a service charges.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Debit {
    /// For whom it worked.
    #[garde(skip)]
    user_id: UserId,
    /// With which agent. Its workspace decides who pays and which allocation it counts against.
    #[garde(skip)]
    agent_id: AgentId,
    /// How much; more than zero.
    #[garde(skip)]
    amount: Cbt,
    /// For what; the account's owner reads it in the ledger.
    #[garde(length(chars, min = 1, max = 100))]
    #[schema(min_length = 1, max_length = 100)]
    reason: String,
}

/// Charge for what a service did
///
/// All of the amount or nothing: 402 `insufficient_cbt` when the balance does not cover it, 402 `allocation_exhausted` when
/// the workspace has used up what it may draw, 409 `cbt_held` while running calls hold what is there. It is counted as a call
/// without a model, so no usage event has to be sent. The Idempotency-Key is required, as money moves, and charges once for
/// good, not just within a day: use the id of the event that is charged for. For API keys of Camarad's operators.
#[utoipa::path(post, path = "/api/ledger/consume", tag = "ledger", request_body = Debit,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = DebitView), WriteProblems))]
async fn consume(
    State(app): State<App>,
    Service(who): Service,
    once: OnceRequired,
    Body(req): Body<Debit>,
) -> Result<Reply<DebitView>> {
    let amount = Positive::new(req.amount).map_err(|e| Error::field("amount", e.to_string()))?;
    let order = DebitOrder {
        user: req.user_id,
        agent: req.agent_id,
        amount,
        reason: req.reason,
    };
    once.once()
        .run(&app, ledger::consume(&app, &who.context, &once.0, order))
        .await
}
