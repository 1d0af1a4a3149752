//! `/api/ledger`: the caller's cbT, and grants by operators.

mod allocation;
mod debit;
mod file;
mod refund;

use axum::extract::State;
use axum::response::Response;
use camarad::app::App;
use camarad::domain::ledger::{self, Balance, EntryView, GrantOrder, GrantView};
use camarad::error::{Error, Result};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, OnceRequired, Operator, Paging, Query};
use camarad::ids::UserId;
use camarad::money::{Cbt, Positive};
use camarad::reply::Reply;
use camarad::store::Page;
use http::Method;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(history))
        .routes(routes!(balance))
        .routes(routes!(grant))
        .routes(routes!(export))
        .merge(allocation::router())
        .merge(debit::router())
        .merge(refund::router())
}

/// Which of them stream, as template.yaml tells API Gateway.
pub fn streams(method: &Method, path: &str) -> bool {
    *method == Method::GET && path.ends_with("/export")
}

/// cbT for somebody.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GrantCbt {
    /// To whom.
    #[garde(skip)]
    user_id: UserId,
    /// How much; more than zero.
    #[garde(skip)]
    amount: Cbt,
    /// Why; the account's owner reads it.
    #[garde(length(chars, min = 1, max = 200))]
    #[schema(min_length = 1, max_length = 200)]
    reason: String,
}

/// The entries of the caller's ledger, newest first
///
/// Every movement, exact at once. The deltas of all entries add up to the balance; numbers have no gap.
#[utoipa::path(get, path = "/api/ledger", tag = "ledger",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<EntryView>), ReadProblems))]
async fn history(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<EntryView>>> {
    Reply::ok(&ledger::history(&app, who.user, &page).await?)
}

/// How much cbT the caller has
#[utoipa::path(get, path = "/api/ledger/balance", tag = "ledger",
    responses((status = 200, body = Balance), ReadProblems))]
async fn balance(State(app): State<App>, who: Caller) -> Result<Reply<Balance>> {
    Reply::ok(&ledger::balance(&app, who.user).await?)
}

/// Where an export begins.
#[derive(Debug, Deserialize, garde::Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Begin {
    #[garde(skip)]
    after: Option<u64>,
}

/// The entries of the caller's ledger as a file, oldest first
///
/// NDJSON: a header, one line per entry, and a last line with the balance that they add up to; a file without it was cut.
/// An outside program can check it, and `make audit-ledger` does. With `after`, only entries with a higher number: so a file
/// goes on where another ended. Exact at once. The export is recorded as `data.exported`.
#[utoipa::path(get, path = "/api/ledger/export", tag = "ledger",
    params(("after" = Option<u64>, Query, description = "the number of the last entry that is known; 0 unless told")),
    responses((status = 200, content((String = "application/x-ndjson"))), ReadProblems))]
async fn export(State(app): State<App>, who: Caller, Query(begin): Query<Begin>) -> Result<Response> {
    file::answer(&app, &who.context, (who.user, begin.after.unwrap_or(0))).await
}

/// Grant cbT to an account
///
/// For Camarad's operators, with a recent sign-in. The Idempotency-Key is required, since money moves.
#[utoipa::path(post, path = "/api/ledger/grant", tag = "ledger", request_body = GrantCbt,
    params(("Idempotency-Key" = String, Header)),
    responses((status = 201, body = GrantView), WriteProblems))]
async fn grant(
    State(app): State<App>,
    Operator(who): Operator,
    once: OnceRequired,
    Body(req): Body<GrantCbt>,
) -> Result<Reply<GrantView>> {
    let amount = Positive::new(req.amount).map_err(|e| Error::field("amount", e.to_string()))?;
    let order = GrantOrder {
        user: req.user_id,
        amount,
        reason: req.reason,
    };
    once.once()
        .run(&app, ledger::order(&app, &who.context, &once.0, order))
        .await
}
