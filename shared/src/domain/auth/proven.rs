//! Somebody whose identity and e-mail address are proven, by whatever way they came.

use serde::Serialize;

use crate::config::ProviderKind;
use crate::domain::name::Name;
use crate::domain::users::fields::{AvatarUrl, Locale, Timezone};
use crate::domain::users::{DEFAULT_LOCALE, DEFAULT_TIMEZONE};

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
    /// Lower case, and theirs beyond doubt.
    pub(super) email: String,
    pub(super) about: About,
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
