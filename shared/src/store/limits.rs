//! Rate limits, counted in the table, so that all instances of all functions count together. What an address may ask of
//! the whole API is the gateway's.
//!
//! A window slides: what was admitted in the running window counts whole, what was admitted in the one before counts by
//! the share of it that is less than a window ago. So a burst across a window's edge admits no more than one within it.
//! Both counts lie in one item, as attributes named by their window's number: one ADD counts and tells both.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::db::{Db, Outcome};
use super::entity::Doc;
use super::expr::{Cond, Update};
use super::keys;
use crate::error::{Error, Result};

/// What a limit does when the table does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// Lets the request through: the limit protects capacity, and the request itself will meet the same table.
    Admit,
    /// Refuses with 503: the limit protects money, or a secret from being guessed.
    Refuse,
}

/// A limit: so many requests in a window that slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Its name in keys and in the RateLimit headers: lower-case letters and hyphens.
    pub class: &'static str,
    /// Requests per window, at least one.
    pub max: u32,
    /// Seconds in a window.
    pub window_s: u32,
    /// What happens when it cannot be counted.
    pub unreachable: Unreachable,
}

/// Every authenticated request of a person.
pub const USER: Limit = Limit {
    class: "user",
    max: 100,
    window_s: 60,
    unreachable: Unreachable::Admit,
};

/// Every request with an API key, by key.
pub const KEY: Limit = Limit { class: "key", ..USER };

/// What an address may post to sign-in without being signed in.
pub const AUTH: Limit = Limit {
    class: "auth",
    unreachable: Unreachable::Refuse,
    ..USER
};

/// Links to sign in with that one network address asks for.
pub const MAILS_BY_ASKER: Limit = Limit {
    class: "mail-by",
    max: 20,
    window_s: 3_600,
    unreachable: Unreachable::Refuse,
};

/// Those of them that go to one mailbox: so that somebody else's asking takes nothing from what its owner may ask for.
pub const MAILS_BY_ASKER_TO_ONE: Limit = Limit {
    class: "mail-pair",
    max: 5,
    ..MAILS_BY_ASKER
};

/// Links to one mailbox, whoever asks: so that nobody's is flooded from many addresses.
pub const MAILS_TO_ONE: Limit = Limit {
    class: "mail-to",
    max: 30,
    ..MAILS_BY_ASKER
};

/// Links that one person gets to prove once more who they are. A count of its own, as whoever is not signed in cannot
/// move it.
pub const MAILS_TO_PROVE: Limit = Limit {
    class: "mail-again",
    max: 5,
    ..MAILS_BY_ASKER
};

/// Messages to an agent: they cost money. The maximum is the plan's of whoever pays, which a call's admission learns.
pub const MESSAGES: Limit = Limit {
    class: "agent",
    max: u32::MAX,
    window_s: 3_600,
    unreachable: Unreachable::Refuse,
};

/// How long the table has to count. Shorter than a request's own patience: a limit that admits must not hold it up.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many windows back a count removes what is left in the item. Callers with longer pauses leave more, see `tidy`.
const SWEPT: i64 = 16;

/// How many callers are remembered as refused.
const REMEMBERED: usize = 10_000;

/// Where a caller stands within a limit, the counted request included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The limit.
    pub limit: Limit,
    /// How many requests are left.
    pub remaining: u32,
    /// Seconds until there are more again: the end of the window, or when a refused request may be repeated.
    pub resets_in: u64,
}

/// What was counted of a caller, the counted request included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// In the running window.
    pub current: u32,
    /// In the one before.
    pub previous: u32,
    /// When.
    at: Timestamp,
}

/// Counts requests. Callers over their limit are remembered here until there is room again, so that a flood costs the
/// table nothing.
#[derive(Debug, Default)]
pub struct Limits {
    refused: Mutex<HashMap<String, Timestamp>>,
}

impl Count {
    /// So many at this moment.
    pub fn new(current: u32, previous: u32, at: Timestamp) -> Self {
        Self {
            current,
            previous,
            at,
        }
    }
}

impl Limit {
    /// The same limit with another maximum.
    pub fn of(self, max: u32) -> Self {
        Self { max, ..self }
    }

    /// The same limit, for what moves money or guards a secret.
    pub fn closed(self) -> Self {
        Self {
            unreachable: Unreachable::Refuse,
            ..self
        }
    }

    /// Judges what was counted.
    ///
    /// # Errors
    /// `RateLimited` beyond the limit.
    pub fn judge(self, count: Count) -> Result<Standing> {
        let span = Span::at(self, count.at);
        let (max, current) = (u64::from(self.max), u64::from(count.current));
        // In request-milliseconds, so that nothing is rounded.
        let room = max * span.length;
        let used = current * span.length + u64::from(count.previous) * span.left;
        if let Some(free) = room.checked_sub(used) {
            return Ok(Standing {
                limit: self,
                remaining: u32::try_from(free / span.length).unwrap_or(u32::MAX),
                resets_in: span.left.div_ceil(1_000),
            });
        }
        Err(self.refusal(span.wait(self, count)))
    }

