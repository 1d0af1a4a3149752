//! The head of a ledger: its balance, and a journal of the movements that have not left it yet.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Kind, Memo};
use crate::error::{Error, Result};
use crate::ids::{CallId, UserId};
use crate::money::{self, Cbt};
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity, Update};

/// The head's format. A version of this code that does not know the one it meets refuses to write.
const FORMAT: u32 = 1;

/// How long the journal may be for a hold or a grant to be added. With some 250 bytes a movement this keeps a head below
/// 6 KB; it is usually below 1 KB, where a movement costs one capacity unit.
pub(super) const ROOM: u32 = 24;

/// The same for the end of a hold, which must find room where holds no longer do.
pub(super) const ROOM_TO_END: u32 = 48;

/// The largest balance, 4·10^12 cbT: with one more grant it still is far from the end of 64 bits.
const MAX_BALANCE: Cbt = Cbt::whole(4_000_000_000_000);

/// The name of an operation: the same one never moves anything twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A call's hold.
    Hold(CallId),
    /// Its end: settled, released or expired, whichever came first.
    End(CallId),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(call) => write!(f, "hold:{call}"),
            Self::End(call) => write!(f, "end:{call}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let call = |id: &str| id.parse().ok();
        let hold = text.strip_prefix("hold:").and_then(call).map(Self::Hold);
        let end = || text.strip_prefix("end:").and_then(call).map(Self::End);
        hold.or_else(end).unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl Name {
    /// The call that it is about.
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Self::Hold(call) | Self::End(call) => Some(*call),
            Self::Other(_) => None,
        }
    }
}

/// A movement in the journal, apart from its number and the balance after it, which the engine adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Movement {
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    /// How the balance changes.
    #[serde(with = "money::stored")]
    pub(super) delta: Cbt,
    /// How what is held changes.
    #[serde(with = "money::stored")]
    pub(super) held: Cbt,
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub(super) at: Timestamp,
    /// When the hold expires.
    #[serde(
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memo: Option<Memo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

/// The head. Alone in its partition, and never part of a transaction: those on one item cancel each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) account: UserId,
    format: u32,
    /// The balance.
    #[serde(with = "money::stored")]
    pub(super) posted: Cbt,
    /// What no hold has set aside.
    #[serde(with = "money::stored")]
    pub(super) avail: Cbt,
    /// The number of the last entry.
    pub(super) seq: u64,
    /// Grows with every flush that takes something out of the journal.
    pub(super) rev: u64,
    /// How long the journal is.
    pub(super) jn: u32,
    /// The journal's movements by operation, …
    pub(super) ops: BTreeMap<String, Movement>,
    /// … the balance after each, …
    pub(super) bal: BTreeMap<String, i64>,
    /// … and the number of each.
    pub(super) no: BTreeMap<String, u64>,
    /// Until when the account may spend, Unix seconds; without it, for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<i64>,
    /// Until when somebody who met a full journal is busy flushing it, Unix milliseconds. Only spares others the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flushing: Option<i64>,
}

impl Entity for Head {
    const KIND: &'static str = "ledgerHead";
    fn key(&self) -> Key {
        keys::ledger_head(self.account)
    }
    fn index2(&self) -> Option<Index> {
        Some(keys::ledger_head_place(self.account))
    }
}

impl Head {
    /// A ledger without entries.
    pub(super) fn empty(account: UserId) -> Self {
        Self {
            account,
            format: FORMAT,
            posted: Cbt::ZERO,
            avail: Cbt::ZERO,
            seq: 0,
            rev: 0,
            jn: 0,
            ops: BTreeMap::new(),
            bal: BTreeMap::new(),
            no: BTreeMap::new(),
            until: None,
            flushing: None,
        }
    }

    /// What running calls have set aside.
    pub(super) fn held(&self) -> Cbt {
        Cbt::micro(self.posted.as_micro() - self.avail.as_micro())
    }

