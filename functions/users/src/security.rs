//! `/api/user/security`: sessions, API keys and the second factor. What opens an account, or closes it to its owner,
//! asks for a recent sign-in.

use std::collections::BTreeSet;

use axum::extract::State;
use camarad::app::App;
use camarad::domain::auth::api_keys::{
    self, ApiKeyView, CreatedApiKey, KeyScope, MOST_DAYS, NewApiKey, USUAL_DAYS,
};
use camarad::domain::auth::devices::{self, DeviceView, Revoked};
use camarad::domain::auth::second_factor::{self, Code, RecoveryCodes, Setup, Status};
use camarad::domain::name::Name;
use camarad::error::Result;
use camarad::http::problem::{ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, Fresh, Id, Once, Paging};
use camarad::ids::{ApiKeyId, SessionId, WorkspaceId};
use camarad::reply::Reply;
use camarad::store::Page;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes of this concern.
pub(crate) fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_sessions))
        .routes(routes!(end_session))
        .routes(routes!(end_other_sessions))
        .routes(routes!(list_keys, create_key))
        .routes(routes!(delete_key))
        .routes(routes!(factor, set_up_factor, turn_off_factor))
        .routes(routes!(activate_factor))
        .routes(routes!(renew_codes))
}

/// Your sessions, newest first
#[utoipa::path(get, path = "/api/user/security/sessions", tag = "users",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told; a page may have fewer and still go on"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<DeviceView>), ReadProblems))]
async fn list_sessions(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<DeviceView>>> {
    let own = (who.user, who.session()?);
    Reply::ok(&devices::list(&app, who.context.now, own, &page).await?)
}

/// End a session
///
/// Its refresh token is good for nothing from now on, nor is its access token for writes; for reads within ten minutes.
#[utoipa::path(delete, path = "/api/user/security/sessions/{id}", tag = "users",
    params(("id" = SessionId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It has ended."), WriteProblems))]
async fn end_session(
    State(app): State<App>,
    who: Caller,
    Id(session): Id<SessionId>,
    once: Once,
) -> Result<Reply<()>> {
    once.run(
        &app,
        devices::end(&app, &who.context, (who.user, session), once.key()),
    )
    .await
}

/// End all other sessions
///
/// Needs a sign-in of the last 15 minutes.
#[utoipa::path(post, path = "/api/user/security/sessions/revoke-others", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Revoked), WriteProblems))]
async fn end_other_sessions(State(app): State<App>, who: Fresh, once: Once) -> Result<Reply<Revoked>> {
    let own = (who.caller.user, who.session);
    once.run(
        &app,
        devices::end_others(&app, &who.caller.context, own, once.key()),
    )
    .await
}

/// Your API keys, oldest first
#[utoipa::path(get, path = "/api/user/security/api-keys", tag = "users",
    params(("limit" = Option<u32>, Query, description = "1 to 100, 50 unless told"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<ApiKeyView>), ReadProblems))]
async fn list_keys(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<ApiKeyView>>> {
    Reply::ok(&api_keys::list(&app, who.user, &page).await?)
}

/// What a key is to be.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CreateApiKey {
    /// What you call it.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 1, max_length = 100)]
    name: Name,
    /// What it may be used for.
    #[garde(length(min = 1))]
    #[schema(min_items = 1)]
    scopes: BTreeSet<KeyScope>,
    /// The one workspace that it is good in; without it, everywhere.
    #[garde(skip)]
    workspace_id: Option<WorkspaceId>,
    /// Days that it is good for, 1 to 365; 90 unless told.
    #[garde(inner(range(min = 1, max = MOST_DAYS)))]
    #[schema(minimum = 1, maximum = 365)]
    expires_in_days: Option<u16>,
}

/// Make an API key
///
/// The key is in this answer and in no other; the same Idempotency-Key brings it back for 24 hours, and nothing else
/// does. Needs a sign-in of the last 15 minutes. There are at most 25.
#[utoipa::path(post, path = "/api/user/security/api-keys", tag = "users", request_body = CreateApiKey,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = CreatedApiKey), WriteProblems))]
async fn create_key(
    State(app): State<App>,
    who: Fresh,
    once: Once,
    Body(req): Body<CreateApiKey>,
) -> Result<Reply<CreatedApiKey>> {
    let new = NewApiKey {
        name: req.name,
        scopes: req.scopes,
        workspace_id: req.workspace_id,
        days: req.expires_in_days.unwrap_or(USUAL_DAYS),
    };
    let once = once.secret(&app).await?;
    let how = (once.key(), &new);
    once.run(
        &app,
        api_keys::create(&app, &who.caller.context, who.caller.user, how),
    )
    .await
}

/// Delete an API key
///
/// It opens nothing from now on.
#[utoipa::path(delete, path = "/api/user/security/api-keys/{id}", tag = "users",
    params(("id" = ApiKeyId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone."), WriteProblems))]
async fn delete_key(
    State(app): State<App>,
    who: Caller,
    Id(key): Id<ApiKeyId>,
    once: Once,
) -> Result<Reply<()>> {
    let which = (once.key(), key);
    once.run(&app, api_keys::delete(&app, &who.context, who.user, which))
        .await
}

/// How your second factor stands
#[utoipa::path(get, path = "/api/user/security/2fa", tag = "users",
    responses((status = 200, body = Status), ReadProblems))]
async fn factor(State(app): State<App>, who: Caller) -> Result<Reply<Status>> {
    Reply::ok(&second_factor::status(&app, who.user).await?)
}

/// Set up a second factor
///
/// Answers what an authenticator app needs; `verify` with its first password turns it on. Setting up again replaces what
/// was set up and not turned on. Needs a sign-in of the last 15 minutes.
#[utoipa::path(post, path = "/api/user/security/2fa", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Setup), WriteProblems))]
async fn set_up_factor(State(app): State<App>, who: Fresh, once: Once) -> Result<Reply<Setup>> {
    let once = once.secret(&app).await?;
    let work = second_factor::set_up(&app, &who.caller.context, who.caller.user, once.key());
    once.run(&app, work).await
}

/// Turn the second factor off
///
/// Needs a sign-in of the last 15 minutes.
#[utoipa::path(delete, path = "/api/user/security/2fa", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is off, and its recovery codes are gone."), WriteProblems))]
async fn turn_off_factor(State(app): State<App>, who: Fresh, once: Once) -> Result<Reply<()>> {
    let work = second_factor::turn_off(&app, &who.caller.context, who.caller.user, once.key());
    once.run(&app, work).await
}

/// A password of the authenticator app.
#[derive(Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct VerifyFactor {
    /// Six digits.
    #[garde(skip)]
    #[schema(value_type = String, pattern = "^[0-9]{6}$")]
    code: Code,
}

/// Turn the second factor on
///
/// With the first password of the app. Answers ten recovery codes, each of which replaces the app once. Needs a sign-in
/// of the last 15 minutes.
#[utoipa::path(post, path = "/api/user/security/2fa/verify", tag = "users", request_body = VerifyFactor,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = RecoveryCodes), WriteProblems))]
async fn activate_factor(
    State(app): State<App>,
    who: Fresh,
    once: Once,
    Body(req): Body<VerifyFactor>,
) -> Result<Reply<RecoveryCodes>> {
    let once = once.secret(&app).await?;
    let how = (once.key(), &req.code);
    once.run(
        &app,
        second_factor::activate(&app, &who.caller.context, who.caller.user, how),
    )
    .await
}

/// Get new recovery codes
///
/// The old ones are good for nothing from then on. Needs a sign-in of the last 15 minutes.
#[utoipa::path(post, path = "/api/user/security/2fa/recovery-codes", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = RecoveryCodes), WriteProblems))]
async fn renew_codes(State(app): State<App>, who: Fresh, once: Once) -> Result<Reply<RecoveryCodes>> {
    let once = once.secret(&app).await?;
    let work = second_factor::renew_codes(&app, &who.caller.context, who.caller.user, once.key());
    once.run(&app, work).await
}
