//! `/api/auth`: signing in and out, and the public half of the signing keys.

mod answers;
mod factor;
mod magic_link;
mod page;
mod provider;

use axum::extract::{FromRequestParts, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::auth::attempt::{Mode, Wish};
use camarad::domain::auth::grant::{self, CurrentSession, Granted, TokenGrant};
use camarad::domain::auth::sign_in;
use camarad::domain::auth::tokens::Jwks;
use camarad::domain::auth::{refresh as rotation, sessions, signing};
use camarad::error::{Error, Result};
use camarad::http::cookies::{self, REFRESH_COOKIE, STATE_COOKIE, cookie};
use camarad::http::limit::Guest;
use camarad::http::problem::{Problem, PublicProblems, PublicWriteProblems, ReadProblems};
use camarad::http::{Caller, OptionalBody, Query};
use camarad::reply::Reply;
use camarad::store::record::Action;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use provider::{Provider, ProviderView, WaysToSignIn};

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(jwks))
        .routes(routes!(providers))
        .routes(routes!(login))
        .routes(routes!(callback))
        .routes(routes!(magic_link::ask))
        .routes(routes!(magic_link::open, magic_link::redeem))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(session))
        .routes(routes!(factor::finish))
        .routes(routes!(factor::step_up))
}

/// The keys that access tokens are signed with
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "auth", security(()),
    responses((status = 200, body = Jwks), PublicProblems))]
async fn jwks(
    State(app): State<App>,
    context: Context,
) -> Result<([(HeaderName, &'static str); 1], Reply<Jwks>)> {
    let keys: Jwks = signing::published(&app, context.now).await?.into();
    Ok(([(CACHE_CONTROL, "public, max-age=300")], Reply::ok(&keys)?))
}

/// The ways to sign in
///
/// The providers, and whether a link can be mailed.
#[utoipa::path(get, path = "/api/auth/providers", tag = "auth", security(()),
    responses((status = 200, body = WaysToSignIn), PublicProblems))]
async fn providers(State(app): State<App>) -> Result<Reply<WaysToSignIn>> {
    let config = app.config();
    let views = config
        .providers
        .iter()
        .map(|p| ProviderView::of(p, &config.public_url));
    Reply::ok(&WaysToSignIn {
        items: views.collect(),
        magic_link: config.mail_from.is_some(),
    })
}

#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
struct LoginQuery {
    /// A path of the frontend to go on to; `/` unless told.
    #[garde(length(max = 1024))]
    return_to: Option<String>,
    /// `browser` (cookies, then on to the frontend; unless told) or `token` (the callback answers JSON).
    #[garde(skip)]
    #[serde(default)]
    #[param(inline)]
    mode: Mode,
}

/// Go and sign in
///
/// Redirects to the provider, and sets a cookie that the callback wants back: a program that keeps no cookies sends it
/// by hand.
#[utoipa::path(get, path = "/api/auth/{provider}/login", tag = "auth", security(()),
    params(("provider" = String, Path), LoginQuery),
    responses((status = 303, description = "To the provider.", headers(("Location" = String), ("Set-Cookie" = String))),
        (status = 404, description = "There is no such provider.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The provider does not answer.", body = Problem, content_type = "application/problem+json"),
        PublicProblems))]
async fn login(
    State(app): State<App>,
    context: Context,
    Provider(provider): Provider,
    headers: HeaderMap,
    Query(query): Query<LoginQuery>,
) -> Result<Response> {
    let wanted = (query.return_to.as_deref(), query.mode);
    let wish = Wish::of(app.config(), "query.", wanted)?;
    let binding = cookies::binding(&headers, STATE_COOKIE);
    let url = sign_in::begin(&app, &context, &provider, &binding, wish).await?;
    answers::to_provider(&url, &binding)
}

/// What the provider sends back; parameters of its own are left alone.
#[derive(Debug, Deserialize, garde::Validate, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct CallbackQuery {
    #[garde(length(min = 1, max = 128))]
    state: String,
    #[garde(length(min = 1, max = 4096))]
    code: Option<String>,
    #[garde(length(max = 512))]
    iss: Option<String>,
    #[garde(length(min = 1, max = 128))]
    error: Option<String>,
}

/// Come back from the provider
///
/// A browser goes on to the frontend with cookies, or with `?error=` and a code; a program gets tokens. The first
/// sign-in makes the account and starts its trial. One that was started to link a further way to sign in links it; one that
/// was started for a step-up makes the session fresh that asked.
#[utoipa::path(get, path = "/api/auth/{provider}/callback", tag = "auth", security(()),
    params(("provider" = String, Path), CallbackQuery),
    extensions(("x-foreign-parameters" = json!(true))),
    responses((status = 200, description = "In mode `token`.", body = Granted),
        (status = 204, description = "In mode `token`: it is linked."),
        (status = 303, description = "In mode `browser`: to the frontend.", headers(("Location" = String), ("Set-Cookie" = String))),
        (status = 400, description = "A check failed: start again.", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "The session that wanted to link or to step up has ended.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The provider refused, or has not verified the e-mail address.", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such provider.", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The address belongs to an account with another way to sign in, or what would be linked, or was shown, to another account.", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "The provider does not answer.", body = Problem, content_type = "application/problem+json"),
        PublicProblems))]
