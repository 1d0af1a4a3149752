//! Rate limits per caller, in the table, so that all instances of all functions count together. Per-address limits
//! are the gateway's.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::store::keys;
use crate::store::{Cond, Db, Outcome, Update};

/// A limit: so many requests per window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its name in keys.
    pub class: &'static str,
    /// Requests per window.
    pub max: u32,
    /// Seconds in a window.
    pub window_s: u32,
}

/// Every authenticated request of a user.
pub const USER: Limit = Limit {
    class: "user",
    max: 100,
    window_s: 60,
};

/// Every request with one API key.
pub const KEY: Limit = Limit {
    class: "key",
    max: 100,
    window_s: 60,
};

/// Messages to an agent. The maximum is the plan's of whoever pays, which the call's admission learns.
pub const MESSAGES: Limit = Limit {
    class: "agent",
    max: u32::MAX,
    window_s: 3_600,
};

/// Counts requests. Callers over their limit are remembered here until their window ends, so that a flood costs the
/// table nothing.
#[derive(Debug, Default)]
pub struct Limits {
    blocked: Mutex<HashMap<String, Timestamp>>,
}

impl Limits {
    /// Counts one request of `who`.
    ///
    /// # Errors
    /// `RateLimited` beyond the limit. A table that does not answer lets the request through: the limit protects
    /// capacity, and the request itself will meet the same table.
    pub async fn hit(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) -> Result<()> {
        let name = format!("{}#{who}", limit.class);
        if self.is_blocked(&name, now) {
            return Err(refusal(limit, now));
        }
        let counted = self.count(db, limit, who, now).await?;
        let judged = limit.judge(counted, now);
        if judged.is_err() {
            self.block(name, window(limit, now).1, now);
        }
        judged
    }

    /// Counts one request without judging it, for a limit whose maximum is only known once other reads are back: answers
    /// how many there are in the window, or zero when the table did not count. `limit.max` is not asked, and nobody is
    /// remembered as blocked, as one window may be held against several maxima.
    ///
    /// # Errors
    /// `Internal` when the counter is none.
    pub async fn count(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) -> Result<u32> {
        let (window, ends) = window(limit, now);
        let update = Update::of(keys::rate(limit.class, who, window))
            .add("n", 1)?
            .set("ttl", ends + 3_600)?;
        match db.update(&update).await {
            Ok(Outcome::Applied(doc)) => Ok(doc.field::<u32>("n")?.unwrap_or(0)),
            Ok(Outcome::Refused(_)) => Ok(0),
            Err(error) => {
                tracing::warn!(error = %error, limit = limit.class, "a rate limit could not be counted");
                Ok(0)
            }
        }
    }

    /// Takes one request back that was counted beside a check which it then did not pass.
    pub async fn take_back(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) {
        let (window, _) = window(limit, now);
        let undone = async {
            let key = keys::rate(limit.class, who, window);
            db.update(&Update::of(key).add("n", -1)?.when(Cond::ge("n", 1)?))
                .await
        };
        if let Err(error) = undone.await {
            tracing::warn!(error = %error, limit = limit.class, "a count could not be taken back");
        }
    }

    fn is_blocked(&self, name: &str, now: Timestamp) -> bool {
        let blocked = self
            .blocked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        blocked.get(name).is_some_and(|until| now < *until)
    }

    fn block(&self, name: String, until: i64, now: Timestamp) {
        let mut blocked = self
            .blocked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        blocked.retain(|_, until| now < *until);
        blocked.insert(name, Timestamp::from_second(until).unwrap_or(now));
    }
}

impl Limit {
    /// Judges what was counted.
    ///
    /// # Errors
    /// `RateLimited` beyond the limit.
    pub fn judge(self, counted: u32, now: Timestamp) -> Result<()> {
        if counted <= self.max {
            Ok(())
        } else {
            Err(refusal(self, now))
        }
    }
}

fn refusal(limit: Limit, now: Timestamp) -> Error {
    let (_, ends) = window(limit, now);
    Error::RateLimited {
        retry_after: Duration::from_secs(u64::try_from(ends - now.as_second()).unwrap_or(1)),
        limit: limit.max,
        window_s: limit.window_s,
    }
}

/// The window's number and its end, Unix seconds.
fn window(limit: Limit, now: Timestamp) -> (i64, i64) {
    let length = i64::from(limit.window_s);
    let window = now.as_second().div_euclid(length);
    (window, (window + 1) * length)
}
