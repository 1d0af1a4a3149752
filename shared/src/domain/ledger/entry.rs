//! Entries: what an account's ledger consists of.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, CallId, ConversationId, UserId, WorkspaceId};
use crate::money::{self, Cbt};
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// What an entry tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// cbT came in.
    Grant,
    /// A call set cbT aside.
    Hold,
    /// A call was charged; the rest of its hold is free again.
    Consume,
    /// A call cost nothing; its hold is free again.
    Release,
    /// cbT that a call had consumed came back.
    Refund,
    /// A hold that nobody ended is free again, or cbT that was granted for a time was not used in it.
    Expire,
    /// cbT that should not have come in was taken back.
    Adjust,
}

/// For whom a call was made: what its entries, hold and bill refer to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memo {
    /// Who made the call; on a shared pool not the one who pays.
    pub user: UserId,
    /// The agent, which names its workspace.
    pub agent: AgentId,
    /// The conversation, if the call belongs to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// For what, where no conversation tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Memo {
    /// The workspace of the call.
    pub fn workspace(&self) -> WorkspaceId {
        self.agent.workspace()
    }
}

/// One entry: immutable, numbered without gaps. The deltas of all entries add up to the balance, and their `held` to
/// what is held.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Whose ledger.
    pub account: UserId,
    /// Its number; the first is 1.
    pub seq: u64,
    /// What it tells. (`kind` is every item's own attribute.)
    #[serde(rename = "type")]
    pub entry: Kind,
    /// How the balance changed.
    #[serde(with = "money::stored")]
    pub delta: Cbt,
    /// How much more (or less) is held.
    #[serde(with = "money::stored")]
    pub held: Cbt,
    /// The balance after it.
    #[serde(with = "money::stored")]
    pub balance: Cbt,
    /// The operation that caused it; no operation causes two.
    pub operation: String,
    /// The call, if one caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// For whom the call was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memo: Option<Memo>,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when what was granted can be spent, if it expires.
    #[serde(
        with = "jiff::fmt::serde::timestamp::millisecond::optional",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub expires: Option<Timestamp>,
    /// When. The order of entries is `seq`, not this: clocks differ.
    #[serde(with = "jiff::fmt::serde::timestamp::millisecond::required")]
    pub at: Timestamp,
}

impl Entity for Entry {
    const KIND: &'static str = "ledgerEntry";
    fn key(&self) -> Key {
        keys::ledger_entry(self.account, self.seq)
    }
}

/// An entry as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntryView {
    /// Its number; the first is 1, and there is no gap.
    pub seq: u64,
    /// What it tells.
    #[serde(rename = "type")]
    pub entry: Kind,
    /// How the balance changed. The deltas of all entries add up to the balance.
    pub delta: Cbt,
    /// How much more (or, below zero, less) is held for running calls.
    pub held: Cbt,
    /// The balance after it.
    pub balance: Cbt,
    /// The AI call that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<CallId>,
    /// Who made the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// With which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Until when what was granted can be spent; absent when it does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<Entry> for EntryView {
    fn from(e: Entry) -> Self {
        Self {
            seq: e.seq,
            entry: e.entry,
            delta: e.delta,
            held: e.held,
            balance: e.balance,
            call_id: e.call,
            user_id: e.memo.as_ref().map(|m| m.user),
            workspace_id: e.memo.as_ref().map(Memo::workspace),
            agent_id: e.memo.as_ref().map(|m| m.agent),
            reason: e.reason.or_else(|| e.memo.and_then(|m| m.reason)),
            expires_at: e.expires,
            at: e.at,
        }
    }
}
