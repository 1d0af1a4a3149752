//! `api.rate_limited`: that somebody asked too often, once per person and window.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
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

/// Records in the person's own log that they were refused for asking too often: `limit` requests in `window_s` seconds.
/// All instances write the same item, so that one record is left. The refusal stands whether or not that succeeds.
pub async fn rate_limited(app: &App, cause: &Context, (limit, window_s): (u32, u32)) {
    if let Err(error) = record(app, cause, (limit, window_s)).await {
        tracing::warn!(request.id = cause.request_id, error = %error, "a refusal could not be recorded");
    }
}

async fn record(app: &App, cause: &Context, (limit, window_s): (u32, u32)) -> Result<()> {
    let Some(user) = cause.actor.person() else {
        return Ok(());
    };
    let length = i64::from(window_s.max(1));
    let window = cause.now.as_second().div_euclid(length);
    let moment = |second| Timestamp::from_second(second).map_err(Error::internal);
    let (begins, ends) = (moment(window * length)?, moment((window + 1) * length)?);
    let name = Sha256::digest(format!("rate-limited {user} {limit} {window_s} {window}"));
    let mut id = [0; 16];
    id.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    if !app.refusals().first(id, ends, cause.now) {
        return Ok(());
    }
    let detail = json!({"limit": limit, "windowSeconds": window_s});
    let what = (Action::ApiRateLimited, Scope::Account(user));
    // The time of the window, so that the record's key is the same in all instances.
    let cause = Context {
        now: begins,
        ..cause.clone()
    };
    let record = AuditRecord::new(AuditId::from_bytes(id), &cause, what, user.to_string(), detail)?;
    app.db().put(&record, Some(&Cond::item_absent())).await?;
    Ok(())
}
