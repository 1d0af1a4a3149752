//! The time zone by whose calendar sums are shown.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::domain::users::fields::Timezone;
use crate::error::{Error, Result};

/// A time zone of the IANA database.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// By its name.
    ///
    /// # Errors
    /// `Invalid` on `query.timezone`.
    pub fn parse(name: &str) -> Result<Self> {
        let unknown = || {
            Error::field(
                "query.timezone",
                "must be an IANA time zone, such as Europe/Vienna",
            )
        };
        let name = Timezone::parse(name).map(String::from).ok_or_else(unknown)?;
        let zone = TimeZone::get(&name).map_err(|_| unknown())?;
        Ok(Self { name, zone })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules.
    pub(super) fn rules(&self) -> &TimeZone {
        &self.zone
    }

    /// A moment as its clocks show it, with the offset: RFC 3339, and with the zone's name in brackets RFC 9557.
    pub(super) fn shown(&self, at: Timestamp) -> String {
        let offset = self.zone.to_offset(at);
        at.display_with_offset(offset).to_string()
    }
}
