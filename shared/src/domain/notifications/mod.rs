//! Notices: what happened that a person should know. Whoever causes one stages it in the transaction of its cause; the
//! outbox then writes one row per notice, however often the event is published or the notice staged again.

mod notice;
mod read;
mod write;

pub use notice::{Notice, RAISED, event, stage};
pub use read::{NotificationView, list};
pub use write::write;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::users::preferences::NotificationType;
use crate::ids::{NotificationId, UserId};
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// How long a notice is kept.
pub const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// A notice as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Which; sorts by when it was raised.
    pub id: NotificationId,
    /// Who is told.
    pub user_id: UserId,
    /// Of what.
    #[serde(rename = "type")]
    pub kind: NotificationType,
    /// What there is to say about it.
    pub data: Value,
    /// When it was raised.
    pub created_at: Timestamp,
}

impl Entity for Notification {
    const KIND: &'static str = "notice";
    fn key(&self) -> Key {
        keys::notice(self.user_id, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some((self.created_at + KEPT).as_second())
    }
}
