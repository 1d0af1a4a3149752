//! The link that is mailed: asking for one, the page that it opens, and the page's form.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, CONTENT_TYPE, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::auth::attempt::{Mode, Wish};
use camarad::domain::auth::grant::Granted;
use camarad::domain::auth::magic_link::{self, LINK_LIFE, LinkToken};
use camarad::domain::users::fields::EmailAddress;
use camarad::error::{Error, Result, SignInRefusal};
use camarad::http::cookies::{self, LINK_COOKIE, cookie};
use camarad::http::limit::{self, Guest};
use camarad::http::problem::{Problem, PublicProblems};
use camarad::http::{Body, FormOrBody, Query};
use camarad::reply::Reply;
use camarad::store::keys;
use camarad::store::limits::{MAILS_BY_ASKER, MAILS_BY_ASKER_TO_ONE, MAILS_TO_ONE};
use serde::{Deserialize, Serialize};

use crate::{answers, page};

/// Where a link is to be mailed, and what is to come of it.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AskForLink {
    /// Whose link.
    #[garde(skip)]
    #[schema(value_type = String, format = "email", max_length = 254)]
    email: EmailAddress,
    /// A path of the frontend to go on to; `/` unless told.
    #[garde(length(max = 1024))]
    return_to: Option<String>,
    /// `browser` (cookies, then on to the frontend; unless told) or `token` (JSON).
    #[garde(skip)]
    #[serde(default)]
    mode: Mode,
}

/// A mail is under way.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinkAsked {
    /// Seconds that the link in it works.
    expires_in: i64,
}

/// Get a link to sign in with, by mail
///
/// The answer is the same whether or not the address has an account: who has none gets one by opening the link. An address
/// of the network asks for 20 links an hour, of which 5 go to one mailbox; a mailbox gets 30 an hour. Beyond the last two the
/// answer stays the same, and no mail goes out.
#[utoipa::path(post, path = "/api/auth/magic-link", tag = "auth", security(()), request_body = AskForLink,
    responses((status = 202, description = "A mail is under way.", body = LinkAsked),
        (status = 400, description = "The body is not JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This deployment sends no mail.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again.", body = Problem, content_type = "application/problem+json"),
        PublicProblems))]
pub(super) async fn ask(
    State(app): State<App>,
    context: Context,
    parts: Parts,
    Body(req): Body<AskForLink>,
) -> Result<Reply<LinkAsked>> {
    let wish = Wish::of(app.config(), "", (req.return_to.as_deref(), req.mode))?;
    if has_room(&parts, &app, &context, &req.email).await? {
        magic_link::ask(&app, &context, &req.email, wish).await?;
    }
    Reply::accepted(&LinkAsked {
        expires_in: LINK_LIFE.as_secs(),
    })
}

/// Whether one more mail may go out. Only the count of who asks is theirs to know: how many links went to a mailbox says
/// whether somebody is signing in there. What the asker sent to this mailbox comes before what everybody did, so that
/// nobody's flood takes from the rest.
async fn has_room(parts: &Parts, app: &App, cause: &Context, email: &EmailAddress) -> Result<bool> {
    limit::hit_by_guest(parts, app, MAILS_BY_ASKER).await?;
    let mailbox = keys::digest(&email.mailbox());
    let pair = format!("{}-{mailbox}", limit::address(cause));
    Ok(limit::has_room(app, cause, (MAILS_BY_ASKER_TO_ONE, &pair)).await?
        && limit::has_room(app, cause, (MAILS_TO_ONE, &mailbox)).await?)
}

#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OpenedLink {
    #[garde(length(min = 1, max = 512))]
    token: String,
}

/// What the page's form sends, for a program that shows a page of its own.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
struct LinkOpened {
    /// Whose link it is.
    email: String,
    /// To be sent back with the token, and with the cookie that came along.
    nonce: String,
}

/// Open a mailed link
///
/// Changes nothing: it answers a page with a button, and a cookie that the button's request wants back; so a mail scanner
/// that fetches the link neither signs in nor uses it up. With `Accept: application/json`, what the page's form sends.
#[utoipa::path(get, path = "/api/auth/magic-link/verify", tag = "auth", security(()), params(OpenedLink),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html", headers(("Set-Cookie" = String))),
        (status = 303, description = "The link is not whole: to the frontend.", headers(("Location" = String))),
        (status = 400, description = "The same for a program.", body = Problem, content_type = "application/problem+json"),
        PublicProblems))]
pub(super) async fn open(
    State(app): State<App>,
    headers: HeaderMap,
    Query(query): Query<OpenedLink>,
) -> Result<Response> {
    let accept = headers
        .get(ACCEPT)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    let as_json = accept.contains("application/json");
    let Some(token) = LinkToken::parse(&query.token) else {
        let mode = if as_json { Mode::Token } else { Mode::Browser };
        return answers::refusal(&app, mode, Error::SignIn(SignInRefusal::Failed));
    };
    let binding = cookies::binding(&headers, LINK_COOKIE);
    let nonce = token.nonce(&binding);
    let cookie = cookies::set(LINK_COOKIE, &binding, LINK_LIFE.as_secs())?;
    let cookie: [(HeaderName, _); 1] = [(SET_COOKIE, cookie)];
    if as_json {
        let email = token.email.as_str().to_owned();
        return Ok((cookie, Reply::ok(&LinkOpened { email, nonce })?).into_response());
    }
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (
            CONTENT_SECURITY_POLICY,
            page::policy(&app.config().frontend_origins),
        ),
    ];
    Ok((cookie, headers, page::confirm(&token, &nonce)).into_response())
}

/// What the page's form sends.
#[derive(Debug, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UseLink {
    #[garde(length(min = 1, max = 512))]
    token: String,
    #[garde(length(min = 1, max = 64))]
    nonce: String,
}

/// Sign in with a mailed link
///
/// Takes the page's form, or the same as JSON; only with the cookie that came with the page. A link works once. One that was
/// mailed for a step-up makes the session fresh that asked for it, in the browser that asked.
#[utoipa::path(post, path = "/api/auth/magic-link/verify", tag = "auth", security(()),
    request_body(content((UseLink = "application/x-www-form-urlencoded"), (UseLink = "application/json"))),
    responses((status = 200, description = "In mode `token`.", body = Granted),
        (status = 303, description = "In mode `browser`: to the frontend.", headers(("Location" = String), ("Set-Cookie" = String))),
        (status = 400, description = "The link or the nonce is not valid, or not any more.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "The session that asked has ended.", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is neither a form nor JSON.", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Try again.", body = Problem, content_type = "application/problem+json"),
        PublicProblems))]
pub(super) async fn redeem(
    State(app): State<App>,
    context: Context,
    _: Guest,
    headers: HeaderMap,
    FormOrBody(req): FormOrBody<UseLink>,
) -> Result<Response> {
    let failed = Error::SignIn(SignInRefusal::Failed);
    let Some(token) = LinkToken::parse(&req.token) else {
        return answers::refusal(&app, Mode::of_state(&req.token), failed);
    };
    let proof = (cookie(&headers, LINK_COOKIE), req.nonce.as_str());
    match magic_link::redeem(&app, &context, &token, proof).await {
        Ok(finished) => answers::finished(&app, &context, finished).await,
        Err(error) => answers::refusal(&app, token.mode, error),
    }
}
