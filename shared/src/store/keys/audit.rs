//! Audit: records, the seals that chain them, chain heads, personal keys.

use jiff::Timestamp;

use super::{Index, Key, List, SHARDS, shard, sortable};
use crate::ids::{AuditId, UserId};

/// The scope of Camarad's own log. It has many writers (every failed sign-in, by anybody), so its records lie in
/// `SHARDS` partitions.
pub const PLATFORM: &str = "platform";

const AUDIT: &str = "AUDIT#";
const HEAD: &str = "HEAD";

fn audit_partition(scope: &str, id: AuditId) -> String {
    if scope == PLATFORM {
        platform_partition(shard(id.as_bytes()))
    } else {
        format!("{AUDIT}{scope}")
    }
}

fn platform_partition(shard: u8) -> String {
    format!("{AUDIT}{PLATFORM}#{shard:02}")
}

/// What comes after the partition: the record's time and id, which order a log.
pub fn audit_place(at: Timestamp, id: AuditId) -> String {
    format!("{}#{id}", sortable(at))
}

/// Time and id of a record by its place, if it is one.
pub fn audit_of_place(place: &str) -> Option<(Timestamp, AuditId)> {
    let (at, id) = place.split_once('#')?;
    let (at, id) = (at.parse().ok()?, id.parse().ok()?);
    (audit_place(at, id) == place).then_some((at, id))
}

/// The places between which all records of these times lie, both included; the first and the last of all without one.
pub fn audit_span(from: Option<Timestamp>, to: Option<Timestamp>) -> (String, String) {
    (
        from.map_or_else(|| "0".to_owned(), sortable),
        // `$` comes right after `#`.
        to.map_or_else(|| "~".to_owned(), |to| format!("{}$", sortable(to))),
    )
}

/// An audit record; `scope` is a workspace's, a user's or the platform's chain.
pub fn audit(scope: &str, at: Timestamp, id: AuditId) -> Key {
    Key::raw(audit_partition(scope, id), audit_place(at, id))
}

/// All audit records of a workspace or a person, oldest first.
pub fn audits(scope: &str) -> List {
    List {
        pk: format!("{AUDIT}{scope}"),
        prefix: "",
    }
}

/// One shard of the platform's records, oldest first.
pub fn platform_audits(shard: u8) -> List {
    List {
        pk: platform_partition(shard),
        prefix: "",
    }
}

/// The lists that together hold all records of a scope.
pub fn audit_parts(scope: &str) -> Vec<List> {
    if scope == PLATFORM {
        (0..SHARDS).map(platform_audits).collect()
    } else {
        vec![audits(scope)]
    }
}

/// The scope whose record this is, if it is one.
pub fn scope_of_audit(key: &Key) -> Option<&str> {
    let scope = key.pk.strip_prefix(AUDIT)?;
    Some(scope.split_once('#').map_or(scope, |(scope, _)| scope))
}

/// The seal with this number in a scope's chain.
pub fn seal(scope: &str, seq: u64) -> Key {
    Key::raw(format!("SEAL#{scope}"), seal_place(seq))
}

fn seal_place(seq: u64) -> String {
    format!("S#{seq:012}")
}

/// All seals of a chain, in its order.
pub fn seals(scope: &str) -> List {
    List {
        pk: format!("SEAL#{scope}"),
        prefix: "S#",
    }
}

/// The sort keys between which the seals from number `first` on lie, both included.
pub fn seals_from(first: u64) -> (String, String) {
    (seal_place(first), "S#~".to_owned())
}

/// The mark that a record is in its chain.
pub fn sealed(scope: &str, at: Timestamp, id: AuditId) -> Key {
    let partition = audit_partition(scope, id);
    let partition = partition.strip_prefix(AUDIT).unwrap_or(scope);
    Key::raw(format!("SEALED#{partition}"), audit_place(at, id))
}

/// The head of a scope's chain.
pub fn chain(scope: &str) -> Key {
    Key::raw(format!("CHAIN#{scope}"), HEAD)
}

/// A chain head's place in the second index, by which all chains are found. It never changes, and that index projects
/// keys only.
pub fn chain_place(scope: &str) -> Index {
    // The last characters of an id are random.
    let sum = scope.bytes().fold(0_u8, u8::wrapping_add);
    Index {
        pk: chains(sum % SHARDS),
        sk: scope.to_owned(),
    }
}

/// One shard of the chains in the second index.
pub fn chains(shard: u8) -> String {
    format!("CHAINS#{shard:02}")
}

/// The scope whose chain's head this is, if it is one.
pub fn scope_of_chain(key: &Key) -> Option<&str> {
    key.pk.strip_prefix("CHAIN#").filter(|_| key.sk == HEAD)
}

/// The key that opens the personal fields of a person's audit records.
pub fn person_key(user: UserId) -> Key {
    Key::raw(format!("USER#{user}"), "PERSONKEY")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::ids::WorkspaceId;

    #[test]
    fn a_records_place_tells_its_time_and_id() {
        let clock = ManualClock::at_unix(1_700_000_000);
        let (at, id) = (clock.now(), AuditId::new(&clock));
        let place = audit_place(at, id);
        assert_eq!(audit_of_place(&place), Some((at, id)));
        for text in ["", "x", "2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20Z#x"] {
            assert_eq!(audit_of_place(text), None, "{text}");
        }
        assert_eq!(audit_of_place(&place.replace(".000Z", "Z")), None);
    }

    #[test]
    fn the_platforms_records_are_spread_and_their_scope_is_found_again() {
        let clock = ManualClock::at_unix(1_700_000_000);
        let parts: std::collections::BTreeSet<_> = (0..400)
            .map(|_| audit(PLATFORM, clock.now(), AuditId::new(&clock)).pk().to_owned())
            .collect();
        assert_eq!(parts.len(), usize::from(SHARDS));
        let listed: std::collections::BTreeSet<_> =
            audit_parts(PLATFORM).iter().map(|l| l.pk().to_owned()).collect();
        assert_eq!(parts, listed);
        let workspace = WorkspaceId::new(&clock).to_string();
        for scope in [PLATFORM, &workspace] {
            let key = audit(scope, clock.now(), AuditId::new(&clock));
            assert_eq!(scope_of_audit(&key), Some(scope));
            assert_eq!(scope_of_chain(&chain(scope)), Some(scope));
            assert_eq!(scope_of_audit(&chain(scope)), None);
        }
    }
}
