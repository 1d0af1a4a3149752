//! The second factor at sign-in, and proving once more who one is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::config::EMAIL_PROVIDER;
use camarad::context::Context;
use camarad::domain::auth::attempt::{ATTEMPT_LIFE, InSession, Mode, Wish};
use camarad::domain::auth::grant::{AccessGrant, TokenGrant};
use camarad::domain::auth::magic_link::LINK_LIFE;
use camarad::domain::auth::second_factor::{self, Answer, Code};
use camarad::domain::auth::sessions::Session;
use camarad::domain::auth::step_up::{self, Asker, Way};
use camarad::error::{Error, Result};
use camarad::http::cookies::{self, LINK_COOKIE, MFA_COOKIE, STATE_COOKIE, cookie};
use camarad::http::limit::{self, Guest};
use camarad::http::problem::{Problem, PublicWriteProblems, WriteProblems};
use camarad::http::{Body, Caller, OptionalBody};
use camarad::reply::Reply;
use camarad::store::limits::MAILS_TO_PROVE;
use serde::{Deserialize, Serialize};

use crate::answers;

fn answer(code: Option<Code>, recovery: Option<String>) -> Result<Answer> {
    match (code, recovery) {
        (Some(code), None) => Ok(Answer::Code(code)),
        (None, Some(code)) => Ok(Answer::Recovery(code)),
        _ => Err(Error::field("code", "is required, or a recoveryCode instead")),
    }
}

/// The answer of a sign-in that waits.
#[derive(Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FinishSignIn {
    /// What the callback answered to a program. A browser has it as a cookie.
    #[garde(length(min = 1, max = 256))]
    mfa_token: Option<String>,
    /// Six digits from the authenticator app.
    #[garde(skip)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{6}$")]
    code: Option<Code>,
    /// One of the recovery codes.
    #[garde(inner(length(min = 16, max = 32)))]
    #[schema(min_length = 16, max_length = 32)]
    recovery_code: Option<String>,
}

/// Finish a sign-in with the second factor
///
/// For ten minutes after a sign-in that answered `mfaRequired`. After each five wrong
/// codes there is a wait, of five minutes at first and of eight hours at most; a recovery code needs none.
#[utoipa::path(post, path = "/api/auth/2fa", tag = "auth", security(()), request_body = FinishSignIn,
    responses((status = 200, description = "For an `mfaToken` in the body.", body = TokenGrant),
        (status = 204, description = "For a browser: the cookies are set.", headers(("Set-Cookie" = String))),
        (status = 401, description = "No sign-in waits: start again.", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The request comes from another origin.", body = Problem, content_type = "application/problem+json"),
        PublicWriteProblems))]
pub(crate) async fn finish(
    State(app): State<App>,
    context: Context,
    _: Guest,
    headers: HeaderMap,
    Body(req): Body<FinishSignIn>,
) -> Result<Response> {
    let answer = answer(req.code, req.recovery_code)?;
    if let Some(token) = &req.mfa_token {
        let (user, session, refresh) = second_factor::finish(&app, &context, token, &answer).await?;
        let grant = TokenGrant::of(&app, &context, (&session, &refresh), Some(user)).await?;
        return Ok(Reply::ok(&grant)?.into_response());
    }
    let token =
        cookie(&headers, MFA_COOKIE).ok_or(Error::Unauthenticated("no sign-in waits here: start again"))?;
    cookies::only_from_frontend(&headers, app.config())?;
    let (_, session, refresh) = second_factor::finish(&app, &context, token, &answer).await?;
    let grant = TokenGrant::of(&app, &context, (&session, &refresh), None).await?;
    let set = answers::cookies(&grant, &session, &context)?;
    Ok((set, answers::no_longer(MFA_COOKIE)?, Reply::no_content()).into_response())
}

/// How the person proves it: with a `code` or a `recoveryCode` if they have a second factor; without one, in a way that the
/// answer to an empty request names.
#[derive(Default, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProveAgain {
    /// Six digits from the authenticator app.
    #[garde(skip)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{6}$")]
    code: Option<Code>,
    /// One of the recovery codes.
    #[garde(inner(length(min = 16, max = 32)))]
    #[schema(min_length = 16, max_length = 32)]
    recovery_code: Option<String>,
    /// A provider's id, or `email`.
    #[garde(inner(length(min = 1, max = 32)))]
    #[schema(min_length = 1, max_length = 32)]
    with: Option<String>,
    /// A path of the frontend to go on to; `/` unless told. With `with` only.
    #[garde(inner(length(max = 1024)))]
    #[schema(max_length = 1024)]
    return_to: Option<String>,
    /// `browser` (then on to the frontend; unless told) or `token` (JSON). With `with` only.
    #[garde(skip)]
    #[serde(default)]
    mode: Mode,
}

