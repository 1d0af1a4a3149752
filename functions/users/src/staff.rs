//! What Camarad's own staff can do for, or against, an account.

use axum::extract::State;
use camarad::app::App;
use camarad::domain::auth::devices::{self, Revoked};
use camarad::error::Result;
use camarad::http::problem::WriteProblems;
use camarad::http::{Id, Once, Operator};
use camarad::ids::UserId;
use camarad::reply::Reply;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this concern.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(end_sessions))
}

/// End all sessions of a person
///
/// For Camarad's operators, with a recent sign-in: where an account was taken over, or may have been. Refresh tokens are good
/// for nothing from now on, nor are access tokens for writes; for reads within ten minutes. API keys go on. It is on record in
/// the person's log and in the platform's.
#[utoipa::path(post, path = "/api/users/{id}/sessions/revoke", tag = "users",
    params(("id" = UserId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Revoked), WriteProblems))]
async fn end_sessions(
    State(app): State<App>,
    Operator(who): Operator,
    Id(user): Id<UserId>,
    once: Once,
) -> Result<Reply<Revoked>> {
    once.run(
        &app,
        devices::end_by_operator(&app, &who.context, user, once.key()),
    )
    .await
}
