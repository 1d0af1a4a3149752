//! Redirects and cookies: how a browser hears of it.

use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::auth::attempt::{ATTEMPT_LIFE, Mode};
use camarad::domain::auth::grant::{AccessGrant, MfaRequired, TokenGrant};
use camarad::domain::auth::refresh::RefreshToken;
use camarad::domain::auth::return_to::ReturnTo;
use camarad::domain::auth::second_factor::PATIENCE;
use camarad::domain::auth::sessions::Session;
use camarad::domain::auth::sign_in::{Finished, SignedIn};
use camarad::error::{Error, Result};
use camarad::http::cookies::{self, ACCESS_COOKIE, MFA_COOKIE, REFRESH_COOKIE, STATE_COOKIE};
use camarad::reply::Reply;

/// Two Set-Cookie headers.
pub(super) type Cookies = AppendHeaders<[(HeaderName, HeaderValue); 2]>;

fn see_other(url: &str) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1])> {
    let location = HeaderValue::from_str(url).map_err(Error::internal)?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, location)]))
}

/// On to the provider.
pub(super) fn to_provider(url: &str, binding: &str) -> Result<Response> {
    let cookie = cookies::set(STATE_COOKIE, binding, ATTEMPT_LIFE.as_secs())?;
    let (status, location) = see_other(url)?;
    Ok((status, location, [(SET_COOKIE, cookie)]).into_response())
}

/// What came of an attempt.
pub(super) async fn finished(app: &App, cause: &Context, finished: Finished) -> Result<Response> {
    match finished {
        Finished::SignedIn(entered) => signed_in(app, cause, *entered).await,
        Finished::Linked { mode, return_to } => linked(app, mode, &return_to),
        Finished::SteppedUp {
            session,
            mode,
            return_to,
        } => {
            let grant = AccessGrant::of(app, cause, &session).await?;
            stepped_up(app, &grant, (mode, &return_to))
        }
    }
}

/// The session goes on, with an access token that knows of the proof.
fn stepped_up(app: &App, grant: &AccessGrant, (mode, return_to): (Mode, &ReturnTo)) -> Result<Response> {
    match mode {
        Mode::Token => Ok(Reply::ok(grant)?.into_response()),
        Mode::Browser => {
            let (status, location) = see_other(&return_to.on(frontend(app)?))?;
            Ok((status, location, access_cookie(grant)?).into_response())
        }
    }
}

/// Signed in: tokens for a program; for a browser cookies, and on to the frontend.
async fn signed_in(app: &App, cause: &Context, signed_in: SignedIn) -> Result<Response> {
    let SignedIn {
        user,
        session,
        refresh,
        mode,
        return_to,
    } = signed_in;
    if session.pending_until.is_some() {
        return waiting(app, &refresh, (mode, &return_to));
    }
    let grant = TokenGrant::of(app, cause, (&session, &refresh), Some(user)).await?;
    match mode {
        Mode::Token => Ok(Reply::ok(&grant)?.into_response()),
        Mode::Browser => {
            let cookies = cookies(&grant, &session, cause)?;
            let (status, location) = see_other(&return_to.on(frontend(app)?))?;
            Ok((status, location, cookies).into_response())
        }
    }
}

/// Not yet: a second factor is asked for. A browser's address says so, and where to go on afterwards.
fn waiting(app: &App, token: &RefreshToken, (mode, return_to): (Mode, &ReturnTo)) -> Result<Response> {
    match mode {
        Mode::Token => {
            let answer = MfaRequired {
                mfa_required: true,
                mfa_token: token.expose(),
            };
            Ok(Reply::ok(&answer)?.into_response())
        }
        Mode::Browser => {
            let cookie = cookies::set(MFA_COOKIE, &token.expose(), PATIENCE.as_secs())?;
            let path: String = url::form_urlencoded::byte_serialize(return_to.on("").as_bytes()).collect();
            let frontend = frontend(app)?.trim_end_matches('/');
            let (status, location) = see_other(&format!("{frontend}/?mfa=required&returnTo={path}"))?;
            Ok((status, location, [(SET_COOKIE, cookie)]).into_response())
        }
    }
}

/// Linked: the session goes on as it is.
fn linked(app: &App, mode: Mode, return_to: &ReturnTo) -> Result<Response> {
    match mode {
        Mode::Token => Ok(Reply::no_content().into_response()),
        Mode::Browser => Ok(see_other(&return_to.on(frontend(app)?))?.into_response()),
    }
}

/// A sign-in that failed: a problem for a program, a code in the frontend's address for a browser. Faults of ours stay
/// problems, so that the edge logs their cause.
pub(super) fn refusal(app: &App, mode: Mode, error: Error) -> Result<Response> {
    let told = error.status() < 500 || matches!(error, Error::Upstream(_));
    if mode == Mode::Token || !told {
        return Err(error);
    }
    let Ok(frontend) = frontend(app) else {
        return Err(error);
    };
    Ok(see_other(&format!(
        "{}/?error={}",
        frontend.trim_end_matches('/'),
        error.code()
    ))?
    .into_response())
}

fn frontend(app: &App) -> Result<&str> {
    let first = app.config().frontend_origins.first();
    first
        .map(String::as_str)
        .ok_or_else(|| Error::internal("FRONTEND_ORIGINS is not set"))
}

/// The tokens as cookies, for as long as each is good.
pub(super) fn cookies(grant: &TokenGrant, session: &Session, cause: &Context) -> Result<Cookies> {
    let left = session.expires_at.duration_since(cause.now).as_secs();
    let access = cookies::set(ACCESS_COOKIE, &grant.access_token, grant.expires_in)?;
    let refresh = cookies::set(REFRESH_COOKIE, &grant.refresh_token, left)?;
    Ok(AppendHeaders([(SET_COOKIE, access), (SET_COOKIE, refresh)]))
}

/// The access token alone as a cookie.
pub(super) fn access_cookie(grant: &AccessGrant) -> Result<[(HeaderName, HeaderValue); 1]> {
    let access = cookies::set(ACCESS_COOKIE, &grant.access_token, grant.expires_in)?;
    Ok([(SET_COOKIE, access)])
}

/// Takes a cookie away.
pub(super) fn no_longer(name: &str) -> Result<AppendHeaders<[(HeaderName, HeaderValue); 1]>> {
    Ok(AppendHeaders([(SET_COOKIE, cookies::clear(name)?)]))
}

/// Takes both away.
pub(super) fn no_cookies() -> Result<Cookies> {
    let (access, refresh) = (cookies::clear(ACCESS_COOKIE)?, cookies::clear(REFRESH_COOKIE)?);
    Ok(AppendHeaders([(SET_COOKIE, access), (SET_COOKIE, refresh)]))
}