/// A way to prove once more who you are.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct WayToProve {
    /// For `with`.
    id: String,
    /// Its name on a button.
    name: String,
}

/// Proven once more, or how that goes on.
#[derive(Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepUp {
    /// A new access token, which knows of the proof. A browser gets it as its cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access_token: Option<String>,
    /// With it: `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_type: Option<String>,
    /// With it: seconds that it is good for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in: Option<i64>,
    /// Where this browser goes, within ten minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// A link was mailed to the account's address; it works in this browser alone, for 15 minutes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    mailed: bool,
    /// The ways, where none was named. If there is none, sign in anew: a new session is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ways: Option<Vec<WayToProve>>,
}

/// Prove once more who you are
///
/// For what needs a sign-in of the last 15 minutes; this session is fresh afterwards, its refresh token stays. With a second
/// factor, only its code does it. Without one, the answer to an empty request has the ways: an OpenID provider of yours that
/// can ask you again (`url`; its callback ends the step-up), or a mailed link. Both want back the cookie that comes along.
/// A proof that is somebody else's changes nothing.
#[utoipa::path(post, path = "/api/auth/step-up", tag = "auth", request_body = Option<ProveAgain>,
    responses((status = 200, body = StepUp, headers(("Set-Cookie" = String))),
        (status = 502, description = "The provider does not answer.", body = Problem, content_type = "application/problem+json"),
        WriteProblems))]
pub(crate) async fn step_up(
    State(app): State<App>,
    who: Caller,
    parts: Parts,
    OptionalBody(req): OptionalBody<ProveAgain>,
) -> Result<Response> {
    let req = req.unwrap_or_default();
    let own = InSession {
        user: who.user,
        session: who.session()?,
    };
    let asker = Box::pin(step_up::asker(&app, &who.context, own)).await?;
    let by_code = asker.user.second_factor || req.code.is_some() || req.recovery_code.is_some();
    match req.with {
        Some(_) if by_code => {
            answer(req.code, req.recovery_code)?;
            Err(Error::field("with", "is for who has no second factor"))
        }
        None if by_code => {
            let given = answer(req.code, req.recovery_code)?;
            let session = Box::pin(step_up::by_factor(&app, &who.context, &asker, &given)).await?;
            stepped_up(&app, &who.context, &parts, &session).await
        }
        None => {
            let ways = step_up::ways(&app, &who.context, &asker).await?.into_iter();
            let ways = Some(ways.map(|Way { id, name }| WayToProve { id, name }).collect());
            Ok(Reply::ok(&StepUp {
                ways,
                ..StepUp::default()
            })?
            .into_response())
        }
        Some(way) => {
            let wish = Wish::of(app.config(), "", (req.return_to.as_deref(), req.mode))?;
            Box::pin(go_on(&app, &who.context, (&parts, &asker), (&way, wish))).await
        }
    }
}

async fn stepped_up(app: &App, cause: &Context, parts: &Parts, session: &Session) -> Result<Response> {
    let grant = AccessGrant::of(app, cause, session).await?;
    if parts.headers.contains_key(AUTHORIZATION) {
        let answer = StepUp {
            access_token: Some(grant.access_token),
            token_type: Some(grant.token_type),
            expires_in: Some(grant.expires_in),
            ..StepUp::default()
        };
        return Ok(Reply::ok(&answer)?.into_response());
    }
    let set = answers::access_cookie(&grant)?;
    Ok((set, Reply::ok(&StepUp::default())?).into_response())
}

/// On to a provider, or to the mailbox.
async fn go_on(
    app: &App,
    cause: &Context,
    (parts, asker): (&Parts, &Asker),
    (way, wish): (&str, Wish),
) -> Result<Response> {
    if way == EMAIL_PROVIDER {
        limit::hit(parts, app, MAILS_TO_PROVE, &asker.user.id.to_string()).await?;
        let binding = cookies::binding(&parts.headers, LINK_COOKIE);
        step_up::by_mail(app, cause, asker, (&binding, wish)).await?;
        let cookie = cookies::set(LINK_COOKIE, &binding, LINK_LIFE.as_secs())?;
        let answer = StepUp {
            mailed: true,
            ..StepUp::default()
        };
        return Ok(([(SET_COOKIE, cookie)], Reply::ok(&answer)?).into_response());
    }
    let binding = cookies::binding(&parts.headers, STATE_COOKIE);
    let url = step_up::at_provider(app, cause, asker, (way, &binding, wish)).await?;
    let cookie = cookies::set(STATE_COOKIE, &binding, ATTEMPT_LIFE.as_secs())?;
    let answer = StepUp {
        url: Some(url),
        ..StepUp::default()
    };
    Ok(([(SET_COOKIE, cookie)], Reply::ok(&answer)?).into_response())
}
