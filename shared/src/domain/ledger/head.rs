//! The head of a ledger: its balance, and a journal of the movements that have not left it yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::caps::Cap;
use super::entry::{Entry, Kind};
use super::grant::Period;
use super::lots::{Due, Lot, Lots};
use super::movement::{Movement, Name};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::{self, Cbt};
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity, Update};

/// The head's format. A version of this code that does not know the one it meets refuses to write. Format 1 knows no
/// lots and no caps; a head becomes one of format 2 when it gets its first.
const FORMAT: u32 = 2;

/// How long the journal may be for a hold or a grant to be added. With some 250 bytes a movement this keeps a head below
/// 6 KB; it is usually below 1 KB, where a movement costs one capacity unit.
pub(super) const ROOM: u32 = 24;

/// The same for the end of a hold, which must find room where holds no longer do.
pub(super) const ROOM_TO_END: u32 = 48;

/// The largest balance, 4·10^12 cbT: with one more grant it still is far from the end of 64 bits.
pub(super) const MAX_BALANCE: Cbt = Cbt::whole(4_000_000_000_000);

/// The head. Alone in its partition, and never part of a transaction: those on one item cancel each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
    /// The part of the balance that expires, as of `base`, soonest first. What was consumed since (`base` - `posted`)
    /// burns them in that order; they are written again only when a lot comes or goes, so a movement leaves them alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) lots: Vec<Lot>,
    /// What running calls still hold of lots that expired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) due: Vec<Due>,
    /// The balance that `lots` was written for; absent while there is no lot.
    #[serde(
        with = "money::stored_option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) base: Option<Cbt>,
    /// The version of `lots`, `due` and the set of `caps`: the fence of whoever changes them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) lv: u64,
    /// When the next lot expires, Unix seconds; until that lot has left, nothing is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lot_end: Option<i64>,
    /// What was charged since the period began.
    #[serde(with = "money::stored", default)]
    pub(super) used: Cbt,
    /// What the period brought.
    #[serde(with = "money::stored", default)]
    pub(super) quota: Cbt,
    /// The period; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) period: Option<Period>,
    /// The allocations of workspaces that have one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) caps: BTreeMap<String, Cap>,
    /// Calls whose attempt to reserve got lost and must not happen any more, with the moment that this was decided, Unix
    /// milliseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) voids: BTreeMap<String, i64>,
    /// Until when somebody who met a full journal is busy flushing it, Unix milliseconds. Only spares others the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flushing: Option<i64>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
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
            format: 1,
            posted: Cbt::ZERO,
            avail: Cbt::ZERO,
            seq: 0,
            rev: 0,
            jn: 0,
            ops: BTreeMap::new(),
            bal: BTreeMap::new(),
            no: BTreeMap::new(),
            until: None,
            lots: Vec::new(),
            due: Vec::new(),
            base: None,
            lv: 0,
            lot_end: None,
            used: Cbt::ZERO,
            quota: Cbt::ZERO,
            period: None,
            caps: BTreeMap::new(),
            voids: BTreeMap::new(),
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

    /// Whether no lot stands in the way of setting aside: none has expired and not left yet.
    pub(super) fn lots_stand(&self, now: Timestamp) -> bool {
        self.lot_end.is_none_or(|end| now.as_second() < end)
    }

    /// The lots as they stand now.
    pub(super) fn lots_now(&self) -> Lots {
        let mut lots = Lots {
            lots: self.lots.clone(),
            dues: self.due.clone(),
        };
        let base = self.base.unwrap_or(self.posted);
        lots.burn(Cbt::micro(base.as_micro() - self.posted.as_micro()));
        lots
    }

    /// Nobody has changed lots or the set of caps since this head was read.
    pub(super) fn same_lots(&self) -> Result<Cond> {
        Ok(match self.lv {
            0 => Cond::absent("lv"),
            lv => Cond::eq("lv", lv)?,
        })
    }

    /// Writes the lots again, for a balance of `base`; if nobody else did.
    pub(super) fn with_lots(&self, update: Update, lots: &Lots, base: Cbt) -> Result<Update> {
        let update = self.next_version(update)?;
        let update = match lots.lots.is_empty() {
            true => update.remove("lots"),
            false => update.set("lots", &lots.lots)?,
        };
        let update = match lots.dues.is_empty() {
            true => update.remove("due"),
            false => update.set("due", &lots.dues)?,
        };
        let update = match lots.next() {
            None => update.remove("lotEnd"),
            Some(end) => update.set("lotEnd", end)?,
        };
        if lots.lots.is_empty() {
            return Ok(update.remove("base"));
        }
        update.set("base", base.as_micro())
    }

    /// The fence moves: what this head knows of lots and caps is what the update is based on, and changes with it.
    pub(super) fn next_version(&self, update: Update) -> Result<Update> {
        update
            .set("lv", self.lv + 1)
            .and_then(|u| u.set("format", FORMAT))
            .and_then(|u| Ok(u.when(self.same_lots()?)))
    }

    /// Refuses a head that a later version of this code wrote.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn known(&self) -> Result<()> {
        if (1..=FORMAT).contains(&self.format) {
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
            expires: movement.until.filter(|_| movement.kind == Kind::Grant),
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

/// The update by which who could not flush lets others try.
pub(super) fn unclaim(head: &Head, until_ms: i64) -> Result<Update> {
    let update = change(head.account)?.remove("flushing");
    Ok(update.when(Cond::eq("flushing", until_ms)?))
}

/// An update of the head, if it is of the format that this code writes.
pub(super) fn change(account: UserId) -> Result<Update> {
    Ok(Update::of(keys::ledger_head(account)).when(Cond::le("format", FORMAT)?))
}

/// Whether a grant would make the balance larger than it may be.
pub(super) fn too_much(head: &Head, delta: Cbt) -> bool {
    head.posted.checked_add(delta).is_none_or(|sum| sum > MAX_BALANCE)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::lambda::batch;

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
