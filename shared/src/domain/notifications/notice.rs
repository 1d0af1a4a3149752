//! A notice on its way to its row.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::domain::users::preferences::NotificationType;
use crate::error::{Error, Result};
use crate::ids::{EventId, UserId};
use crate::store::Tx;
use crate::store::record::OutboxRecord;

/// The event that a person is to be told of something; its data is `Notice`.
pub const RAISED: &str = "com.camarad.notice.raised";

/// Something that a person should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Who is told.
    pub user: UserId,
    /// Of what.
    pub kind: NotificationType,
    /// What there is to say about it; the person reads it as JSON, so its names are the API's: camelCase, cbT and money as
    /// decimal strings.
    pub data: Value,
    /// What tells this occasion from all others of its kind for this person (an invoice's id, a period's start): the same
    /// occasion is told once, within ninety days.
    pub dedupe: String,
}

impl Notice {
    /// The id of its event: the same for the same person, type and occasion.
    pub(super) fn event_id(&self) -> EventId {
        let mut hash = Sha256::new();
        // Neither an id nor a type has a line feed.
        let kind = serde_json::json!(self.kind);
        hash.update(format!("camarad/notice\n{}\n{kind}\n", self.user));
        hash.update(&self.dedupe);
        let hash = hash.finalize();
        let mut id = [0; 16];
        id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        EventId::from_bytes(id)
    }
}

/// Stages a notice: the person will be told once the transaction has committed, and once, however often the same
/// occasion is staged.
///
/// # Errors
/// `Internal` when the notice cannot be stored.
pub fn stage<'a>(tx: Tx<'a>, notice: &Notice) -> Result<Tx<'a>> {
    tx.event_as(notice.event_id(), RAISED, notice)
}

/// The event that a transaction of this moment stages, for who publishes it at once instead of waiting for the stream.
///
/// # Errors
/// `Internal` when the notice cannot be stored.
pub fn event(notice: &Notice, at: Timestamp) -> Result<OutboxRecord> {
    Ok(OutboxRecord {
        id: notice.event_id(),
        event_type: RAISED.into(),
        at,
        data: serde_json::to_value(notice).map_err(Error::internal)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use serde_json::json;

    #[test]
    fn an_occasion_has_one_id_whatever_is_said_about_it() {
        let clock = ManualClock::at_unix(1_790_000_000);
        let notice = |user, kind, dedupe: &str, data| Notice {
            user,
            kind,
            data,
            dedupe: dedupe.into(),
        };
        let (ann, bob) = (UserId::new(&clock), UserId::new(&clock));
        let (failed, renewed) = (
            NotificationType::PaymentFailed,
            NotificationType::SubscriptionRenewed,
        );
        let first = notice(ann, failed, "in_1", json!({"a": 1})).event_id();
        assert_eq!(first, notice(ann, failed, "in_1", json!({"a": 2})).event_id());
        for other in [
            notice(bob, failed, "in_1", json!({})),
            notice(ann, renewed, "in_1", json!({})),
            notice(ann, failed, "in_2", json!({})),
        ] {
            assert_ne!(first, other.event_id());
        }
    }
}
