//! Conversations and their turns: private to one user with one agent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::domain::ledger::CallStatus;
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, ConversationId, UserId, WorkspaceId};
use crate::money::{self, Cbt};
use crate::store::keys::{self, Key};
use crate::store::{Entity, Page, PageRequest, Update};

/// A title's length in characters.
const TITLE_CHARS: usize = 80;

/// A conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// With which agent.
    pub agent_id: AgentId,
    /// Whose.
    pub user_id: UserId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// The beginning of its first message.
    pub title: String,
    /// How many turns it has.
    pub turns: u32,
    /// When it began.
    pub created_at: Timestamp,
    /// When its last turn was stored.
    pub last_at: Timestamp,
}

impl Entity for Conversation {
    const KIND: &'static str = "conversation";
    fn key(&self) -> Key {
        keys::conversation(self.agent_id, self.user_id, self.id)
    }
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Turn {
    /// The call that made it.
    pub call_id: CallId,
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// What the user said.
    pub message: String,
    /// What the model said; less than it would have when the call was stopped or cut.
    pub answer: String,
    /// How the call ended.
    pub status: CallStatus,
    /// The model.
    pub model: String,
    /// When.
    pub at: Timestamp,
    /// What the receipt tells besides the bill.
    pub details: Details,
}

/// What a receipt tells besides the bill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Which role prompt was used.
    pub prompt_version: String,
    /// Turns of the conversation that did not fit the model's context window.
    pub dropped_turns: u32,
    /// What was set aside.
    #[serde(with = "money::stored")]
    pub held: Cbt,
    /// The number of the hold's entry in the payer's ledger.
    pub hold_seq: u64,
    /// Whether the hold is counted against the workspace's allocation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hold_capped: bool,
    /// When the hold was made.
    pub hold_at: Timestamp,
    /// From the request to the first text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
}

impl Entity for Turn {
    const KIND: &'static str = "turn";
    fn key(&self) -> Key {
        keys::turn(self.conversation_id, self.call_id)
    }
}

/// A title from a first message: its beginning, on one line.
pub fn title(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= TITLE_CHARS {
        return line;
    }
    let cut: String = line.chars().take(TITLE_CHARS - 1).collect();
    format!("{}…", cut.trim_end())
}

/// Counts a turn in its conversation, and makes the conversation with its first.
pub(super) fn count_turn(c: &Conversation, at: Timestamp) -> Result<Update> {
    Update::of(c.key())
        .set_if_absent("kind", Conversation::KIND)?
        .set_if_absent("id", c.id)?
        .set_if_absent("agentId", c.agent_id)?
        .set_if_absent("userId", c.user_id)?
        .set_if_absent("workspaceId", c.workspace_id)?
        .set_if_absent("title", &c.title)?
        .set_if_absent("createdAt", c.created_at)?
        .set("lastAt", at)?
        .add("turns", 1)
}

/// The end of a conversation, newest first: what a prompt may need of it. One page of the table.
///
/// # Errors
/// When the table does not answer.
pub async fn tail(app: &App, conversation: Option<ConversationId>) -> Result<Vec<Turn>> {
    let Some(id) = conversation else {
        return Ok(Vec::new());
    };
    let page = app
        .db()
        .list::<Turn>(&keys::turns(id), &PageRequest::default(), true)
        .await?;
    Ok(page.items)
}

/// A conversation in a list.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationView {
    /// Its id.
    pub id: ConversationId,
    /// With which agent.
    pub agent_id: AgentId,
    /// The beginning of its first message.
    pub title: String,
    /// How many turns it has.
    pub turns: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its last turn was stored.
    #[schema(value_type = String, format = DateTime)]
    pub last_at: Timestamp,
}

impl From<Conversation> for ConversationView {
    fn from(c: Conversation) -> Self {
        Self {
            id: c.id,
            agent_id: c.agent_id,
            title: c.title,
            turns: c.turns,
            created_at: c.created_at,
            last_at: c.last_at,
        }
    }
}

/// A turn in a list.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TurnView {
    /// The call that made it; its receipt is under the agent's `calls`.
    pub call_id: CallId,
    /// What the user said.
    pub message: String,
    /// What the model said.
    pub answer: String,
    /// How the call ended.
    pub status: CallStatus,
    /// The model.
    pub model: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<Turn> for TurnView {
    fn from(t: Turn) -> Self {
        Self {
            call_id: t.call_id,
            message: t.message,
            answer: t.answer,
            status: t.status,
            model: t.model,
            at: t.at,
        }
    }
}

/// A user's conversations with an agent, newest first.
///
/// # Errors
/// `Invalid` for a bad cursor.
pub async fn conversations(
    app: &App,
    agent: AgentId,
    user: UserId,
    page: &PageRequest,
) -> Result<Page<ConversationView>> {
    let found = app
        .db()
        .list::<Conversation>(&keys::conversations(agent, user), page, true)
        .await?;
    Ok(found.map(ConversationView::from))
}

/// The turns of a conversation, oldest first.
///
/// # Errors
/// `NotFound` unless it is this user's conversation with this agent; `Invalid` for a bad cursor.
pub async fn turns(
    app: &App,
    (agent, user, id): (AgentId, UserId, ConversationId),
    page: &PageRequest,
) -> Result<Page<TurnView>> {
    let (key, list) = (keys::conversation(agent, user, id), keys::turns(id));
    let (whose, turns) = tokio::join!(
        app.db().get::<Conversation>(&key),
        app.db().list::<Turn>(&list, page, false)
    );
    whose?.ok_or(Error::NotFound)?;
    Ok(turns?.map(TurnView::from))
}

/// Helpers of tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    /// A turn that says this.
    pub(in super::super) fn turn(message: &str, answer: &str) -> Turn {
        let clock = ManualClock::at_unix(1_700_000_000);
        Turn {
            call_id: CallId::new(&clock),
            conversation_id: ConversationId::new(&clock),
            message: message.into(),
            answer: answer.into(),
            status: CallStatus::Completed,
            model: "gpt-4o-mini".into(),
            at: clock.now(),
            details: Details {
                prompt_version: "ceo@0".into(),
                dropped_turns: 0,
                held: Cbt::ZERO,
                hold_seq: 1,
                hold_capped: false,
                hold_at: clock.now(),
                first_byte_ms: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_the_messages_beginning_on_one_line() {
        assert_eq!(title("  Hello\n there\t you "), "Hello there you");
        let long = title(&"wörter".repeat(40));
        assert_eq!(long.chars().count(), 80, "{long}");
        assert!(long.ends_with('…'));
    }
}