    /// Whether the account may spend at `now`.
    pub(super) fn may_spend(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now.as_second() < until)
    }

    /// Refuses a head that a later version of this code wrote.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn known(&self) -> Result<()> {
        if self.format == FORMAT {
            Ok(())
        } else {
            Err(Error::internal(format!(
                "a ledger head of format {}",
                self.format
            )))
        }
    }

    /// The journal's entry of an operation, if it is in there.
    pub(super) fn entry(&self, name: &Name) -> Option<Entry> {
        let operation = name.to_string();
        let movement = self.ops.get(&operation)?;
        Some(Entry {
            account: self.account,
            seq: *self.no.get(&operation)?,
            entry: movement.kind,
            delta: movement.delta,
            held: movement.held,
            balance: Cbt::micro(*self.bal.get(&operation)?),
            operation,
            call: name.call(),
            memo: movement.memo.clone(),
            reason: movement.reason.clone(),
            at: movement.at,
        })
    }

    /// All entries of the journal, by number.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<_> = self
            .ops
            .keys()
            .filter_map(|name| self.entry(&Name::from(name.as_str())))
            .collect();
        entries.sort_unstable_by_key(|e| e.seq);
        entries
    }
}

/// The update that moves and journals, if the operation is not in the journal and the journal has room. Its right-hand
/// sides read what was there before, so number and balance come from the engine.
pub(super) fn movement(account: UserId, name: &Name, movement: &Movement, room: u32) -> Result<Update> {
    let operation = name.to_string();
    let delta = movement.delta.as_micro();
    let update = change(account)?
        .increase("posted", delta)?
        .increase("avail", delta - movement.held.as_micro())?
        .increase("seq", 1)?
        .increase("jn", 1)?
        .set(["ops", &operation], movement)?
        .sum(["bal", &operation], "posted", delta)?
        .sum(["no", &operation], "seq", 1)?
        .when(Cond::absent(["ops", &operation]))
        .when(Cond::lt("jn", room)?);
    if delta <= 0 {
        return Ok(update);
    }
    Ok(update.when(Cond::le("posted", MAX_BALANCE.as_micro() - delta)?))
}

/// The update that takes flushed operations out of the journal, if nobody did before.
pub(super) fn removal(head: &Head, flushed: &[String]) -> Result<Update> {
    let count = i64::try_from(flushed.len()).map_err(Error::internal)?;
    let update = change(head.account)?
        .increase("jn", -count)?
        .increase("rev", 1)?
        .remove("flushing")
        .when(Cond::eq("rev", head.rev)?);
    Ok(flushed.iter().fold(update, |update, name| {
        update
            .remove(["ops", name])
            .remove(["bal", name])
            .remove(["no", name])
    }))
}

/// The update by which one of those who meet a full journal takes it on to flush it.
pub(super) fn claim(head: &Head, now_ms: i64, until_ms: i64) -> Result<Update> {
    let free = Cond::absent("flushing").or(Cond::le("flushing", now_ms)?);
    let update = change(head.account)?.set("flushing", until_ms)?;
    Ok(update.when(Cond::eq("rev", head.rev)?).when(free))
}

/// An update of the head, if it is of the format that this code writes.
pub(super) fn change(account: UserId) -> Result<Update> {
    Ok(Update::of(keys::ledger_head(account)).when(Cond::eq("format", FORMAT)?))
}

/// Whether a grant would make the balance larger than it may be.
pub(super) fn too_much(head: &Head, delta: Cbt) -> bool {
    head.posted.checked_add(delta).is_none_or(|sum| sum > MAX_BALANCE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::clock::ManualClock;
    use crate::lambda::batch;

    #[test]
    fn a_name_comes_back_as_the_operation() {
        let call = CallId::new(&ManualClock::at_unix(1_790_000_000));
        for name in [
            Name::Hold(call),
            Name::End(call),
            Name::Other("grant:x".into()),
            Name::Other("hold:x".into()),
        ] {
            assert_eq!(Name::from(name.to_string().as_str()), name);
        }
    }

    #[test]
    fn the_sample_event_shows_a_head_as_it_is_stored() {
        let sample = include_str!("../../../../events/dynamodb-stream-ledger-head.json");
        let changes = batch::changes(serde_json::from_str(sample).unwrap());
        let image = changes[0].new.clone().unwrap();
        let head: Head = image.clone().read().unwrap();
        head.known().unwrap();
        assert_eq!(head.key(), image.key().unwrap());
        assert_eq!(image.field("GSI2PK").unwrap(), Some(keys::ledger_heads(6)));
        let (hold, end) = (&head.entries()[0], &head.entries()[1]);
        assert_eq!((hold.entry, end.entry), (Kind::Hold, Kind::Consume));
        assert_eq!((end.seq, end.balance), (head.seq, head.posted));
        assert_eq!(hold.held, -end.held);
        assert_eq!(head.held(), Cbt::ZERO);
        assert_eq!(usize::try_from(head.jn).unwrap(), head.ops.len());
    }
}
