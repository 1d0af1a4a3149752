//! Signing in with an identity provider: the decisions. `ports::oidc` speaks the protocols, `openid` and `github` judge
//! what they bring, `enter` turns it into a session.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::attempt::{Attempt, InSession, Mode, Purpose, Wish, redirect_uri};
use super::enter::{self, Entered};
use super::proven::{Method, Proven};
use super::refresh::RefreshToken;
use super::return_to::ReturnTo;
use super::sessions::Session;
use super::{link, openid, step_up};
use crate::app::App;
use crate::config::{Config, ProviderConfig, ProviderKind};
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result, SignInRefusal};
use crate::ports::oidc::{Exchanged, authorization_url, github};
use crate::store::record::{Action, Scope};

/// What came to the callback.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// Names the attempt.
    pub state: String,
    /// The provider's code.
    pub code: Option<String>,
    /// The issuer that answers (RFC 9207).
    pub iss: Option<String>,
    /// The provider's refusal (RFC 6749 §4.1.2.1).
    pub error: Option<String>,
}

/// A sign-in that came to its end.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub user: User,
    /// Their new session.
    pub session: Session,
    /// Its refresh token.
    pub refresh: RefreshToken,
    /// Who gets the tokens.
    pub mode: Mode,
    /// Where a browser goes.
    pub return_to: ReturnTo,
}

