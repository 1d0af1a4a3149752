//! Rate limits per caller, in the table, so that all instances of all functions count together. Per-address limits
//! are the gateway's.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::{Error, Result};
use crate::store::keys;
use crate::store::{Db, Outcome, Update};

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
        let window = now.as_second().div_euclid(i64::from(limit.window_s));
        let ends = (window + 1) * i64::from(limit.window_s);
        let refusal = || Error::RateLimited {
            retry_after: Duration::from_secs(u64::try_from(ends - now.as_second()).unwrap_or(1)),
            limit: limit.max,
            window_s: limit.window_s,
        };
        let name = format!("{}#{who}", limit.class);
        if self.is_blocked(&name, now) {
            return Err(refusal());
        }
        let update = Update::of(keys::rate(limit.class, who, window))
            .add("n", 1)?
            .set("ttl", ends + 3_600)?;
        let counted = match db.update(&update).await {
            Ok(Outcome::Applied(doc)) => doc.field::<u32>("n")?.unwrap_or(0),
            Ok(Outcome::Refused(_)) => 0,
            Err(error) => {
                tracing::warn!(error = %error, limit = limit.class, "a rate limit could not be counted");
                return Ok(());
            }
        };
        if counted <= limit.max {
            return Ok(());
        }
        self.block(name, ends, now);
        Err(refusal())
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
