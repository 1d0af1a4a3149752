//! Preferences: what the frontend looks like, how agents speak, what notifications come how.
//!
//! They are a part of the person's profile item with a version of their own, so that one read has both, and a change
//! of the one is no conflict with a change of the other. Locale and time zone are the profile's: one value, shown and
//! changed in both places, so a change of them moves both versions.
//!
//! Only what a person chose is stored. A default may therefore change, and a new preference needs no migration.

mod notify;
mod patch;

pub use notify::{Channels, ChannelsView, NotificationType, Notifications, channels};
pub use patch::PreferencesPatch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::change::{self, Written};
use super::{User, profile};
use crate::app::App;
use crate::context::Context;
use crate::domain::current::{is_among, on_expected};
use crate::domain::manner::Tone;
use crate::error::Result;
use crate::ids::UserId;
use crate::reply::Reply;
use crate::store::record::Action;
use crate::store::tx::OnceKey;

/// The event that a person's preferences have changed, for their other devices; its data is `Changed`.
pub const CHANGED: &str = "com.camarad.user.preferences_changed";

/// What the event says; which values they have now is read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    /// Whose.
    pub user_id: UserId,
    /// At which version they are since then.
    pub version: u64,
}

/// The accent colour of somebody who never chose one.
const ACCENT: &str = "#4f46e5";

/// Light or dark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Theme {
    /// Light.
    Light,
    /// Dark.
    Dark,
    /// As the device has it.
    #[default]
    System,
}

/// How much fits on a screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Density {
    /// Room between things.
    #[default]
    Comfortable,
    /// Little of it.
    Compact,
}

/// How large text is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FontSize {
    /// Smaller than usual.
    Small,
    /// As usual.
    #[default]
    Medium,
    /// Larger.
    Large,
}

/// How hours are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub enum TimeFormat {
    /// As the locale has it.
    #[default]
    #[serde(rename = "locale")]
    Locale,
    /// 1 to 12.
    #[serde(rename = "12h")]
    Hours12,
    /// 0 to 23.
    #[serde(rename = "24h")]
    Hours24,
}

/// How often notifications are collected into one e-mail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Digest {
    /// Never: each comes by itself.
    #[default]
    Off,
    /// Once a day.
    Daily,
    /// Once a week.
    Weekly,
}

/// What a person chose to see, as far as they chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Display {
    #[serde(skip_serializing_if = "Option::is_none")]
    density: Option<Density>,
    #[serde(skip_serializing_if = "Option::is_none")]
    font_size: Option<FontSize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_format: Option<TimeFormat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high_contrast: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduced_motion: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sidebar_collapsed: Option<bool>,
}

/// What a person chose; stored in their profile's item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Preferences {
    /// Grows by one with every change; 0 before the first.
    pub version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    theme: Option<Theme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accent_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    personality_tone: Option<Tone>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    display: Display,
    notifications: Notifications,
}

impl Preferences {
    /// Whether nothing was ever chosen.
    pub fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    /// By which channels a person is told of this.
    pub fn channels(&self, which: NotificationType) -> ChannelsView {
        channels(&self.notifications, which)
    }

    /// The names of what differs from `other`: paths as in the view.
    pub(super) fn difference(&self, other: &Self) -> Result<Vec<String>> {
        let json = |p: &Self| serde_json::to_value(p).map_err(crate::error::Error::internal);
        let mut paths = Vec::new();
        leaves(&json(self)?, &json(other)?, "", &mut paths);
        paths.retain(|path| path != "version");
        Ok(paths)
    }
}

/// The paths at which two values differ.
fn leaves(a: &Value, b: &Value, path: &str, out: &mut Vec<String>) {
    if a == b {
        return;
    }
    let empty = serde_json::Map::new();
    let members = |v: &Value| v.as_object().cloned();
    match (members(a), members(b)) {
        (None, None) => out.push(path.to_owned()),
        (a, b) => {
            let (a, b) = (a.unwrap_or_else(|| empty.clone()), b.unwrap_or(empty));
            let names: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                let get = |m: &serde_json::Map<_, _>| m.get(name).cloned().unwrap_or(Value::Null);
                leaves(&get(&a), &get(&b), &inner, out);
            }
        }
    }
}

/// What the frontend shows how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisplayView {
    /// How much fits on a screen.
    pub density: Density,
    /// How large text is.
    pub font_size: FontSize,
    /// How hours are written.
    pub time_format: TimeFormat,
    /// Whether contrasts are strong.
    pub high_contrast: bool,
    /// Whether nothing moves that need not.
    pub reduced_motion: bool,
    /// Whether the sidebar is folded.
    pub sidebar_collapsed: bool,
}

/// A person's preferences; what they never chose is the default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PreferencesView {
    /// Light or dark.
    pub theme: Theme,
    /// `#rrggbb`, lower case.
    #[schema(pattern = "^#[0-9a-f]{6}$")]
    pub accent_color: String,
    /// How agents speak.
    pub personality_tone: Tone,
    /// BCP 47; the profile's, and the same value.
    pub locale: String,
    /// IANA name; the profile's, and the same value.
    pub timezone: String,
    /// What the frontend shows how.
    pub display: DisplayView,
    /// By type, every one of them.
    pub notifications: BTreeMap<NotificationType, ChannelsView>,
    /// How often notifications are collected into one e-mail.
    pub digest: Digest,
    /// Grows by one with every change; the ETag says the same.
    pub version: u64,
}

impl From<&User> for PreferencesView {
    fn from(user: &User) -> Self {
        let p = &user.preferences;
        Self {
            theme: p.theme.unwrap_or_default(),
            accent_color: p.accent_color.clone().unwrap_or_else(|| ACCENT.into()),
            personality_tone: p.personality_tone.unwrap_or_default(),
            locale: user.locale.clone(),
            timezone: user.timezone.clone(),
            display: DisplayView {
                density: p.display.density.unwrap_or_default(),
                font_size: p.display.font_size.unwrap_or_default(),
                time_format: p.display.time_format.unwrap_or_default(),
                high_contrast: p.display.high_contrast.unwrap_or_default(),
                reduced_motion: p.display.reduced_motion.unwrap_or_default(),
                sidebar_collapsed: p.display.sidebar_collapsed.unwrap_or_default(),
            },
            notifications: NotificationType::ALL
                .iter()
                .map(|which| (*which, channels(&p.notifications, *which)))
                .collect(),
            digest: p.digest.unwrap_or_default(),
            version: p.version,
        }
    }
}

/// A person's preferences.
///
/// # Errors
/// `NotFound`.
pub async fn read(app: &App, user: UserId) -> Result<PreferencesView> {
    profile::read(app, user).await.map(|user| (&user).into())
}

/// Changes preferences. `expected` are the versions that the caller knows (If-Match); `None`, when they meant to change
/// whatever is there, field by field.
///
/// # Errors
/// `PreconditionFailed` when the preferences are at none of the expected versions.
pub async fn update(
    app: &App,
    cause: &Context,
    (user, expected): (UserId, Option<&[u64]>),
    once: Option<&OnceKey>,
    patch: &PreferencesPatch,
) -> Result<Reply<PreferencesView>> {
    let first = profile::read(app, user).await?;
    let known = |user: &User| is_among(user.preferences.version, expected);
    on_expected(app.db(), first, known, async |old: User| {
        let mut new = old.clone();
        patch.clone().apply(&mut new);
        let written = Written {
            action: Action::SettingsUpdated,
            once,
        };
        change::commit(app, cause, written, (&old, new), |user| {
            PreferencesView::from(user)
        })
        .await
    })
    .await
}
