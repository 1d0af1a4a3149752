//! What every write leaves: idempotency, outbox, rate counters.

use super::people::user_pk;
use super::{Key, List, shard};
use crate::ids::{EventId, UserId};

/// The idempotency record of a caller's key, of which this is the hash; with the person, as the answers that it keeps may
/// be personal.
pub fn once(user: UserId, hash: &str) -> Key {
    Key::raw(user_pk(user), format!("ONCE#{hash}"))
}

/// A domain event that waits for its publisher.
pub fn outbox(event: EventId) -> Key {
    Key::raw(outbox_pk(shard(event.as_bytes())), event.to_string())
}

fn outbox_pk(shard: u8) -> String {
    format!("OUTBOX#{shard:02}")
}

/// One shard of the outbox, oldest first.
pub fn outbox_shard(shard: u8) -> List {
    List {
        pk: outbox_pk(shard),
        prefix: "evt_",
    }
}

/// A rate limit's counts of one caller; `who` is an id, or the hash of an address.
pub fn rate(class: &str, who: &str) -> Key {
    Key::raw(format!("RATE#{class}#{who}"), "RATE")
}

/// The public halves of the keys that sign access tokens.
pub fn jwks() -> Key {
    Key::raw("JWKS", "JWKS")
}

/// That a mail is being sent, or was.
pub fn mail(order: EventId) -> Key {
    Key::raw(format!("MAIL#{order}"), "MAIL")
}

/// An item that never exists: reading it shows that the table answers.
pub fn health() -> Key {
    Key::raw("HEALTH", "HEALTH")
}

/// The account whose ledger head this is, if it is one.
pub fn account_of_head(key: &Key) -> Option<UserId> {
    if key.sk != "HEAD" {
        return None;
    }
    key.pk.strip_prefix("LEDGER#")?.parse().ok()
}

/// Whether this is an outbox record.
pub fn is_outbox(key: &Key) -> bool {
    key.pk.starts_with("OUTBOX#")
}
