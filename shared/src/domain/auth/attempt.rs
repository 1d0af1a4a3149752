//! A sign-in that was started: what has to come back, bound to the browser that started it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::return_to::ReturnTo;
use crate::app::App;
use crate::config::{Config, ProviderConfig};
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
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
    pub(super) fn prefix(self) -> &'static str {
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

/// What the person wants, beside being identified.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Where to go afterwards.
    pub return_to: ReturnTo,
    /// Who gets the tokens.
    pub mode: Mode,
}

impl Wish {
    /// The wish that a request names; `at` stands before the names of its fields in errors.
    ///
    /// # Errors
    /// `Invalid`: the place is none of the frontend's, or there is no frontend.
    pub fn of(config: &Config, at: &str, (return_to, mode): (Option<&str>, Mode)) -> Result<Self> {
        let refused = |field: &str, why: &str| Error::field(format!("{at}{field}"), why);
        let frontend = config.frontend_origins.first();
        if mode == Mode::Browser && frontend.is_none() {
            return Err(refused("mode", "must be token: this deployment has no frontend"));
        }
        let return_to = match (return_to, frontend) {
            (Some(text), Some(origin)) => ReturnTo::parse(text, origin)
                .ok_or_else(|| refused("returnTo", "must be a path of the frontend"))?,
            (Some(_), None) => return Err(refused("returnTo", "has nowhere to return to")),
            (None, _) => ReturnTo::default(),
        };
        Ok(Self { return_to, mode })
    }
}

/// Who asks for something about their own account, with which session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InSession {
    /// The person.
    pub user: UserId,
    /// The session that asked; it must still be live at the end.
    pub session: SessionId,
}

/// What is to come of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Purpose {
    /// A new session.
    #[default]
    SignIn,
    /// One more way to sign in, of this person.
    Link(InSession),
    /// This session made fresh: the provider asks the person again, whoever is signed in there.
    StepUp(InSession),
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
    pub(super) return_to: ReturnTo,
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) purpose: Purpose,
    expires_at: Timestamp,
    /// The moment of its end: everything about it is judged at this time.
    #[serde(skip)]
    pub(super) taken_at: Timestamp,
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
    pub(super) fn start(
        provider: &str,
        binding: &str,
        (wish, purpose): (Wish, Purpose),
        now: Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            state: format!("{}{}", wish.mode.prefix(), random::secret()),
            provider: provider.to_owned(),
            nonce: random::secret(),
            verifier: random::secret(),
            binding: keys::digest(binding),
            return_to: wish.return_to,
            mode: wish.mode,
            purpose,
            expires_at: now.checked_add(ATTEMPT_LIFE).map_err(Error::internal)?,
            taken_at: now,
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
            taken_at: now,
            ..taken.read()?
        }))
    }

    /// Since when a person must have been asked who they are, where an earlier answer will not do.
    pub(super) fn asked_since(&self) -> Option<Timestamp> {
        match self.purpose {
            Purpose::StepUp(_) => Some(self.expires_at - ATTEMPT_LIFE),
            Purpose::SignIn | Purpose::Link(_) => None,
        }
    }

    pub(super) fn secrets<'a>(&'a self, redirect_uri: &'a str) -> oidc::Attempt<'a> {
        oidc::Attempt {
            state: &self.state,
            nonce: &self.nonce,
            verifier: &self.verifier,
            redirect_uri,
            ask_again: self.asked_since().is_some(),
        }
    }
}

/// Where a provider sends the browser back to.
pub(super) fn redirect_uri(app: &App, provider: &ProviderConfig) -> String {
    format!("{}/api/auth/{}/callback", app.config().public_url, provider.id)
}
