//! A sign-in that was started: what has to come back, bound to the browser that started it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::return_to::ReturnTo;
use crate::app::App;
use crate::config::ProviderConfig;
use crate::domain::plans::Plan;
use crate::error::{Error, Result};
use crate::ports::oidc;
use crate::random;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Entity};

/// How long a person has for signing in at the provider.
pub const ATTEMPT_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Who gets the tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A browser, as cookies; it goes on to the frontend.
    #[default]
    Browser,
    /// A program, as JSON.
    Token,
}

impl Mode {
    fn prefix(self) -> &'static str {
        match self {
            Self::Browser => "b.",
            Self::Token => "t.",
        }
    }

    /// The mode that a state says it has: how to answer when nothing is known of it.
    pub fn of_state(state: &str) -> Self {
        if state.starts_with(Self::Token.prefix()) {
            Self::Token
        } else {
            Self::Browser
        }
    }
}

/// What the person wants, beside signing in.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The plan of the trial, if this is their first time.
    pub plan: Plan,
    /// Where to go afterwards.
    pub return_to: ReturnTo,
    /// Who gets the tokens.
    pub mode: Mode,
}

/// A started sign-in, found by its state parameter, used once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Attempt {
    /// Known to the browser and the provider; only its hash is stored, in the key.
    #[serde(skip)]
    pub(super) state: String,
    pub(super) provider: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// SHA-256 of a cookie of the browser that started it.
    binding: String,
    pub(super) plan: Plan,
    pub(super) return_to: ReturnTo,
    pub(super) mode: Mode,
    expires_at: Timestamp,
}

impl Entity for Attempt {
    const KIND: &'static str = "sign-in";
    fn key(&self) -> Key {
        keys::auth_state(&self.state)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

impl Attempt {
    pub(super) fn start(provider: &str, binding: &str, wish: Wish, now: Timestamp) -> Result<Self> {
        Ok(Self {
            state: format!("{}{}", wish.mode.prefix(), random::secret()),
            provider: provider.to_owned(),
            nonce: random::secret(),
            verifier: random::secret(),
            binding: keys::digest(binding),
            plan: wish.plan,
            return_to: wish.return_to,
            mode: wish.mode,
            expires_at: now.checked_add(ATTEMPT_LIFE).map_err(Error::internal)?,
        })
    }

    /// Takes the attempt that `state` names out of the table, if this browser started it with this provider less than
    /// ten minutes ago. Nobody else's try uses it up.
    pub(super) async fn take(
        app: &App,
        provider: &str,
        (state, binding): (&str, &str),
        now: Timestamp,
    ) -> Result<Option<Self>> {
        let cond = Cond::eq("binding", keys::digest(binding))?
            .and(Cond::eq("provider", provider)?)
            .and(Cond::gt("expiresAt", now)?);
        let Some(taken) = app.db().take(&keys::auth_state(state), &cond).await? else {
            return Ok(None);
        };
        Ok(Some(Self {
            state: state.to_owned(),
            ..taken.read()?
        }))
    }

    pub(super) fn secrets<'a>(&'a self, redirect_uri: &'a str) -> oidc::Attempt<'a> {
        oidc::Attempt {
            state: &self.state,
            nonce: &self.nonce,
            verifier: &self.verifier,
            redirect_uri,
        }
    }
}

/// Where a provider sends the browser back to.
pub(super) fn redirect_uri(app: &App, provider: &ProviderConfig) -> String {
    format!("{}/api/auth/{}/callback", app.config().public_url, provider.id)
}