    fn refusal(self, wait: Duration) -> Error {
        Error::RateLimited {
            retry_after: Duration::from_secs(u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(1)),
            limit: self.max,
            window_s: self.window_s,
        }
    }

    fn number(self, at: Timestamp) -> i64 {
        at.as_second().div_euclid(i64::from(self.window_s).max(1))
    }
}

/// A moment's place in its window; milliseconds.
struct Span {
    length: u64,
    left: u64,
}

impl Span {
    fn at(limit: Limit, at: Timestamp) -> Self {
        let length = u64::from(limit.window_s).max(1) * 1_000;
        let since = at
            .as_millisecond()
            .rem_euclid(i64::try_from(length).unwrap_or(i64::MAX));
        Self {
            length,
            left: length - u64::try_from(since).unwrap_or(0),
        }
    }

    /// How many were admitted in this window before a refused request. There was never room for more than now; the rest
    /// are requests that are about to be taken back.
    fn admitted(&self, limit: Limit, count: Count) -> u64 {
        let room = u64::from(limit.max) * self.length;
        let free = room.saturating_sub(u64::from(count.previous) * self.left);
        u64::from(count.current).saturating_sub(1).min(free / self.length)
    }

    /// How long until a refused request would be admitted, if nobody else asks meanwhile.
    fn wait(&self, limit: Limit, count: Count) -> Duration {
        let max = u64::from(limit.max);
        let admitted = self.admitted(limit, count);
        let fits = |others: u64, previous: u64| {
            let free = max.saturating_sub(others + 1) * self.length;
            free.checked_div(previous)
                .map_or(self.length, |left| left.min(self.length))
        };
        let wait = if admitted < max {
            // In this window, when enough of the one before has slid out; its end at the latest.
            self.left
                .saturating_sub(fits(admitted, u64::from(count.previous)))
        } else {
            // In the next one, where this one is the one before.
            self.left + (self.length - fits(0, admitted))
        };
        Duration::from_millis(wait.max(1))
    }
}

/// The attribute of a window.
fn attribute(window: i64) -> String {
    format!("n{window}")
}

impl Limits {
    /// Counts one request of `who`; `None` when the table did not count it and the limit lets it through all the same.
    ///
    /// # Errors
    /// `RateLimited` beyond the limit; the request is then not counted. `Unavailable` when the table does not answer and
    /// the limit is a closed one.
    pub async fn hit(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) -> Result<Option<Standing>> {
        let name = format!("{}#{who}", limit.class);
        if let Some(until) = self.refused_until(&name, now) {
            return Err(limit.refusal(Duration::try_from(until.duration_since(now)).unwrap_or_default()));
        }
        let Some(count) = self.count(db, limit, who, now).await? else {
            return Ok(None);
        };
        let judged = limit.judge(count);
        if judged.is_err() {
            let wait = Span::at(limit, now).wait(limit, count);
            self.remember(name, now, wait);
            self.take_back(db, limit, who, now).await;
        }
        judged.map(Some)
    }

    /// Counts one request without judging it, for a limit whose maximum is only known once other reads are back. Nobody
    /// is remembered as refused, as one window may be held against several maxima: whoever judges takes back.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer and the limit is a closed one; `Internal` when the counter is none.
    pub async fn count(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) -> Result<Option<Count>> {
        let window = limit.number(now);
        let length = i64::from(limit.window_s);
        let mut update = Update::of(keys::rate(limit.class, who))
            .add(&attribute(window), 1)?
            .set("ttl", (window + 2) * length + 3_600)?;
        for gone in (window - SWEPT)..(window - 1) {
            update = update.remove(attribute(gone).as_str());
        }
        let counted = match tokio::time::timeout(PATIENCE, db.update(&update)).await {
            Ok(Ok(Outcome::Applied(doc))) => doc,
            Ok(Ok(Outcome::Refused(_))) => return Err(Error::internal("a count has no condition")),
            Ok(Err(error)) => return unreachable(limit, error),
            Err(_) => return unreachable(limit, Error::Unavailable("the table took too long".into())),
        };
        let number = |window| counted.field::<u32>(&attribute(window));
        let count = Count {
            current: number(window)?.unwrap_or(0),
            previous: number(window - 1)?.unwrap_or(0),
            at: now,
        };
        tidy(db, limit, who, window, &counted).await;
        Ok(Some(count))
    }

