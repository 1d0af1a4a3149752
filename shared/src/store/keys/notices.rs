//! Notices: what a person is told, and marks that they were told. They lie with the person, so that an export finds them and a deletion removes them.

use jiff::Timestamp;

use super::people::user_pk;
use super::{Key, List};
use crate::ids::{EventId, NotificationId, UserId};

/// A notice of a person.
pub fn notice(user: UserId, notice: NotificationId) -> Key {
    Key::raw(user_pk(user), format!("NTC#{notice}"))
}

/// All notices of a person, oldest first.
pub fn notices(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "NTC#",
    }
}

/// That a person has been told of this event.
pub fn notice_told(user: UserId, event: EventId) -> Key {
    Key::raw(user_pk(user), format!("TOLD#{event}"))
}

/// That the owner of an account was told that so many percent of a period's grant are used.
pub fn quota_warned(account: UserId, period_start: Timestamp, percent: u32) -> Key {
    Key::raw(user_pk(account), format!("QUOTA#{period_start}#{percent:03}"))
}
