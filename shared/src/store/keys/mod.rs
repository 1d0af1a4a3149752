//! Every key of the table, and nothing else makes one. `access.rs` lists what is asked of them.
//!
//! Personal values (e-mail addresses, provider subjects) appear in keys as SHA-256 only: keys end up in logs of
//! throttling, in stream records and in exports of table statistics.

mod audit;
mod billing;
mod ledger;
mod notices;
mod people;
mod records;
mod usage;
mod workspaces;

pub use audit::*;
pub use billing::*;
pub use ledger::*;
pub use notices::*;
pub use people::*;
pub use records::*;
pub use usage::*;
pub use workspaces::*;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Partition and sort key of one item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pk: String,
    sk: String,
}

impl Key {
    pub(crate) fn raw(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            sk: sk.into(),
        }
    }

    /// The partition key.
    pub fn pk(&self) -> &str {
        &self.pk
    }

    /// The sort key.
    pub fn sk(&self) -> &str {
        &self.sk
    }
}

/// An item's place in an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub(super) pk: String,
    pub(super) sk: String,
}

impl Index {
    /// The index's partition key.
    pub fn pk(&self) -> &str {
        &self.pk
    }

    /// The index's sort key.
    pub fn sk(&self) -> &str {
        &self.sk
    }
}

/// A list: the items of one partition whose sort keys start alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub(super) pk: String,
    pub(super) prefix: &'static str,
}

impl List {
    /// The partition key.
    pub fn pk(&self) -> &str {
        &self.pk
    }

    /// How the sort keys start.
    pub fn prefix(&self) -> &str {
        self.prefix
    }
}

/// SHA-256 as base64url, for personal or secret values in keys.
pub fn digest(value: &str) -> String {
    data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(value.as_bytes()))
}

/// How many partitions a time-ordered or hot collection is spread over: each takes 1,000 WCU.
pub const SHARDS: u8 = 16;

fn shard(id: &[u8; 16]) -> u8 {
    // The last byte of a UUIDv7 is random.
    id[15] % SHARDS
}

/// RFC 3339 with exactly three decimals, so that text order is time order.
fn sortable(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_in_keys_sort_as_text() {
        let at = |ms| sortable(Timestamp::from_millisecond(ms).unwrap_or_default());
        assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
        assert!(at(1_700_000_000_999) < at(1_700_000_001_000));
        assert_eq!(at(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
    }

    #[test]
    fn personal_values_do_not_show_in_keys() {
        let key = format!("{:?}{:?}", email("ann@example.com"), identity("google", "108"));
        assert!(!key.contains("ann") && !key.contains("108#"), "{key}");
    }
}
