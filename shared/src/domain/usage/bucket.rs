//! Buckets of time, by the calendar of a time zone.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
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

    /// The start of the bucket that `at` lies in, by the calendar of `zone`. A day has 23 to 25 hours where clocks change,
    /// and begins when its first moment does: at one o'clock, where midnight is left out. An hour begins when the clock
    /// shows a full one.
    ///
    /// # Errors
    /// `Internal` at the ends of time.
    pub fn start(self, at: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
        let date = zone.to_datetime(at).date();
        match self {
            Self::Hour => full_hour(at, zone),
            Self::Day => midnight(date, zone),
            Self::Month => midnight(date.first_of_month(), zone),
        }
    }

    /// The start of the bucket that is `by` buckets after the one that starts at `start`; before it for a negative.
    ///
    /// # Errors
    /// `Internal` at the ends of time.
    pub fn step(self, start: Timestamp, by: i64, zone: &TimeZone) -> Result<Timestamp> {
        let date = zone.to_datetime(start).date();
        match self {
            Self::Hour => {
                let span = SignedDuration::from_secs(by.saturating_mul(HOUR.as_secs()));
                let near = start.checked_add(span).map_err(Error::internal)?;
                match past_hour(near, zone) {
                    SignedDuration::ZERO => Ok(near),
                    // Where clocks change by half an hour, an hour lasts one and a half.
                    past if by > 0 => full_hour(near + (HOUR - past), zone),
                    _ => full_hour(near, zone),
                }
            }
            Self::Day => midnight(date.checked_add(by.days()).map_err(Error::internal)?, zone),
            Self::Month => midnight(date.checked_add(by.months()).map_err(Error::internal)?, zone),
        }
    }
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

fn midnight(date: Date, zone: &TimeZone) -> Result<Timestamp> {
    zone.to_timestamp(date.at(0, 0, 0, 0)).map_err(Error::internal)
}

/// How far past the last full hour the clock is.
fn past_hour(at: Timestamp, zone: &TimeZone) -> SignedDuration {
    let clock = zone.to_datetime(at);
    clock.duration_since(clock.date().at(clock.hour(), 0, 0, 0))
}

/// The last moment until `at` at which the clock showed a full hour.
fn full_hour(at: Timestamp, zone: &TimeZone) -> Result<Timestamp> {
    let mut at = at;
    loop {
        match past_hour(at, zone) {
            SignedDuration::ZERO => return Ok(at),
            past => at = at.checked_sub(past).map_err(Error::internal)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn a_moment_lies_in_its_hour_day_and_month() {
        let moment = at("2026-02-28T23:59:59.999Z");
        let starts = |zone: &TimeZone| Bucket::ALL.map(|b| b.start(moment, zone).unwrap().to_string());
        assert_eq!(
            starts(&TimeZone::UTC),
            [
                "2026-02-28T23:00:00Z",
                "2026-02-28T00:00:00Z",
                "2026-02-01T00:00:00Z"
            ]
        );
        assert_eq!(
            starts(&zone("Asia/Kolkata")),
            [
                "2026-02-28T23:30:00Z",
                "2026-02-28T18:30:00Z",
                "2026-02-28T18:30:00Z"
            ]
        );
    }

    #[test]
    fn the_next_bucket_follows_the_calendar() {
        let next = |bucket: Bucket, from| bucket.step(at(from), 1, &TimeZone::UTC).unwrap().to_string();
        assert_eq!(next(Bucket::Hour, "2026-02-28T23:00:00Z"), "2026-03-01T00:00:00Z");
        assert_eq!(next(Bucket::Day, "2028-02-28T00:00:00Z"), "2028-02-29T00:00:00Z");
        assert_eq!(
            next(Bucket::Month, "2026-12-01T00:00:00Z"),
            "2027-01-01T00:00:00Z"
        );
        let year = Bucket::Month.step(at("2026-03-01T00:00:00Z"), -12, &TimeZone::UTC);
        assert_eq!(year.unwrap(), at("2025-03-01T00:00:00Z"));
    }

    #[test]
    fn a_day_has_as_many_hours_as_its_clock_shows() {
        let hours = |name: &str, day: &str| {
            let zone = zone(name);
            let start = Bucket::Day.start(at(day), &zone).unwrap();
            let end = Bucket::Day.step(start, 1, &zone).unwrap();
            let (mut count, mut hour) = (0, start);
            while hour < end {
                hour = Bucket::Hour.step(hour, 1, &zone).unwrap();
                count += 1;
            }
            assert_eq!(hour, end, "{name} {day}: an hour ends where its day does");
            (count, end.duration_since(start).as_mins())
        };
        assert_eq!(hours("Europe/Bucharest", "2026-03-29T12:00:00Z"), (23, 23 * 60));
        assert_eq!(hours("Europe/Bucharest", "2026-10-25T12:00:00Z"), (25, 25 * 60));
        assert_eq!(hours("America/New_York", "2026-11-01T12:00:00Z"), (25, 25 * 60));
        assert_eq!(hours("Asia/Kolkata", "2026-03-29T12:00:00Z"), (24, 24 * 60));
        // Its clock goes half an hour back, so one hour lasts one and a half; and half an hour on.
        assert_eq!(
            hours("Australia/Lord_Howe", "2026-04-05T00:00:00Z"),
            (24, 24 * 60 + 30)
        );
        assert_eq!(
            hours("Australia/Lord_Howe", "2026-10-04T00:00:00Z"),
            (23, 23 * 60 + 30)
        );
        // No midnight on this day.
        assert_eq!(hours("Africa/Cairo", "2026-04-24T12:00:00Z"), (23, 23 * 60));
    }
}
