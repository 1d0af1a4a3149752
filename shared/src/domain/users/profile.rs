//! A person's own profile: read, and changed field by field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::User;
use super::change::{self, Written};
use super::fields::{AvatarUrl, Locale, Timezone};
use crate::app::App;
use crate::context::Context;
use crate::domain::current::{is_among, on_expected};
use crate::domain::name::Name;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::reply::Reply;
use crate::store::keys;
use crate::store::record::Action;
use crate::store::tx::OnceKey;

/// A person as they see themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserView {
    /// Who.
    pub id: UserId,
    /// Verified address, lower case.
    pub email: String,
    /// 1 to 100 characters.
    pub name: String,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// BCP 47.
    pub locale: String,
    /// IANA name.
    pub timezone: String,
    /// The last sign-in.
    #[schema(value_type = String, format = DateTime)]
    pub last_login_at: Timestamp,
    /// When onboarding ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub onboarding_completed_at: Option<Timestamp>,
    /// When the person first signed in.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The last change of the profile.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Grows by one with every change; the ETag says the same.
    pub version: u64,
}

impl From<User> for UserView {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            avatar_url: user.avatar_url,
            locale: user.locale,
            timezone: user.timezone,
            last_login_at: user.last_login_at,
            onboarding_completed_at: user.onboarding_completed_at,
            created_at: user.created_at,
            updated_at: user.updated_at,
            version: user.version,
        }
    }
}

/// What changes; the rest stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProfilePatch {
    /// A new name.
    pub name: Option<Name>,
    /// A new picture, or none any more.
    pub avatar_url: Option<Option<AvatarUrl>>,
    /// Another language.
    pub locale: Option<Locale>,
    /// Another time zone.
    pub timezone: Option<Timezone>,
}

impl ProfilePatch {
    fn apply(self, user: &mut User) {
        if let Some(name) = self.name {
            user.name = name.into();
        }
        if let Some(url) = self.avatar_url {
            user.avatar_url = url.map(Into::into);
        }
        if let Some(locale) = self.locale {
            user.locale = locale.into();
        }
        if let Some(timezone) = self.timezone {
            user.timezone = timezone.into();
        }
    }
}

/// The person with this id.
///
/// # Errors
/// `NotFound`, also for somebody who deletes their account.
pub async fn read(app: &App, user: UserId) -> Result<User> {
    let found: Option<User> = app.db().get(&keys::user(user)).await?;
    found.filter(User::is_staying).ok_or(Error::NotFound)
}

/// Changes a profile. `expected` are the versions that the caller knows (If-Match); `None`, when they meant to change
/// whatever is there, field by field.
///
/// # Errors
/// `PreconditionFailed` when the profile is at none of the expected versions.
pub async fn update(
    app: &App,
    cause: &Context,
    (user, expected): (UserId, Option<&[u64]>),
    once: Option<&OnceKey>,
    patch: &ProfilePatch,
) -> Result<Reply<UserView>> {
    let first = read(app, user).await?;
    let known = |user: &User| is_among(user.version, expected);
    on_expected(app.db(), first, known, async |old: User| {
        let mut new = old.clone();
        patch.clone().apply(&mut new);
        let written = Written {
            action: Action::UserUpdated,
            once,
        };
        change::commit(app, cause, written, (&old, new), |user| {
            UserView::from(user.clone())
        })
        .await
    })
    .await
}
