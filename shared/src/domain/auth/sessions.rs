//! Sessions: one per sign-in, thirty days, with a refresh token that changes at each use.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{SessionId, UserId};
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// One sign-in on one device, and the family of its refresh tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id, in every access token.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// When the person proved who they are.
    pub authenticated_at: Timestamp,
    /// The provider that said so.
    pub provider: String,
    /// SHA-256 of the live refresh token.
    pub refresh_hash: String,
    /// Counts rotations.
    pub generation: u64,
    /// When the refresh token changed last.
    pub rotated_at: Timestamp,
    /// When the session ends, whatever happens.
    pub expires_at: Timestamp,
    /// Set when it was ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Where it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

impl Session {
    /// Whether it may be used at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

impl Entity for Session {
    const KIND: &'static str = "session";
    fn key(&self) -> Key {
        keys::session(self.user_id, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}
