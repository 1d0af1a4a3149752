//! Movements: what the journal of a head consists of, and the update that makes one.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::{Kind, Memo};
use super::head::{MAX_BALANCE, change};
use crate::error::Result;
use crate::ids::{CallId, UserId};
use crate::money::{self, Cbt};
use crate::store::{Cond, Update};

/// The name of an operation: the same one never moves anything twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// A call's hold.
    Hold(CallId),
    /// Its end: settled, released or expired, whichever came first.
    End(CallId),
    /// A part of what it was charged comes back, under a name of its own.
    Refund(CallId, String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hold(call) => write!(f, "hold:{call}"),
            Self::End(call) => write!(f, "end:{call}"),
            Self::Refund(call, name) => write!(f, "refund:{call}:{name}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let call = |id: &str| id.parse().ok();
        let hold = text.strip_prefix("hold:").and_then(call).map(Self::Hold);
        let end = || text.strip_prefix("end:").and_then(call).map(Self::End);
        let refund = || {
            let (id, name) = text.strip_prefix("refund:")?.split_once(':')?;
            call(id).map(|id| Self::Refund(id, name.to_owned()))
        };
        hold.or_else(end)
            .or_else(refund)
            .unwrap_or_else(|| Self::Other(text.to_owned()))
    }
}

impl Name {
    /// The call that it is about.
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Self::Hold(call) | Self::End(call) | Self::Refund(call, _) => Some(*call),
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
    /// When the hold, or what was granted, expires.
    #[serde(
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) until: Option<Timestamp>,
    /// Whether the hold is counted against its workspace's allocation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) capped: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memo: Option<Memo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Movement {
    /// One that moves nothing yet.
    pub(super) fn of(kind: Kind, at: Timestamp) -> Self {
        Self {
            kind,
            delta: Cbt::ZERO,
            held: Cbt::ZERO,
            at,
            until: None,
            capped: false,
            memo: None,
            reason: None,
        }
    }
}

/// The update that moves and journals, if the operation is not in the journal and the journal has room. Its right-hand
/// sides read what was there before, so number and balance come from the engine.
pub(super) fn movement(account: UserId, name: &Name, movement: &Movement, room: u32) -> Result<Update> {
    movements(account, &[(name.clone(), movement.clone())], room)
}

/// The same for several at once, one after the other.
pub(super) fn movements(account: UserId, all: &[(Name, Movement)], room: u32) -> Result<Update> {
    let (mut delta, mut held, mut count) = (0, 0, 0);
    let mut update = change(account)?.when(Cond::lt("jn", room)?);
    for (name, movement) in all {
        let operation = name.to_string();
        delta += movement.delta.as_micro();
        held += movement.held.as_micro();
        count += 1;
        update = update
            .set(["ops", &operation], movement)?
            .sum(["bal", &operation], "posted", delta)?
            .sum(["no", &operation], "seq", count)?
            .when(Cond::absent(["ops", &operation]));
    }
    let update = update
        .increase("posted", delta)?
        .increase("avail", delta - held)?
        .increase("seq", count)?
        .increase("jn", count)?;
    if delta <= 0 {
        return Ok(update);
    }
    Ok(update.when(Cond::le("posted", MAX_BALANCE.as_micro() - delta)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_name_comes_back_as_the_operation() {
        let call = CallId::new(&ManualClock::at_unix(1_790_000_000));
        for name in [
            Name::Hold(call),
            Name::End(call),
            Name::Refund(call, "a:b".into()),
            Name::Other("grant:x".into()),
            Name::Other("hold:x".into()),
            Name::Other("refund:x".into()),
        ] {
            assert_eq!(Name::from(name.to_string().as_str()), name);
        }
    }
}
