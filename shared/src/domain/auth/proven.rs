//! Somebody whose identity and e-mail address are proven, by whatever way they came.

use serde::Serialize;

use crate::config::{ProviderConfig, ProviderKind};
use crate::domain::name::Name;
use crate::domain::users::fields::{AvatarUrl, EmailAddress, Locale, Timezone};
use crate::domain::users::{DEFAULT_LOCALE, DEFAULT_TIMEZONE};
use crate::error::{Error, Result, SignInRefusal};

/// How somebody proved who they are, as audit records tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// An ID token of an OpenID provider.
    Oidc,
    /// An access token of GitHub.
    Oauth,
    /// A link that was mailed to them.
    MagicLink,
}

impl From<ProviderKind> for Method {
    fn from(kind: ProviderKind) -> Self {
        match kind {
            ProviderKind::Oidc => Self::Oidc,
            ProviderKind::Github => Self::Oauth,
        }
    }
}

/// Who, and how that is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proven {
    /// The provider's id, or `email`.
    pub(super) provider: String,
    pub(super) method: Method,
    /// Who, at that provider, for good. `None` when the address itself is the proof.
    pub(super) subject: Option<String>,
    pub(super) address: Address,
    pub(super) about: About,
}

/// What is known of their e-mail address, in lower case.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Address {
    /// It is theirs beyond doubt.
    Proven(String),
    /// A provider says so whose word is not enough to make an account.
    Claimed(String),
    /// There is none that could be used, and why. Whoever is known by their identity needs none.
    None(SignInRefusal),
}

impl Address {
    /// What a provider's word on an address comes to.
    pub(super) fn told_by(provider: &ProviderConfig, told: Result<String, SignInRefusal>) -> Self {
        match told {
            Ok(email) if provider.vouches_for(&email) => Self::Proven(email),
            Ok(email) => Self::Claimed(email),
            Err(refusal) => Self::None(refusal),
        }
    }

    /// The address, for who has none yet.
    ///
    /// # Errors
    /// `SignIn` when there is none.
    pub(super) fn text(&self) -> Result<&str> {
        match self {
            Self::Proven(email) | Self::Claimed(email) => Ok(email),
            Self::None(refusal) => Err(Error::SignIn(*refusal)),
        }
    }

    /// Whether this address is proven to be theirs.
    pub(super) fn proves(&self, email: &str) -> bool {
        matches!(self, Self::Proven(own) if own == email)
    }
}

/// The address that mail goes to, of what a provider calls verified.
pub(super) fn usable(email: &str) -> Result<String, SignInRefusal> {
    EmailAddress::parse(email)
        .map(String::from)
        .ok_or(SignInRefusal::EmailUnusable)
}

/// What a provider says about somebody; for a new profile, as far as it fits.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct About {
    pub(super) name: Option<String>,
    pub(super) picture: Option<String>,
    pub(super) locale: Option<String>,
    pub(super) zoneinfo: Option<String>,
}

impl About {
    /// The name, or what stands before the @.
    pub(super) fn name_or(&self, email: &str) -> String {
        let local = email.split('@').next().unwrap_or(email);
        let name = self.name.as_deref().and_then(Name::parse).map(String::from);
        name.unwrap_or_else(|| local.chars().take(100).collect())
    }

    pub(super) fn avatar_url(&self) -> Option<String> {
        self.picture
            .as_deref()
            .and_then(AvatarUrl::parse)
            .map(String::from)
    }

    pub(super) fn locale(&self) -> String {
        let locale = self.locale.as_deref().and_then(Locale::parse);
        locale.map_or_else(|| DEFAULT_LOCALE.into(), String::from)
    }

    pub(super) fn timezone(&self) -> String {
        let timezone = self.zoneinfo.as_deref().and_then(Timezone::parse);
        timezone.map_or_else(|| DEFAULT_TIMEZONE.into(), String::from)
    }
}
