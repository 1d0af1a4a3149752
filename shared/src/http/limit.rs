//! Rate limits of a request: counted while it is admitted, told in the headers of its answer, whatever that is
//! (draft-ietf-httpapi-ratelimit-headers-10).

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::caller::context;
use crate::app::App;
use crate::context::Context;
use crate::domain::audit::refusal::Refusal;
use crate::error::{Error, Result};
use crate::personal;
use crate::store::keys;
use crate::store::limits::{AUTH, Limit, Standing};

/// Where the caller stands within the limit that leaves least.
pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Every limit that was counted for this request.
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A limit, and where the caller stands, unless nobody counted.
type Judged = (Limit, Option<Standing>);

/// The limits that were counted for a request; clones share them.
#[derive(Clone, Default)]
pub(super) struct Standings(Arc<Mutex<Vec<Judged>>>);

impl Standings {
    fn add(&self, limit: Limit, standing: Option<Standing>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| known.class != limit.class);
        all.push((limit, standing));
    }

    /// Writes the headers.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut policy = String::new();
        for (limit, _) in all.iter() {
            let comma = if policy.is_empty() { "" } else { ", " };
            let (class, max, window) = (limit.class, limit.max, limit.window_s);
            let _ = write!(policy, "{comma}\"{class}\";q={max};w={window}");
        }
        let least = all
            .iter()
            .filter_map(|(_, s)| *s)
            .min_by_key(|s| (s.remaining, u64::MAX - s.resets_in));
        let told = least.map(|s| format!("\"{}\";r={};t={}", s.limit.class, s.remaining, s.resets_in));
        let values = [
            (RATE_LIMIT_POLICY, Some(policy).filter(|p| !p.is_empty())),
            (RATE_LIMIT, told),
        ];
        for (name, value) in values {
            if let Some(value) = value.and_then(|v| HeaderValue::from_str(&v).ok()) {
                headers.insert(name, value);
            }
        }
    }
}

/// Notes for the headers what became of a limit's count.
///
/// # Errors
/// Those of the count.
pub fn note(parts: &Parts, limit: Limit, judged: Result<Option<Standing>>) -> Result<()> {
    let standing = match &judged {
        Ok(standing) => *standing,
        Err(Error::RateLimited { retry_after, .. }) => Some(Standing {
            limit,
            remaining: 0,
            resets_in: retry_after.as_secs(),
        }),
        Err(_) => None,
    };
    if let Some(standings) = parts.extensions.get::<Standings>() {
        standings.add(limit, standing);
    }
    judged.map(drop)
}

/// Counts this request against a limit of `who`.
///
/// # Errors
/// `RateLimited`; `Unavailable` when the table does not answer and the limit is a closed one.
pub async fn hit(parts: &Parts, app: &App, limit: Limit, who: &str) -> Result<()> {
    let now = context(parts)?.now;
    note(parts, limit, app.limits().hit(app.db(), limit, who, now).await)
}

/// Counts this request against a limit that its sender must not learn of: no header tells, and whether there is room is
/// the answer.
///
/// # Errors
/// `Unavailable` when the table does not answer and the limit is a closed one.
pub async fn has_room(app: &App, cause: &Context, (limit, who): (Limit, &str)) -> Result<bool> {
    match app.limits().hit(app.db(), limit, who, cause.now).await {
        Ok(_) => Ok(true),
        Err(Error::RateLimited { .. }) => {
            let bound = (limit.max, limit.window_s);
            refused(app, cause, (limit.class, who), bound).await;
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Puts on record, in the platform's log and once a window, that somebody was refused who is not signed in.
async fn refused(app: &App, cause: &Context, (class, who): (&'static str, &str), bound: (u32, u32)) {
    if let Some(refusal) = Refusal::first(app, &format!("{class}#{who}"), bound, cause.now) {
        refusal.record_of_nobody(app, cause, class).await;
    }
}

/// Counts a request of somebody who is not signed in.
///
/// # Errors
/// Those of `hit`.
pub async fn hit_by_guest(parts: &Parts, app: &App, limit: Limit) -> Result<()> {
    let context = context(parts)?;
    let who = address(&context);
    let counted = hit(parts, app, limit, &who).await;
    if matches!(counted, Err(Error::RateLimited { .. })) {
        let bound = (limit.max, limit.window_s);
        Box::pin(refused(app, &context, (limit.class, &who), bound)).await;
    }
    counted
}

/// What a client's address is counted as: SHA-256, as addresses are personal, and of IPv6 a /64. Those without one count
/// together.
pub fn address(context: &Context) -> String {
    keys::digest(
        &context
            .ip
            .as_deref()
            .map_or_else(|| "unknown".to_owned(), personal::place),
    )
}

/// Somebody who posts to sign-in without being signed in, limited by address.
#[derive(Debug, Clone, Copy)]
pub struct Guest;

impl FromRequestParts<App> for Guest {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        super::origin::not_from_elsewhere(&parts.headers, app.config())?;
        hit_by_guest(parts, app, AUTH).await.map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::limits::{MESSAGES, USER};

    fn standing(limit: Limit, remaining: u32, resets_in: u64) -> Option<Standing> {
        Some(Standing {
            limit,
            remaining,
            resets_in,
        })
    }

    fn told(standings: &Standings) -> (Option<String>, Option<String>) {
        let mut headers = HeaderMap::new();
        standings.tell(&mut headers);
        let text = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
        (text(RATE_LIMIT_POLICY), text(RATE_LIMIT))
    }

    #[test]
    fn the_limit_that_leaves_least_is_named() {
        let standings = Standings::default();
        assert_eq!(told(&standings), (None, None));
        standings.add(USER, standing(USER, 7, 42));
        let agent = MESSAGES.of(100);
        standings.add(agent, standing(agent, 3, 1_800));
        assert_eq!(
            told(&standings),
            (
                Some("\"user\";q=100;w=60, \"agent\";q=100;w=3600".into()),
                Some("\"agent\";r=3;t=1800".into())
            )
        );
        standings.add(USER, standing(USER, 0, 12));
        assert_eq!(told(&standings).1.as_deref(), Some("\"user\";r=0;t=12"));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let counted = |ip: &str| {
            address(&Context {
                ip: Some(ip.into()),
                ..Context::system("test", jiff::Timestamp::UNIX_EPOCH)
            })
        };
        assert_eq!(counted("2001:db8:1:2::1"), counted("2001:db8:1:2:ffff::9"));
        assert_ne!(counted("2001:db8:1:2::1"), counted("2001:db8:1:3::1"));
        assert_ne!(counted("203.0.113.7"), counted("203.0.113.8"));
        assert_ne!(counted("::ffff:203.0.113.7"), counted("::ffff:203.0.113.8"));
    }

    #[test]
    fn a_limit_that_was_not_counted_has_a_policy_alone() {
        let standings = Standings::default();
        standings.add(USER, None);
        assert_eq!(told(&standings), (Some("\"user\";q=100;w=60".into()), None));
    }
}
