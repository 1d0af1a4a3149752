//! Time is injected: nothing else in Camarad asks what time it is.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The present moment, UTC.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one home of this call
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that is moved by hand; for tests of what time does.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    tick: SignedDuration,
}

impl ManualClock {
    /// A clock that stands still at `seconds` after the Unix epoch.
    pub fn at_unix(seconds: i64) -> Self {
        Self::at(Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// A clock that stands still at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            now: Mutex::new(now),
            tick: SignedDuration::ZERO,
        }
    }

    /// A clock that goes on by a millisecond whenever it is read: no two ids made by it are of the same time.
    pub fn ticking(now: Timestamp) -> Self {
        Self {
            now: Mutex::new(now),
            tick: SignedDuration::from_millis(1),
        }
    }

    /// Moves the clock by `by`, backwards too.
    pub fn advance(&self, by: SignedDuration) {
        self.step(by);
    }

    fn step(&self, by: SignedDuration) -> Timestamp {
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.checked_add(by).unwrap_or(*now);
        *now
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.step(self.tick)
    }
}

/// Measures how long something takes; monotonic, so it never runs backwards.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[allow(clippy::disallowed_methods)] // the one home of this call
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Whole milliseconds since the start.
    pub fn millis(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
