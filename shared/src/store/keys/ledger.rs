//! Money: the ledger, holds and bills of AI calls.

use jiff::Timestamp;

use super::{Index, Key, List, shard, sortable};
use crate::ids::{CallId, UserId};

/// The head of an account's ledger; alone in its partition, as it is the hot item.
pub fn ledger_head(account: UserId) -> Key {
    Key::raw(format!("LEDGER#{account}"), "HEAD")
}

/// The place of a ledger's head in the second index, by which the daily flush finds all heads. It never changes, and
/// that index projects keys only, so a movement costs nothing there.
pub fn ledger_head_place(account: UserId) -> Index {
    Index {
        pk: ledger_heads(shard(account.as_bytes())),
        sk: account.to_string(),
    }
}

/// One shard of the ledgers' heads in the second index.
pub fn ledger_heads(shard: u8) -> String {
    format!("HEADS#{shard:02}")
}

/// A ledger entry by its number.
pub fn ledger_entry(account: UserId, seq: u64) -> Key {
    Key::raw(format!("ENTRIES#{account}"), format!("E#{seq:012}"))
}

/// All ledger entries of an account that have left the head, oldest first.
pub fn ledger_entries(account: UserId) -> List {
    List {
        pk: format!("ENTRIES#{account}"),
        prefix: "E#",
    }
}

/// The number of the entry with this sort key, if it is one's.
pub fn entry_number(sort_key: &str) -> Option<u64> {
    sort_key
        .strip_prefix("E#")
        .filter(|digits| digits.len() == 12)?
        .parse()
        .ok()
}

/// The record that an operation of a ledger has happened, after it left the head.
pub fn ledger_operation(account: UserId, operation: &str) -> Key {
    Key::raw(format!("OP#{account}#{operation}"), "OP")
}

/// That a key of a service's has charged.
pub fn ledger_debit(by: UserId, hash: &str) -> Key {
    Key::raw(format!("DEBIT#{by}#{hash}"), "DEBIT")
}

/// The hold of an AI call.
pub fn hold(call: CallId) -> Key {
    Key::raw(format!("CALL#{call}"), "HOLD")
}

/// Open holds by the time they expire, in one of `SHARDS` partitions of the first index.
pub fn hold_expiry(call: CallId, expires_at: Timestamp) -> Index {
    Index {
        pk: open_holds(shard(call.as_bytes())),
        sk: format!("{}#{call}", sortable(expires_at)),
    }
}

/// One shard of the open holds in the first index.
pub fn open_holds(shard: u8) -> String {
    format!("HOLDS#{shard:02}")
}

/// The upper end of the open holds that expire before `at`.
pub fn holds_until(at: Timestamp) -> String {
    sortable(at)
}

/// What an AI call is to be charged, and its receipt.
pub fn bill(call: CallId) -> Key {
    Key::raw(format!("CALL#{call}"), "BILL")
}

/// What reminds of the cbT of an account that expires at that moment.
pub fn ledger_lot(account: UserId, expires_at: Timestamp) -> Key {
    Key::raw(format!("LOTS#{account}"), format!("LOT#{}", sortable(expires_at)))
}

/// Lots by the time they expire, in one of `SHARDS` partitions of the first index.
pub fn lot_expiry(account: UserId, expires_at: Timestamp) -> Index {
    Index {
        pk: expiring_lots(shard(account.as_bytes())),
        sk: format!("{}#{account}", sortable(expires_at)),
    }
}

/// One shard of the lots in the first index.
pub fn expiring_lots(shard: u8) -> String {
    format!("EXPIRING#{shard:02}")
}

/// The upper end of the lots that have expired at `at`.
pub fn lots_until(at: Timestamp) -> String {
    // Past every account of that very moment.
    format!("{}$", sortable(at))
}