    /// Takes one request back that was counted and then not admitted.
    pub async fn take_back(&self, db: &Db, limit: Limit, who: &str, now: Timestamp) {
        let counter = attribute(limit.number(now));
        let undone = async {
            let update = Update::of(keys::rate(limit.class, who)).add(&counter, -1)?;
            db.update(&update.when(Cond::ge(counter.as_str(), 1)?)).await
        };
        if let Err(error) = undone.await {
            tracing::warn!(error = %error, limit = limit.class, "a count could not be taken back");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused_until(&self, name: &str, now: Timestamp) -> Option<Timestamp> {
        self.lock().get(name).copied().filter(|until| now < *until)
    }

    fn remember(&self, name: String, now: Timestamp, wait: Duration) {
        let Ok(until) = now.checked_add(wait) else {
            return;
        };
        let mut refused = self.lock();
        if refused.len() >= REMEMBERED {
            refused.retain(|_, until| now < *until);
        }
        if refused.len() < REMEMBERED {
            refused.insert(name, until);
        }
    }
}

fn unreachable(limit: Limit, error: Error) -> Result<Option<Count>> {
    tracing::warn!(error = %error, limit = limit.class, "a rate limit could not be counted");
    match limit.unreachable {
        Unreachable::Admit => Ok(None),
        Unreachable::Refuse => Err(Error::Unavailable(Box::new(error))),
    }
}

/// A caller who pauses longer than `SWEPT` windows leaves an attribute each time; they go before they weigh anything.
async fn tidy(db: &Db, limit: Limit, who: &str, window: i64, counted: &Doc) {
    let old = |name: &&String| {
        let number = name.strip_prefix('n').and_then(|n| n.parse::<i64>().ok());
        number.is_some_and(|n| n < window - SWEPT)
    };
    let stale: Vec<_> = counted.0.keys().filter(old).collect();
    if stale.len() <= usize::try_from(SWEPT).unwrap_or(usize::MAX) {
        return;
    }
    let start = Update::of(keys::rate(limit.class, who));
    let update = stale.into_iter().fold(start, |u, name| u.remove(name.as_str()));
    if let Err(error) = db.update(&update).await {
        tracing::warn!(error = %error, limit = limit.class, "old counts could not be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Limit = Limit {
        class: "test",
        max: 10,
        window_s: 60,
        unreachable: Unreachable::Admit,
    };

    /// `ms` after the beginning of a window.
    fn count(current: u32, previous: u32, ms: i64) -> Count {
        Count {
            current,
            previous,
            at: Timestamp::from_millisecond(1_700_000_040_000 + ms).unwrap(),
        }
    }

    fn wait(count: Count) -> u64 {
        match TEN.judge(count) {
            Err(Error::RateLimited { retry_after, .. }) => retry_after.as_secs(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_window_begins_where_it_is_said_to() {
        assert_eq!(count(0, 0, 0).at.as_second() % 60, 0);
    }

    #[test]
    fn what_was_admitted_a_moment_ago_counts_across_the_edge() {
        assert!(TEN.judge(count(10, 0, 59_999)).is_ok());
        assert!(TEN.judge(count(11, 0, 59_999)).is_err());
        assert!(TEN.judge(count(1, 10, 0)).is_err());
        assert!(TEN.judge(count(1, 10, 5_999)).is_err());
        assert!(TEN.judge(count(1, 10, 6_000)).is_ok());
        assert!(TEN.judge(count(6, 10, 30_000)).is_err());
        assert_eq!(TEN.judge(count(4, 10, 30_000)).unwrap().remaining, 1);
        assert_eq!(TEN.judge(count(1, 0, 0)).unwrap().remaining, 9);
        assert_eq!(TEN.judge(count(1, 0, 45_000)).unwrap().resets_in, 15);
    }

    #[test]
    fn whoever_waits_as_told_is_admitted_and_not_much_earlier() {
        for (current, previous, ms) in [
            (11, 0, 59_000),
            (11, 0, 0),
            (1, 10, 0),
            (3, 10, 2_000),
            (40, 3, 30_000),
            (1, 9, 1),
            (8, 7, 12_345),
        ] {
            let refused = count(current, previous, ms);
            let Err(Error::RateLimited { .. }) = TEN.judge(refused) else {
                continue;
            };
            let span = Span::at(TEN, refused.at);
            let exact = i64::try_from(span.wait(TEN, refused).as_millis()).unwrap();
            let admitted = u32::try_from(span.admitted(TEN, refused)).unwrap();
            let later = |wait: i64| {
                let to = ms + wait;
                let again = if to >= 60_000 {
                    count(1, admitted, to)
                } else {
                    count(admitted + 1, previous, to)
                };
                TEN.judge(again).is_ok()
            };
            assert!(later(exact + 1), "{refused:?} after {exact}");
            assert!(!later(exact - 2), "{refused:?} before {exact}");
            assert!(wait(refused) * 1_000 >= u64::try_from(exact).unwrap());
        }
    }

    #[test]
    fn a_limit_without_end_admits() {
        let endless = TEN.of(u32::MAX);
        assert!(endless.judge(count(u32::MAX - 1, 0, 0)).is_ok());
    }
}
