//! Signing in with an OpenID provider: the decisions. `ports::oidc` speaks the protocol, `id_token` judges what it
//! brings, `enter` turns it into a session.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::attempt::{Attempt, Mode, Wish, redirect_uri};
use super::enter::{self, Entered};
use super::id_token::{self, Expected, Header, Identity};
use super::refresh::RefreshToken;
use super::return_to::ReturnTo;
use super::sessions::Session;
use crate::app::App;
use crate::config::{Config, ProviderConfig};
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result, SignInRefusal};
use crate::ports::oidc::{Exchanged, Metadata, authorization_url};
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

/// Why it did not.
enum Stop {
    /// A check failed: told in the log and, once an attempt is known, in the audit log.
    Refused(SignInRefusal, &'static str),
    /// The provider itself said no.
    Denied,
    /// Something else.
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

fn failed(reason: &'static str) -> Stop {
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
    let metadata = app.oidc()?.metadata(provider, cause.now).await?;
    let attempt = Attempt::start(&provider.id, binding, wish, cause.now)?;
    let url = authorization_url(provider, &metadata, attempt.secrets(&redirect_uri(app, provider)))?;
    app.db().put(&attempt, None).await?;
    Ok(url)
}

/// Ends a sign-in.
///
/// # Errors
/// `SignIn` when a check failed or the provider refused; `Conflict` with `account_exists` when the e-mail address
/// belongs to somebody who signs in another way; `Upstream` when the provider does not answer.
pub async fn finish(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    binding: Option<&str>,
    answer: Answer,
) -> Result<SignedIn> {
    let attempt = match binding {
        Some(binding) => Attempt::take(app, &provider.id, (&answer.state, binding), cause.now).await?,
        None => None,
    };
    let Some(attempt) = attempt else {
        // Anybody can call the callback with anything: that is no record's worth.
        log(cause, provider, "state");
        return Err(Error::SignIn(SignInRefusal::Failed));
    };
    match identify(app, cause, provider, &attempt, &answer).await {
        Ok((identity, email)) => {
            let entered = enter::enter(app, cause, &provider.id, attempt.plan, (&identity, &email)).await;
            if let Err(Error::Conflict {
                code: enter::ACCOUNT_EXISTS,
                ..
            }) = &entered
            {
                record(app, cause, provider, enter::ACCOUNT_EXISTS).await;
            }
            let Entered {
                user,
                session,
                refresh,
            } = entered?;
            Ok(SignedIn {
                user,
                session,
                refresh,
                mode: attempt.mode,
                return_to: attempt.return_to,
            })
        }
        Err(Stop::Refused(refusal, reason)) => {
            record(app, cause, provider, reason).await;
            Err(Error::SignIn(refusal))
        }
        Err(Stop::Denied) => Err(Error::SignIn(SignInRefusal::Denied)),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Who the provider says this is, with their verified address.
async fn identify(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    attempt: &Attempt,
    answer: &Answer,
) -> Result<(Identity, String), Stop> {
    let oidc = app.oidc()?;
    let metadata = oidc.metadata(provider, cause.now).await?;
    issuer(provider, &metadata, answer)?;
    let code = code(answer)?;
    let redirect_uri = redirect_uri(app, provider);
    let secret = client_secret(app, provider).await?;
    let exchanged = oidc
        .exchange(
            provider,
            &metadata,
            &secret,
            (code, attempt.secrets(&redirect_uri)),
        )
        .await?;
    let (id_token, access_token) = match exchanged {
        Exchanged::Tokens {
            id_token,
            access_token,
        } => (id_token, access_token),
        Exchanged::Refused(error) => {
            tracing::info!(
                auth.provider = provider.id,
                auth.error = error,
                "the provider refused the code"
            );
            return Err(failed("code_refused"));
        }
    };
    let header = Header::of(&id_token).map_err(|flaw| failed(flaw.as_str()))?;
    let keys = oidc.keys(provider, &metadata, &header.kid, cause.now).await?;
    let expected = Expected {
        issuer: &provider.issuer,
        client_id: &provider.client_id,
        nonce: &attempt.nonce,
        access_token: access_token.expose_secret(),
        now: cause.now,
    };
    let identity =
        id_token::check(&id_token, &header, &keys, expected).map_err(|flaw| failed(flaw.as_str()))?;
    match identity.verified_email() {
        Some(email) => Ok((identity, email)),
        None => Err(Stop::Refused(
            SignInRefusal::EmailUnverified,
            "email_not_verified",
        )),
    }
}

/// RFC 9207: the answer is this provider's own, not another one's that was mixed in.
fn issuer(provider: &ProviderConfig, metadata: &Metadata, answer: &Answer) -> Result<(), Stop> {
    match &answer.iss {
        Some(iss) if *iss == provider.issuer => Ok(()),
        None if !metadata.authorization_response_iss_parameter_supported => Ok(()),
        _ => Err(failed("response_issuer")),
    }
}

/// RFC 6749 §4.1.2: a code, or an error.
fn code(answer: &Answer) -> Result<&str, Stop> {
    match (answer.error.as_deref(), answer.code.as_deref()) {
        (None, Some(code)) => Ok(code),
        (None, None) => Err(failed("code_missing")),
        (Some("server_error" | "temporarily_unavailable"), _) => {
            Err(Error::Upstream("the identity provider cannot sign anybody in now: try again").into())
        }
        (Some(_), _) => Err(Stop::Denied),
    }
}

async fn client_secret(app: &App, provider: &ProviderConfig) -> Result<SecretString> {
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

fn log(cause: &Context, provider: &ProviderConfig, reason: &str) {
    tracing::info!(
        request.id = cause.request_id,
        auth.provider = provider.id,
        auth.reason = reason,
        "sign-in refused"
    );
}

/// A sign-in that failed its checks, in the platform's log: whose account it was meant for is not known.
async fn record(app: &App, cause: &Context, provider: &ProviderConfig, reason: &'static str) {
    log(cause, provider, reason);
    let detail = json!({ "provider": provider.id, "reason": reason });
    let tx = app
        .tx(cause)
        .audit(Action::UserLoginFailed, Scope::Platform, &provider.id, detail);
    let written = match tx {
        Ok(tx) => tx.run().await,
        Err(error) => Err(error),
    };
    // The refusal stands, whether or not it could be recorded.
    if let Err(error) = written {
        tracing::error!(request.id = cause.request_id, error = %error, "a failed sign-in could not be recorded");
    }
}
