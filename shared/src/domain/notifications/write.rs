//! From the event to the row.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::notice::Notice;
use super::{KEPT, Notification};
use crate::app::App;
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{EventId, NotificationId, UserId};
use crate::store::keys::{self, Key};
use crate::store::record::OutboxRecord;
use crate::store::{Cond, Entity};

/// What a transaction says that must not tell again.
const ALREADY: &str = "already_told";

/// That a person was told of an event. An occasion that is staged again later has another time and so another row, but
/// the same event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    user_id: UserId,
    event_id: EventId,
    at: Timestamp,
}

impl Entity for Told {
    const KIND: &'static str = "notice-told";
    fn key(&self) -> Key {
        keys::notice_told(self.user_id, self.event_id)
    }
    fn ttl(&self) -> Option<i64> {
        Some((self.at + KEPT).as_second())
    }
}

/// Writes the row of a notice's event, once. Somebody who is gone, or wants no such notice here, gets none.
///
/// # Errors
/// Those of the table.
pub async fn write(app: &App, record: &OutboxRecord) -> Result<()> {
    let notice: Notice = serde_json::from_value(record.data.clone()).map_err(Error::internal)?;
    let user = app.db().get::<User>(&keys::user(notice.user)).await?;
    let wants = |user: &User| user.is_staying() && user.preferences.channels(notice.kind).in_app;
    if !user.as_ref().is_some_and(wants) {
        return Ok(());
    }
    let told = Told {
        user_id: notice.user,
        event_id: record.id,
        at: record.at,
    };
    let row = Notification {
        id: row_id(record),
        user_id: notice.user,
        kind: notice.kind,
        data: notice.data,
        created_at: record.at,
    };
    let cause = Context::system("notifications", app.clock().now());
    let already = || Error::Conflict {
        code: ALREADY,
        detail: "the notice is there already".into(),
    };
    let stays = Cond::item_exists().and(Cond::absent("deletingAt"));
    let tx = app.tx(&cause).check(keys::user(notice.user), stays, already);
    match tx
        .create_or(&told, already)?
        .create_or(&row, already)?
        .run()
        .await
    {
        Err(Error::Conflict { code: ALREADY, .. }) => Ok(()),
        done => done,
    }
}

/// The event's time before the event's own bytes: rows sort by time, and a repetition has the same.
fn row_id(record: &OutboxRecord) -> NotificationId {
    let millis = u64::try_from(record.at.as_millisecond()).unwrap_or(0);
    let mut id = *record.id.as_bytes();
    let time = millis.to_be_bytes();
    id.iter_mut()
        .zip(time.iter().skip(2))
        .for_each(|(to, from)| *to = *from);
    NotificationId::from_bytes(id)
}
