//! The keys of people: made with the account, copied into sessions and API keys, destroyed when the account is deleted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::personal::PersonKey;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Entity};

/// The key of a person. Deleting this item, and the person's sessions and API keys, makes the personal fields of all
/// their audit records unreadable for good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyOfPerson {
    /// Whose.
    pub user_id: UserId,
    /// The key.
    pub key: PersonKey,
    /// When it was made.
    pub created_at: Timestamp,
}

impl KeyOfPerson {
    /// A new one; to be created with the account.
    pub fn fresh(user: UserId, now: Timestamp) -> Self {
        Self {
            user_id: user,
            key: PersonKey::fresh(),
            created_at: now,
        }
    }
}

impl Entity for KeyOfPerson {
    const KIND: &'static str = "personKey";
    fn key(&self) -> Key {
        keys::person_key(self.user_id)
    }
}

/// A person's key; made now for an account that is older than these keys.
///
/// # Errors
/// When the table does not answer.
pub async fn key_of(app: &App, user: UserId, now: Timestamp) -> Result<PersonKey> {
    if let Some(found) = app.db().get::<KeyOfPerson>(&keys::person_key(user)).await? {
        return Ok(found.key);
    }
    let made = KeyOfPerson::fresh(user, now);
    if app.db().put(&made, Some(&Cond::item_absent())).await? {
        return Ok(made.key);
    }
    let other = app.db().get::<KeyOfPerson>(&keys::person_key(user)).await?;
    let other = other.ok_or_else(|| Error::Unavailable("a person's key came and went".into()))?;
    Ok(other.key)
}