async fn callback(
    State(app): State<App>,
    context: Context,
    Provider(provider): Provider,
    headers: HeaderMap,
    Query(query): Query<CallbackQuery>,
) -> Result<Response> {
    let mode = Mode::of_state(&query.state);
    let answer = sign_in::Answer {
        state: query.state,
        code: query.code,
        iss: query.iss,
        error: query.error,
    };
    let binding = cookie(&headers, STATE_COOKIE);
    match sign_in::finish(&app, &context, &provider, binding, answer).await {
        Ok(finished) => answers::finished(&app, &context, finished).await,
        Err(error) => answers::refusal(&app, mode, error),
    }
}

/// A program's refresh token. A browser's comes as a cookie, without a body.
#[derive(Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RefreshTokens {
    #[garde(length(min = 1, max = 256))]
    refresh_token: String,
}

/// Get a new access token
///
/// Replaces the refresh token too: each is used once, and one that comes again later than 10 seconds after ends the
/// session. With cookies instead of a body, the request must come from the frontend's origin.
#[utoipa::path(post, path = "/api/auth/refresh", tag = "auth", security(()), request_body = Option<RefreshTokens>,
    responses((status = 200, description = "For a refresh token in the body.", body = TokenGrant),
        (status = 204, description = "For a refresh token in a cookie: both cookies are new.", headers(("Set-Cookie" = String))),
        (status = 401, description = "The refresh token is not valid, or not any more.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request comes with cookies from another origin.", body = Problem, content_type = "application/problem+json"),
        PublicWriteProblems))]
async fn refresh(
    State(app): State<App>,
    context: Context,
    _: Guest,
    headers: HeaderMap,
    OptionalBody(body): OptionalBody<RefreshTokens>,
) -> Result<Response> {
    if let Some(body) = body {
        let (session, next) = rotation::rotate(&app, &context, &body.refresh_token).await?;
        return Ok(
            Reply::ok(&TokenGrant::of(&app, &context, (&session, &next), None).await?)?.into_response(),
        );
    }
    let token =
        cookie(&headers, REFRESH_COOKIE).ok_or(Error::Unauthenticated("this needs a refresh token"))?;
    cookies::only_from_frontend(&headers, app.config())?;
    match rotation::rotate(&app, &context, token).await {
        Ok((session, next)) => {
            let grant = TokenGrant::of(&app, &context, (&session, &next), None).await?;
            Ok((answers::cookies(&grant, &session, &context)?, Reply::no_content()).into_response())
        }
        Err(error @ Error::Unauthenticated(_)) => Ok((answers::no_cookies()?, error).into_response()),
        Err(error) => Err(error),
    }
}

/// Sign out
///
/// Ends the session: its refresh token at once, its access token at once for writes and within ten minutes for reads. A
/// browser whose access token is over is signed out by its refresh cookie. Whatever the answer, its cookies are gone, unless
/// another site asked.
#[utoipa::path(post, path = "/api/auth/logout", tag = "auth",
    responses((status = 204, description = "The session has ended, the cookies are gone.", headers(("Set-Cookie" = String))), ReadProblems))]
async fn logout(State(app): State<App>, mut parts: Parts) -> Result<Response> {
    let from_elsewhere = cookies::not_from_elsewhere(&parts.headers, app.config()).is_err();
    let ended = match Caller::from_request_parts(&mut parts, &app).await {
        Ok(who) => signed_out(&app, &who).await,
        Err(Error::Unauthenticated(why)) => by_refresh_cookie(&app, &mut parts, why).await,
        Err(error) => Err(error),
    };
    let answer = ended.map(|()| Reply::no_content());
    if from_elsewhere {
        return Ok(answer.into_response());
    }
    Ok((cookies::clear_all()?, answer).into_response())
}

async fn signed_out(app: &App, who: &Caller) -> Result<()> {
    let own = (who.user, who.session()?);
    sessions::revoke(app, &who.context, own, Action::UserLogout, "signed out").await
}

/// Ends the session of a browser whose access token is over, as long as its refresh token is one of it.
async fn by_refresh_cookie(app: &App, parts: &mut Parts, why: &'static str) -> Result<()> {
    let token = cookie(&parts.headers, REFRESH_COOKIE).ok_or(Error::Unauthenticated(why))?;
    let token = token.to_owned();
    cookies::only_from_frontend(&parts.headers, app.config())?;
    Guest::from_request_parts(parts, app).await?;
    let context = Context::from_request_parts(parts, app).await?;
    rotation::sign_out(app, &context, &token).await
}

/// Who is signed in, and since when
#[utoipa::path(get, path = "/api/auth/session", tag = "auth",
    responses((status = 200, body = CurrentSession), ReadProblems))]
async fn session(State(app): State<App>, who: Caller) -> Result<Reply<CurrentSession>> {
    Reply::ok(&grant::current(&app, &who.context, (who.user, who.session()?)).await?)
}
