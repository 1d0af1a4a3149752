//! API keys: what programs sign in with, for as long as their owner lets them.
//!
//! A key is shown once; the table holds SHA-256 of its secret. Each request reads the key's item, together with what
//! else it needs, so that a deleted key is good for nothing from then on. The account counts its keys, so that the
//! limit holds under concurrency.

mod manage;
mod scope;
mod token;
mod uses;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub(super) use manage::end_all;
pub use manage::{
    ApiKeyView, CreatedApiKey, MAX_KEYS, MOST_DAYS, NewApiKey, USUAL_DAYS, create, delete, list,
};
pub use scope::KeyScope;
pub use token::{ApiKeyToken, PREFIX, Realm};
pub use uses::Uses;

use crate::ids::{ApiKeyId, UserId, WorkspaceId};
use crate::personal::PersonKey;
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose.
    pub user_id: UserId,
    /// What its owner calls it.
    pub name: String,
    /// What it may be used for.
    pub scopes: BTreeSet<KeyScope>,
    /// The one workspace that it is good in, if it is not good everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// SHA-256 of its secret.
    pub secret_hash: String,
    /// Prefix and last four characters.
    pub hint: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// When it was used last, to within five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// A copy of its owner's key (`audit::person`), which the context has that it was made in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_key: Option<PersonKey>,
}

impl ApiKey {
    /// Whether `token` is this key, and good at `now`.
    pub fn admits(&self, token: &ApiKeyToken, now: Timestamp) -> bool {
        token.is(&self.secret_hash) && now < self.expires_at
    }
}

// No time to live: an expired key counts until it is collected, and a removal by the engine would not be counted.
impl Entity for ApiKey {
    const KIND: &'static str = "api-key";
    fn key(&self) -> Key {
        keys::api_key(self.user_id, self.id)
    }
}
