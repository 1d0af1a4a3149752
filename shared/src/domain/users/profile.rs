//! A person's own profile: read, and changed field by field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::User;
use super::fields::{AvatarUrl, Locale, Timezone};
use crate::app::App;
use crate::context::Context;
use crate::domain::name::Name;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Update, keys};

/// How often a change is tried again when another one came between its read and its write.
const TRIES: usize = 4;

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
/// `NotFound`.
pub async fn read(app: &App, user: UserId) -> Result<User> {
    app.db().get(&keys::user(user)).await?.ok_or(Error::NotFound)
}

/// Changes a profile. `expected` are the versions that the caller knows (If-Match); without them the change goes on
/// top of whatever is there, field by field.
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
    for _ in 0..TRIES {
        let old = read(app, user).await?;
        if expected.is_some_and(|versions| !versions.contains(&old.version)) {
            return Err(Error::PreconditionFailed);
        }
        match write(app, cause, once, old, patch.clone()).await {
            // Read again: with If-Match that tells, and without it the change still fits.
            Err(Error::PreconditionFailed) => {}
            other => return other,
        }
    }
    Err(Error::Unavailable("the profile kept changing".into()))
}

async fn write(
    app: &App,
    cause: &Context,
    once: Option<&OnceKey>,
    old: User,
    patch: ProfilePatch,
) -> Result<Reply<UserView>> {
    let mut new = old.clone();
    patch.apply(&mut new);
    let changed = changed(&old, &new);
    if changed.is_empty() {
        let reply = Reply::ok(&new.into())?;
        // Nothing to write but that the key was used.
        return if once.is_some() {
            app.tx(cause).once(once).commit(reply).await
        } else {
            Ok(reply)
        };
    }
    new.version += 1;
    new.updated_at = cause.now;
    // Field by field, as a sign-in may write lastLoginAt meanwhile.
    let update = Update::of(keys::user(new.id))
        .set("name", &new.name)?
        .set("locale", &new.locale)?
        .set("timezone", &new.timezone)?
        .set("updatedAt", new.updated_at)?
        .set("version", new.version)?
        .when(Cond::eq("version", old.version)?);
    let update = match &new.avatar_url {
        Some(url) => update.set("avatarUrl", url)?,
        None => update.remove("avatarUrl"),
    };
    app.tx(cause)
        .once(once)
        .update(update, || Error::PreconditionFailed)
        .audit(
            Action::UserUpdated,
            Scope::Account(new.id),
            new.id,
            json!({ "changed": changed }),
        )?
        .commit(Reply::ok(&new.into())?)
        .await
}

/// Names, not values: the log outlives the profile.
fn changed(old: &User, new: &User) -> Vec<&'static str> {
    [
        ("name", old.name != new.name),
        ("avatarUrl", old.avatar_url != new.avatar_url),
        ("locale", old.locale != new.locale),
        ("timezone", old.timezone != new.timezone),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
