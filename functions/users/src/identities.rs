//! `/api/user/security/identities`: the ways that a person signs in.

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use camarad::app::App;
use camarad::domain::auth::attempt::{ATTEMPT_LIFE, InSession, Mode, Wish};
use camarad::domain::auth::link::{self, IdentityView};
use camarad::domain::auth::sign_in;
use camarad::error::{Error, Result};
use camarad::http::cookies::{self, STATE_COOKIE};
use camarad::http::problem::{Problem, ReadProblems, WriteProblems};
use camarad::http::{Body, Caller, Fresh, Id, Once, Paging};
use camarad::ids::IdentityId;
use camarad::reply::Reply;
use camarad::store::Page;
use serde::{Deserialize, Serialize};

/// Your ways to sign in, beside the link that is mailed to your address
#[utoipa::path(get, path = "/api/user/security/identities", tag = "users",
    params(("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = Page<IdentityView>), ReadProblems))]
pub(super) async fn list(
    State(app): State<App>,
    who: Caller,
    Paging(page): Paging,
) -> Result<Reply<Page<IdentityView>>> {
    Reply::ok(&link::list(&app, who.user, &page).await?)
}

/// What is to be linked.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LinkIdentity {
    /// The provider's id, as `GET /api/auth/providers` has it.
    #[garde(length(min = 1, max = 32))]
    provider: String,
    /// A path of the frontend to go on to; `/` unless told.
    #[garde(length(max = 1024))]
    return_to: Option<String>,
    /// `browser` (the provider's answer leads to the frontend; unless told) or `token` (it is answered 204).
    #[garde(skip)]
    #[serde(default)]
    mode: Mode,
}

/// A sign-in at a provider that links.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct LinkStarted {
    /// Where this browser goes, within ten minutes.
    url: String,
}

/// Link another way to sign in
///
/// Needs a sign-in within the last 15 minutes. Answers the provider's address, and sets a cookie that the callback wants
/// back; what the provider then vouches for is linked if this session is still live and it is nobody else's.
#[utoipa::path(post, path = "/api/user/security/identities", tag = "users", request_body = LinkIdentity,
    responses((status = 201, body = LinkStarted, headers(("Set-Cookie" = String))),
        (status = 502, description = "The provider does not answer.", body = Problem, content_type = "application/problem+json"),
        WriteProblems))]
pub(super) async fn begin(
    State(app): State<App>,
    who: Fresh,
    headers: HeaderMap,
    Body(req): Body<LinkIdentity>,
) -> Result<([(HeaderName, HeaderValue); 1], Reply<LinkStarted>)> {
    let provider = sign_in::provider(app.config(), &req.provider)
        .map_err(|_| Error::field("provider", "is none that one can sign in with"))?;
    let wish = Wish::of(app.config(), "", (req.return_to.as_deref(), req.mode))?;
    let to = InSession {
        user: who.caller.user,
        session: who.session,
    };
    let binding = cookies::binding(&headers, STATE_COOKIE);
    let url = link::begin(&app, &who.caller.context, provider, &binding, (wish, to)).await?;
    let cookie = cookies::set(STATE_COOKIE, &binding, ATTEMPT_LIFE.as_secs())?;
    Ok(([(SET_COOKIE, cookie)], Reply::created(&LinkStarted { url })?))
}

/// Take a way to sign in away
///
/// Needs a sign-in within the last 15 minutes. Where mail is sent, the link to your address stays as a way; where none
/// is, the last one is refused. Sessions that began with it go on.
#[utoipa::path(delete, path = "/api/user/security/identities/{id}", tag = "users",
    params(("id" = IdentityId, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 204, description = "It is gone."), WriteProblems))]
pub(super) async fn unlink(
    State(app): State<App>,
    who: Fresh,
    once: Once,
    Id(id): Id<IdentityId>,
) -> Result<Reply<()>> {
    let own = (who.caller.user, id);
    let work = link::unlink(&app, &who.caller.context, own, once.key());
    once.run(&app, work).await
}
