//! `api.rate_limited`: that somebody asked too often, once per caller and window.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::context::Context;
use crate::error::Result;
use crate::ids::AuditId;
use crate::store::Cond;
use crate::store::record::{Action, AuditRecord, Scope};

/// Whose refusals this instance has seen recorded, each until its window ends: a flood of refusals costs one write.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<[u8; 16], Timestamp>>);

impl Seen {
    /// Whether this is the first one; it is remembered.
    fn first(&self, id: [u8; 16], until: Timestamp, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, end| now < *end);
        seen.insert(id, until).is_none()
    }
}

/// A window in which a caller was refused, told by whoever asks first.
#[derive(Debug)]
pub struct Refusal {
    id: [u8; 16],
    begins: Timestamp,
    limit: u32,
    window_s: u32,
}

impl Refusal {
    /// The window in which `who`, as limits name callers, was refused more than `limit` requests in `window_s` seconds;
    /// `None` when this instance has asked before.
    pub fn first(app: &App, who: &str, (limit, window_s): (u32, u32), now: Timestamp) -> Option<Self> {
        let length = i64::from(window_s.max(1));
        let window = now.as_second().div_euclid(length);
        let begins = Timestamp::from_second(window * length).ok()?;
        let ends = Timestamp::from_second((window + 1) * length).ok()?;
        let name = Sha256::digest(format!("rate-limited {who} {limit} {window_s} {window}"));
        let mut id = [0; 16];
        id.iter_mut().zip(name).for_each(|(to, from)| *to = from);
        let first = app.refusals().first(id, ends, now);
        first.then_some(Self {
            id,
            begins,
            limit,
            window_s,
        })
    }

    /// Records it in the log of the person who is the cause, or whose program is. All instances write the same item, so
    /// that one record is left. The refusal stands whether or not that succeeds.
    pub async fn record(&self, app: &App, cause: &Context) {
        if let Err(error) = self.write(app, cause).await {
            tracing::warn!(request.id = cause.request_id, error = %error, "a refusal could not be recorded");
        }
    }

    /// Records it in the platform's log, of somebody who is not known; `class` is the limit's name.
    pub async fn record_of_nobody(&self, app: &App, cause: &Context, class: &str) {
        let what = (Scope::Platform, class.to_owned());
        if let Err(error) = self.put(app, cause, what).await {
            tracing::warn!(request.id = cause.request_id, error = %error, "a refusal could not be recorded");
        }
    }

    async fn write(&self, app: &App, cause: &Context) -> Result<()> {
        match cause.actor.person() {
            Some(user) => {
                self.put(app, cause, (Scope::Account(user), user.to_string()))
                    .await
            }
            None => Ok(()),
        }
    }

    async fn put(&self, app: &App, cause: &Context, (scope, resource): (Scope, String)) -> Result<()> {
        let detail = json!({"limit": self.limit, "windowSeconds": self.window_s});
        let what = (Action::ApiRateLimited, scope);
        // The time of the window, so that the record's key is the same in all instances.
        let cause = Context {
            now: self.begins,
            ..cause.clone()
        };
        let record = AuditRecord::new(AuditId::from_bytes(self.id), &cause, what, resource, detail)?;
        app.db().put(&record, Some(&Cond::item_absent())).await?;
        Ok(())
    }
}
