//! When a key was used last: noted beside the read that every request makes anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::ApiKeyToken;
use crate::error::Result;
use crate::store::{Cond, Db, Update, keys};

/// How exactly `lastUsedAt` is kept.
const EVERY: SignedDuration = SignedDuration::from_mins(5);

/// How many keys are remembered; beyond it all are forgotten, which costs a write each.
const MANY: usize = 4_096;

/// What this function has noted in the last five minutes.
#[derive(Debug, Default)]
pub struct Uses(Mutex<HashMap<String, Timestamp>>);

impl Uses {
    /// Notes that `token` was used, unless that was done less than five minutes ago. Nothing waits for it, nothing
    /// depends on it, and the condition holds for the real key alone.
    pub async fn note(&self, db: &Db, token: &ApiKeyToken, now: Timestamp) {
        if !self.is_due(token.fingerprint(), now) {
            return;
        }
        if let Err(error) = write(db, token, now).await {
            tracing::warn!(error = %error, "the use of an API key could not be noted");
        }
    }

    fn is_due(&self, name: String, now: Timestamp) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(&name).is_some_and(|at| now.duration_since(*at) < EVERY) {
            return false;
        }
        if noted.len() >= MANY {
            noted.clear();
        }
        noted.insert(name, now);
        true
    }
}

async fn write(db: &Db, token: &ApiKeyToken, now: Timestamp) -> Result<()> {
    let before = now.checked_sub(EVERY).unwrap_or(now);
    let is_due = Cond::absent("lastUsedAt").or(Cond::le("lastUsedAt", before)?);
    let update = Update::of(keys::api_key(token.user, token.id))
        .set("lastUsedAt", now)?
        .when(Cond::eq("secretHash", token.hash())?.and(is_due));
    db.update(&update).await.map(drop)
}
