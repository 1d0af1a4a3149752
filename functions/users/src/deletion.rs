//! `DELETE /api/user` and `/api/user/deletion`.

use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::domain::users::deletion::{self, DeletionView, StatusToken};
use camarad::error::{Error, Result};
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, Fresh, Once, cookies};
use camarad::ids::UserId;
use camarad::reply::Reply;
use http::header::AUTHORIZATION;
use http::request::Parts;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(delete_account))
        .routes(routes!(read_deletion))
}

/// What is typed to show that it is meant.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
enum Word {
    /// The only one.
    #[serde(rename = "DELETE")]
    Delete,
}

/// That the account is really to be deleted.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(allow_unvalidated)] // the word is right by its type
struct DeleteAccount {
    /// The word DELETE.
    #[serde(rename = "confirm")]
    _confirm: Word,
}

/// Delete your account
///
/// Needs a sign-in within the last fifteen minutes. Refused with `owns_shared_workspaces` as long as you own workspaces with
/// other members: transfer or delete them first. From the answer on, every session and API key of yours has ended; what is
/// yours is removed within minutes, and the same e-mail address may then sign up anew. Records that the law wants kept stay
/// without anything personal. The answer's `statusToken` shows how far it is.
#[utoipa::path(delete, path = "/api/user", tag = "users", request_body = DeleteAccount,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 202, body = DeletionView, headers(("Set-Cookie" = String))), WriteProblems))]
async fn delete_account(
    State(app): State<App>,
    who: Fresh,
    once: Once,
    Body(_): Body<DeleteAccount>,
) -> Result<Response> {
    let caller = who.caller;
    let once = once.secret(&app).await?;
    let work = deletion::request(&app, &caller.context, caller.user, once.key());
    let deleting = once.run(&app, work).await?;
    Ok((cookies::clear_all()?, deleting).into_response())
}

/// How far the deletion of your account is
///
/// With the status token of `DELETE /api/user` as bearer token; an access token does as long as it lives.
#[utoipa::path(get, path = "/api/user/deletion", tag = "users",
    responses((status = 200, body = DeletionView), ReadProblems))]
async fn read_deletion(State(app): State<App>, who: Asker) -> Result<Reply<DeletionView>> {
    let view = match who {
        Asker::Person(user) => deletion::read(&app, user).await?,
        Asker::Token(token) => deletion::shown(&app, &token).await?,
    };
    Reply::ok(&view)
}

/// Who asks how far a deletion is: somebody whose access token still lives, or whoever has the status token.
enum Asker {
    Person(UserId),
    Token(StatusToken),
}

impl FromRequestParts<App> for Asker {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok());
        let bearer = header.and_then(|value| value.split_once(' '));
        let token = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        if let Some(token) = token.and_then(|(_, text)| StatusToken::parse(text.trim())) {
            return Ok(Self::Token(token));
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self::Person(caller.user))
    }
}
