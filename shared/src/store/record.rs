//! The records that `Tx` writes beside an effect: outbox. That of idempotency is in `once`, those of the audit log in
//! `audit`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::Entity;
use super::keys::{self, Key};
use crate::ids::EventId;

pub use super::audit::{Action, AuditRecord, Scope};

/// A domain event on its way out. The row is the promise: the table's stream only wakes the publisher, which removes
/// the row once the event is in its queue; a sweeper publishes rows that were overlooked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRecord {
    /// The event's id; consumers deduplicate by it.
    pub id: EventId,
    /// The event's type, `com.camarad.<noun>.<verb>` (CloudEvents 1.0 `type`).
    pub event_type: String,
    /// When it happened.
    pub at: Timestamp,
    /// Its data.
    pub data: Value,
}

impl Entity for OutboxRecord {
    const KIND: &'static str = "outbox";
    fn key(&self) -> Key {
        keys::outbox(self.id)
    }
}
