//! Buckets of time, in UTC.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The size of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bucket {
    /// From the full hour to the next.
    Hour,
    /// From midnight to midnight.
    Day,
    /// From the first to the first.
    Month,
}

impl Bucket {
    /// Every size.
    pub const ALL: [Bucket; 3] = [Bucket::Hour, Bucket::Day, Bucket::Month];

    /// The name in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// How many buckets are shown when the caller does not say.
    pub fn shown(self) -> usize {
        match self {
            Self::Hour => 24,
            Self::Day => 30,
            Self::Month => 12,
        }
    }

    /// How many buckets one answer has at most: a month of hours, a year of days, ten years of months.
    pub fn most(self) -> usize {
        match self {
            Self::Hour => 24 * 31,
            Self::Day => 366,
            Self::Month => 120,
        }
    }

    /// The start of the bucket that `at` lies in.
    ///
    /// # Errors
    /// `Internal` at the ends of time.
    pub fn start(self, at: Timestamp) -> Result<Timestamp> {
        let at = TimeZone::UTC.to_datetime(at);
        let start = match self {
            Self::Hour => at.date().at(at.hour(), 0, 0, 0),
            Self::Day => at.date().at(0, 0, 0, 0),
            Self::Month => at.date().first_of_month().at(0, 0, 0, 0),
        };
        in_utc(start)
    }

    /// The start of the bucket that is `by` buckets after the one that starts at `start`; before it for a negative.
    ///
    /// # Errors
    /// `Internal` at the ends of time.
    pub fn step(self, start: Timestamp, by: i64) -> Result<Timestamp> {
        let span = match self {
            Self::Hour => by.hours(),
            Self::Day => by.days(),
            Self::Month => by.months(),
        };
        in_utc(
            TimeZone::UTC
                .to_datetime(start)
                .checked_add(span)
                .map_err(Error::internal)?,
        )
    }
}

fn in_utc(at: DateTime) -> Result<Timestamp> {
    TimeZone::UTC.to_timestamp(at).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_moment_lies_in_its_hour_day_and_month() {
        let moment = at("2026-02-28T23:59:59.999Z");
        let starts = Bucket::ALL.map(|b| b.start(moment).unwrap().to_string());
        assert_eq!(
            starts,
            [
                "2026-02-28T23:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-02-01T00:00:00Z"
            ]
        );
    }

    #[test]
    fn the_next_bucket_follows_the_calendar() {
        let next = |bucket: Bucket, from| bucket.step(at(from), 1).unwrap().to_string();
        assert_eq!(next(Bucket::Hour, "2026-02-28T23:00:00Z"), "2026-03-01T00:00:00Z");
        assert_eq!(next(Bucket::Day, "2028-02-28T00:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(
            next(Bucket::Month, "2026-12-01T00:00:00Z"),
            "2027-01-01T00:00:00Z"
        );
        assert_eq!(
            Bucket::Month.step(at("2026-03-01T00:00:00Z"), -12).unwrap(),
            at("2025-03-01T00:00:00Z")
        );
    }
}
