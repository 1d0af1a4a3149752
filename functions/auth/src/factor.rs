//! The second factor at sign-in, and proving once more who one is.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::context::Context;
use camarad::domain::auth::grant::{AccessGrant, TokenGrant};
use camarad::domain::auth::second_factor::{self, Answer, Code, Stepped};
use camarad::error::{Error, Result};
use camarad::http::cookies::{self, MFA_COOKIE, cookie};
use camarad::http::limit::Guest;
use camarad::http::problem::{Problem, PublicWriteProblems, WriteProblems};
use camarad::http::{Body, Caller, OptionalBody};
use camarad::reply::Reply;
use serde::{Deserialize, Serialize};

use crate::answers;
use crate::provider::ProviderView;

/// What the person answers: a `code` or a `recoveryCode`.
#[derive(Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct FactorAnswer {
    /// Six digits from the authenticator app.
    #[garde(skip)]
    #[schema(value_type = Option<String>, pattern = "^[0-9]{6}$")]
    code: Option<Code>,
    /// One of the recovery codes.
    #[garde(inner(length(min = 16, max = 32)))]
    #[schema(min_length = 16, max_length = 32)]
    recovery_code: Option<String>,
}

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
/// For ten minutes after a sign-in that answered `mfaRequired`. Five guesses in five minutes.
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

/// Proven once more, or where to do that.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StepUp {
    /// A new access token, which knows of the proof. A browser gets it as its cookie.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    grant: Option<AccessGrant>,
    /// Without a second factor: sign in again at one of these, and a new session is fresh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    sign_in: Vec<ProviderView>,
}

/// Prove once more who you are
///
/// For what needs a sign-in of the last 15 minutes. With a second factor, its code makes this session fresh; without
/// one, the answer says where to sign in again.
#[utoipa::path(post, path = "/api/auth/step-up", tag = "auth", request_body = Option<FactorAnswer>,
    responses((status = 200, body = StepUp), WriteProblems))]
pub(crate) async fn step_up(
    State(app): State<App>,
    who: Caller,
    headers: HeaderMap,
    OptionalBody(req): OptionalBody<FactorAnswer>,
) -> Result<Response> {
    let given = match req {
        Some(FactorAnswer {
            code: None,
            recovery_code: None,
        })
        | None => None,
        Some(req) => Some(answer(req.code, req.recovery_code)?),
    };
    let own = (who.user, who.session()?);
    let session = match second_factor::step_up(&app, &who.context, own, given.as_ref()).await? {
        Stepped::Fresh(session) => session,
        Stepped::SignInAt(provider) => {
            let sign_in = ProviderView::again(app.config(), &provider);
            return Ok(Reply::ok(&StepUp { grant: None, sign_in })?.into_response());
        }
    };
    let grant = AccessGrant::of(&app, &who.context, &session).await?;
    let answer = |grant| StepUp {
        grant,
        sign_in: Vec::new(),
    };
    if headers.contains_key(axum::http::header::AUTHORIZATION) {
        return Ok(Reply::ok(&answer(Some(grant)))?.into_response());
    }
    let set = answers::access_cookie(&grant)?;
    Ok((set, Reply::ok(&answer(None))?).into_response())
}
