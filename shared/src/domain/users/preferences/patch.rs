//! Changes of preferences: a merge patch with the preferences' names, each value valid by its type.

use serde::{Deserialize, Deserializer};

use super::notify::{self, NotificationsPatch};
use super::{Density, Digest, Display, FontSize, Theme, TimeFormat};
use crate::domain::manner::Tone;
use crate::domain::merge::{Object, Patch};
use crate::domain::users::fields::{Locale, Timezone};
use crate::domain::users::{DEFAULT_LOCALE, DEFAULT_TIMEZONE, User};

/// A colour: `#rrggbb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccentColor(String);

impl AccentColor {
    /// The colour that `text` is, if it is one; in lower case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        let fits = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| Self(text.to_ascii_lowercase()))
    }
}

impl From<AccentColor> for String {
    fn from(color: AccentColor) -> Self {
        color.0
    }
}

impl<'de> Deserialize<'de> for AccentColor {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("must be a colour, such as #4f46e5"))
    }
}

/// Changes of what the frontend shows how; `null` sets the default again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisplayPatch {
    /// How much fits on a screen.
    #[serde(default)]
    #[schema(value_type = Option<Density>)]
    density: Patch<Density>,
    /// How large text is.
    #[serde(default)]
    #[schema(value_type = Option<FontSize>)]
    font_size: Patch<FontSize>,
    /// How hours are written.
    #[serde(default)]
    #[schema(value_type = Option<TimeFormat>)]
    time_format: Patch<TimeFormat>,
    /// Whether contrasts are strong.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    high_contrast: Patch<bool>,
    /// Whether nothing moves that need not.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    reduced_motion: Patch<bool>,
    /// Whether the sidebar is folded.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    sidebar_collapsed: Patch<bool>,
}

impl DisplayPatch {
    fn apply(self, to: &mut Display) {
        self.density.apply(&mut to.density);
        self.font_size.apply(&mut to.font_size);
        self.time_format.apply(&mut to.time_format);
        self.high_contrast.apply(&mut to.high_contrast);
        self.reduced_motion.apply(&mut to.reduced_motion);
        self.sidebar_collapsed.apply(&mut to.sidebar_collapsed);
    }
}

/// Changes of preferences; what is absent stays, `null` sets the default again (RFC 7396).
#[derive(Debug, Clone, Default, PartialEq, Deserialize, garde::Validate, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[garde(allow_unvalidated)] // the fields' types are valid by construction
pub struct PreferencesPatch {
    /// Light or dark.
    #[serde(default)]
    #[schema(value_type = Option<Theme>)]
    theme: Patch<Theme>,
    /// `#rrggbb`.
    #[serde(default)]
    #[schema(value_type = Option<String>, pattern = "^#[0-9a-fA-F]{6}$")]
    accent_color: Patch<AccentColor>,
    /// How agents speak.
    #[serde(default)]
    #[schema(value_type = Option<Tone>)]
    personality_tone: Patch<Tone>,
    /// BCP 47; the profile's, too.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    locale: Patch<Locale>,
    /// IANA name; the profile's, too.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timezone: Patch<Timezone>,
    /// What the frontend shows how.
    #[serde(default)]
    #[schema(value_type = Option<DisplayPatch>)]
    display: Patch<Object<DisplayPatch>>,
    /// By type; `null` sets the defaults of the type, or of all, again.
    #[serde(default)]
    #[schema(value_type = Option<NotificationsPatch>)]
    notifications: Patch<Object<NotificationsPatch>>,
    /// How often notifications are collected into one e-mail.
    #[serde(default)]
    #[schema(value_type = Option<Digest>)]
    digest: Patch<Digest>,
}

impl PreferencesPatch {
    /// Applies the changes to a person.
    pub(crate) fn apply(self, user: &mut User) {
        let locale = std::mem::take(&mut user.locale);
        user.locale = self.locale.value(locale, || DEFAULT_LOCALE.into());
        let timezone = std::mem::take(&mut user.timezone);
        user.timezone = self.timezone.value(timezone, || DEFAULT_TIMEZONE.into());
        let to = &mut user.preferences;
        self.theme.apply(&mut to.theme);
        self.accent_color.apply(&mut to.accent_color);
        self.personality_tone.apply(&mut to.personality_tone);
        self.digest.apply(&mut to.digest);
        self.display
            .merge(&mut to.display, |Object(patch), to| patch.apply(to));
        self.notifications
            .merge(&mut to.notifications, |Object(patch), to| {
                notify::merge(patch, to)
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_is_six_hexadecimal_digits() {
        assert_eq!(
            AccentColor::parse("#AbC012").map(String::from).as_deref(),
            Some("#abc012")
        );
        for text in ["", "#", "abc012", "#abc", "#abc0123", "#abc01g", "#äb012", "red"] {
            assert_eq!(AccentColor::parse(text), None, "{text}");
        }
    }
}
