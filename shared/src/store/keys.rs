//! Every key of the table, and nothing else makes one. `access.rs` lists what is asked of them.
//!
//! Personal values (e-mail addresses, provider subjects) appear in keys as SHA-256 only: keys end up in logs of
//! throttling, in stream records and in exports of table statistics.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::ids::{AgentId, AuditId, CallId, ConversationId, EventId, SessionId, UserId, WorkspaceId};

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

fn user_pk(user: UserId) -> String {
    format!("USER#{user}")
}

fn workspace_pk(workspace: WorkspaceId) -> String {
    format!("WS#{workspace}")
}

/// A person's profile.
pub fn user(user: UserId) -> Key {
    Key::raw(user_pk(user), "PROFILE")
}

/// A person's account: plan, subscription state, counters that enforce the plan's limits.
pub fn account(user: UserId) -> Key {
    Key::raw(user_pk(user), "ACCOUNT")
}

/// One session of a person.
pub fn session(user: UserId, session: SessionId) -> Key {
    Key::raw(user_pk(user), format!("SES#{session}"))
}

/// All sessions of a person.
pub fn sessions(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "SES#",
    }
}

/// A person's own record of a workspace they are a member of.
pub fn membership(user: UserId, workspace: WorkspaceId) -> Key {
    Key::raw(user_pk(user), format!("WS#{workspace}"))
}

/// All workspaces a person is a member of.
pub fn memberships(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "WS#",
    }
}

/// Holds an e-mail address for one person; `address` in lower case.
pub fn email(address: &str) -> Key {
    Key::raw(format!("EMAIL#{}", digest(address)), "EMAIL")
}

/// Holds a provider's subject for one person.
pub fn identity(provider: &str, subject: &str) -> Key {
    Key::raw(format!("IDENTITY#{provider}#{}", digest(subject)), "IDENTITY")
}

/// A sign-in that was started and not finished, by the state parameter.
pub fn auth_state(state: &str) -> Key {
    Key::raw(format!("STATE#{}", digest(state)), "STATE")
}

/// A workspace.
pub fn workspace(workspace: WorkspaceId) -> Key {
    Key::raw(workspace_pk(workspace), "META")
}

/// A member of a workspace.
pub fn member(workspace: WorkspaceId, user: UserId) -> Key {
    Key::raw(workspace_pk(workspace), format!("MEMBER#{user}"))
}

/// All members of a workspace.
pub fn members(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "MEMBER#",
    }
}

/// An agent.
pub fn agent(agent: AgentId) -> Key {
    Key::raw(workspace_pk(agent.workspace()), format!("AGENT#{}", agent.own()))
}

/// All agents of a workspace.
pub fn agents(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "AGENT#",
    }
}

/// An agent that was deleted and whose conversations are not all gone yet.
pub fn deleted_agent(agent: AgentId) -> Key {
    Key::raw(workspace_pk(agent.workspace()), format!("GONE#{}", agent.own()))
}

/// All such agents of a workspace.
pub fn deleted_agents(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "GONE#",
    }
}

fn conversations_pk(agent: AgentId, user: UserId) -> String {
    format!("CONVERSATIONS#{}#{user}", agent.own())
}

/// A conversation. Agent and user are in its key, so a conversation that is found is one the caller may see.
pub fn conversation(agent: AgentId, user: UserId, conversation: ConversationId) -> Key {
    Key::raw(conversations_pk(agent, user), format!("CNV#{conversation}"))
}

/// All conversations of a user with an agent, oldest first.
pub fn conversations(agent: AgentId, user: UserId) -> List {
    List {
        pk: conversations_pk(agent, user),
        prefix: "CNV#",
    }
}

/// One turn (question and answer) of a conversation.
pub fn turn(conversation: ConversationId, call: CallId) -> Key {
    Key::raw(format!("CNV#{conversation}"), format!("TURN#{call}"))
}

/// All turns of a conversation, oldest first.
pub fn turns(conversation: ConversationId) -> List {
    List {
        pk: format!("CNV#{conversation}"),
        prefix: "TURN#",
    }
}

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

/// Comes before every head in a shard of the second index.
pub const BEFORE_HEADS: &str = UserId::PREFIX;

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

/// A usage event of a workspace.
pub fn usage_event(workspace: WorkspaceId, at: Timestamp, call: CallId) -> Key {
    Key::raw(
        format!("USAGE#{workspace}"),
        format!("EVENT#{}#{call}", sortable(at)),
    )
}

/// All usage events of a workspace, oldest first.
pub fn usage_events(workspace: WorkspaceId) -> List {
    List {
        pk: format!("USAGE#{workspace}"),
        prefix: "EVENT#",
    }
}

/// A usage counter: `bucket` is `hour`, `day` or `month`, `start` the bucket's start as RFC 3339, `group` what is
/// counted together (`all`, `agent#…`, `model#…`, `member#…`).
pub fn usage_counter(workspace: WorkspaceId, bucket: &str, dimension: &str, start: &str, value: &str) -> Key {
    Key::raw(
        format!("STATS#{workspace}#{bucket}#{dimension}"),
        format!("{start}#{value}"),
    )
}

/// The sort keys between which the counters of the buckets from `first` to `last` lie, whatever their value.
pub fn usage_span(first: &str, last: &str) -> (String, String) {
    // `$` comes right after `#`.
    (format!("{first}#"), format!("{last}$"))
}

/// Counters of one bucket size and dimension, by start.
pub fn usage_counters(workspace: WorkspaceId, bucket: &str, dimension: &str) -> List {
    List {
        pk: format!("STATS#{workspace}#{bucket}#{dimension}"),
        prefix: "",
    }
}

/// The idempotency record of a caller's key.
pub fn once(user: UserId, key: &str) -> Key {
    Key::raw(format!("ONCE#{user}#{}", digest(key)), "ONCE")
}

/// An audit record; `scope` is a workspace's, a user's or the platform's chain.
pub fn audit(scope: &str, at: Timestamp, id: AuditId) -> Key {
    Key::raw(format!("AUDIT#{scope}"), format!("{}#{id}", sortable(at)))
}

/// All audit records of a scope, oldest first.
pub fn audits(scope: &str) -> List {
    List {
        pk: format!("AUDIT#{scope}"),
        prefix: "",
    }
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

/// A rate limit's counter for one window.
pub fn rate(class: &str, who: &str, window: i64) -> Key {
    Key::raw(format!("RATE#{class}#{who}#{window}"), "RATE")
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