impl SignedIn {
    pub(super) fn of(entered: Entered, mode: Mode, return_to: ReturnTo) -> Self {
        let Entered {
            user,
            session,
            refresh,
        } = entered;
        Self {
            user,
            session,
            refresh,
            mode,
            return_to,
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Finished {
    /// Somebody is signed in.
    SignedIn(Box<SignedIn>),
    /// Somebody who is signed in has one more way to sign in.
    Linked {
        /// Who asked.
        mode: Mode,
        /// Where a browser goes.
        return_to: ReturnTo,
    },
    /// Somebody who is signed in has proved once more who they are.
    SteppedUp {
        /// Their session, which is fresh.
        session: Box<Session>,
        /// Who asked.
        mode: Mode,
        /// Where a browser goes.
        return_to: ReturnTo,
    },
}

/// Why it did not.
pub(super) enum Stop {
    /// A check failed, or the provider said no: told in the log and, as an attempt is known, in the audit log.
    Refused(SignInRefusal, &'static str),
    /// Something else.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub(super) fn failed(reason: &'static str) -> Stop {
    Stop::Refused(SignInRefusal::Failed, reason)
}

/// The provider with this id.
///
/// # Errors
/// `NotFound`.
pub fn provider<'a>(config: &'a Config, id: &str) -> Result<&'a ProviderConfig> {
    config
        .providers
        .iter()
        .find(|p| p.id == id)
        .ok_or(Error::NotFound)
}

/// Starts a sign-in: the address at the provider that the browser goes to. `binding` is a secret of that browser.
///
/// # Errors
/// `Upstream` when the provider's metadata cannot be had.
pub async fn begin(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    binding: &str,
    wish: Wish,
) -> Result<String> {
    start(app, cause, provider, binding, (wish, Purpose::SignIn)).await
}

pub(super) async fn start(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    binding: &str,
    wish: (Wish, Purpose),
) -> Result<String> {
    let endpoints = match provider.kind {
        ProviderKind::Oidc => app.oidc()?.metadata(provider, cause.now).await?.endpoints(),
        ProviderKind::Github => github::endpoints(provider)?,
    };
    let attempt = Attempt::start(&provider.id, binding, wish, cause.now)?;
    let url = authorization_url(
        provider,
        &endpoints,
        attempt.secrets(&redirect_uri(app, provider)),
    )?;
    app.db().put(&attempt, None).await?;
    Ok(url)
}

/// Ends a sign-in, the linking of another way to sign in, or a step-up.
///
/// # Errors
/// `SignIn` when a check failed or the provider refused; `Conflict` with `account_exists` when the e-mail address
/// belongs to somebody who signs in another way, with `email_not_confirmed` when it is nobody's and the provider's word is
/// not enough, with `identity_taken` when what would be linked is somebody else's, with
/// `identity_mismatch` when a step-up comes as somebody else; `Unauthenticated` when the session that asked has ended; `Upstream` when the provider does not answer.
pub async fn finish(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    binding: Option<&str>,
    answer: Answer,
) -> Result<Finished> {
    let attempt = match binding {
        Some(binding) => Attempt::take(app, &provider.id, (&answer.state, binding), cause.now).await?,
        None => None,
    };
    let Some(attempt) = attempt else {
        // Anybody can call the callback with anything: that is no record's worth.
        log(cause, &provider.id, "state");
        return Err(Error::SignIn(SignInRefusal::Failed));
    };
    let identified = match provider.kind {
        ProviderKind::Oidc => openid::identify(app, provider, &attempt, &answer).await,
        ProviderKind::Github => super::github::identify(app, provider, &attempt, &answer).await,
    };
    let failure = Failure {
        provider: &provider.id,
        method: provider.kind.into(),
        step_up: match attempt.purpose {
            Purpose::StepUp(own) => Some(own),
            Purpose::SignIn | Purpose::Link(_) => None,
        },
    };
    match identified {
        Ok(proven) => {
            let done = conclude(app, cause, attempt, &proven).await;
            if let Some(reason) = done.as_ref().err().and_then(refused_address) {
                failure.record(app, cause, reason).await;
            }
            done
        }
        Err(Stop::Refused(refusal, reason)) => {
            failure.record(app, cause, reason).await;
            Err(Error::SignIn(refusal))
        }
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Why somebody who was identified did not get in, where it was for their address.
fn refused_address(error: &Error) -> Option<&'static str> {
    match error {
        Error::Conflict { code, .. } => {
            let known = [enter::ACCOUNT_EXISTS, enter::NOT_CONFIRMED];
            known.into_iter().find(|known| known == code)
        }
        Error::SignIn(SignInRefusal::EmailUnverified | SignInRefusal::EmailUnusable) => Some(error.code()),
        _ => None,
    }
}

async fn conclude(app: &App, cause: &Context, attempt: Attempt, proven: &Proven) -> Result<Finished> {
    let (mode, return_to) = (attempt.mode, attempt.return_to);
    match attempt.purpose {
        Purpose::SignIn => {
            let entered = enter::enter(app, cause, (proven, None)).await?;
            let signed_in = SignedIn::of(entered, mode, return_to);
            Ok(Finished::SignedIn(Box::new(signed_in)))
        }
        Purpose::Link(to) => {
            link::conclude(app, cause, to, proven).await?;
            Ok(Finished::Linked { mode, return_to })
        }
        Purpose::StepUp(own) => {
            let session = step_up::conclude(app, cause, own, (proven, None)).await?;
            Ok(Finished::SteppedUp {
                session: Box::new(session),
                mode,
                return_to,
            })
        }
    }
}

/// RFC 6749 §4.1.2: a code, or an error.
pub(super) fn code(answer: &Answer) -> Result<&str, Stop> {
    match (answer.error.as_deref(), answer.code.as_deref()) {
        (None, Some(code)) => Ok(code),
        (None, None) => Err(failed("code_missing")),
        (Some("server_error" | "temporarily_unavailable"), _) => {
            Err(Error::Upstream("the identity provider cannot sign anybody in now: try again").into())
        }
        (Some(_), _) => Err(Stop::Refused(SignInRefusal::Denied, "denied")),
    }
}

/// What came of handing in a code: the ID token, if the protocol has one, and the access token.
pub(super) fn exchanged(
    provider: &ProviderConfig,
    answered: Exchanged,
) -> Result<(Option<String>, SecretString), Stop> {
    match answered {
        Exchanged::Tokens {
            id_token,
            access_token,
        } => Ok((id_token, access_token)),
        Exchanged::Refused(error) => {
            let provider = &provider.id;
            tracing::info!(
                auth.provider = provider,
                auth.error = error,
                "the provider refused the code"
            );
            Err(failed("code_refused"))
        }
    }
}

pub(super) async fn client_secret(app: &App, provider: &ProviderConfig) -> Result<SecretString> {
    let id = Config::need(&app.config().auth_secrets_secret, "AUTH_SECRETS_SECRET")?;
    let all = app.secret(id).await?;
    let mut all: HashMap<String, String> = serde_json::from_str(all.expose_secret())
        .map_err(|_| Error::internal("AUTH_SECRETS_SECRET is not {provider: secret}"))?;
    all.remove(&provider.id).map(SecretString::from).ok_or_else(|| {
        Error::internal(format!(
            "AUTH_SECRETS_SECRET has no client secret of {}",
            provider.id
        ))
    })
}

/// Who would have signed in, as far as a failed sign-in knows.
pub(super) struct Failure<'a> {
    pub(super) provider: &'a str,
    pub(super) method: Method,
    /// The session that was to be made fresh.
    pub(super) step_up: Option<InSession>,
}

impl<'a> Failure<'a> {
    pub(super) fn of(proven: &'a Proven, step_up: Option<InSession>) -> Self {
        Self {
            provider: &proven.provider,
            method: proven.method,
            step_up,
        }
    }

    /// A sign-in that failed its checks, in the platform's log: whose account it was meant for is not known. A step-up,
    /// in the log of the account that asked.
    pub(super) async fn record(&self, app: &App, cause: &Context, reason: &'static str) {
        log(cause, self.provider, reason);
        // The refusal stands, whether or not it could be recorded.
        if let Err(error) = self.write(app, cause, reason).await {
            tracing::error!(request.id = cause.request_id, error = %error, "a failed sign-in could not be recorded");
        }
    }

    async fn write(&self, app: &App, cause: &Context, reason: &'static str) -> Result<()> {
        let mut detail = json!({ "provider": self.provider, "method": self.method, "reason": reason });
        let action = Action::UserLoginFailed;
        let asker = match self.step_up {
            Some(own) => Session::live(app, own, cause.now).await.ok(),
            None => None,
        };
        let Some(session) = asker else {
            let tx = app
                .tx(cause)
                .audit(action, Scope::Platform, self.provider, detail)?;
            return tx.run().await;
        };
        let (user, id) = (session.user_id, session.id);
        let cause = &cause.signed_in(user, id).with_key(session.person_key);
        detail["stepUp"] = true.into();
        let tx = app.tx(cause).audit(action, Scope::Account(user), id, detail)?;
        tx.run().await
    }
}

/// A refusal, in the log of the function.
pub(super) fn log(cause: &Context, provider: &str, reason: &str) {
    tracing::info!(
        request.id = cause.request_id,
        auth.provider = provider,
        auth.reason = reason,
        "sign-in refused"
    );
}
