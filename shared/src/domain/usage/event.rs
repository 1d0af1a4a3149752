//! Usage events: what one AI call used.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ledger::{CallStatus, UsageRecorded};
use crate::error::Result;
use crate::ids::{AgentId, CallId, ConversationId, UserId, WorkspaceId};
use crate::money::Cbt;
use crate::store::keys::{self, Key};
use crate::store::{Db, Entity, Page, PageRequest};

/// A usage event as it is stored: history, and the mark that it was counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageEvent {
    /// The CloudEvent's id.
    pub event_id: String,
    /// What was recorded.
    #[serde(flatten)]
    pub recorded: UsageRecorded,
}

impl Entity for UsageEvent {
    const KIND: &'static str = "usageEvent";
    fn key(&self) -> Key {
        keys::usage_event(
            self.recorded.workspace_id,
            self.recorded.at,
            self.recorded.call_id,
        )
    }
}

/// What one AI call used.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageEventView {
    /// The call.
    pub call_id: CallId,
    /// The request that it was made by, as logs and audit records name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who made it.
    pub user_id: UserId,
    /// With which agent.
    pub agent_id: AgentId,
    /// In which conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// The provider that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the prompt, the cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    pub cached_tokens: u64,
    /// What was charged.
    pub cost: Cbt,
    /// From the request to the end of the answer.
    pub latency_ms: u64,
    /// How it ended.
    pub status: CallStatus,
    /// Whether the figures are an estimate, because the provider reported none.
    pub estimated: bool,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<UsageEvent> for UsageEventView {
    fn from(UsageEvent { recorded, .. }: UsageEvent) -> Self {
        Self {
            call_id: recorded.call_id,
            request_id: recorded.usage.request_id,
            user_id: recorded.user_id,
            agent_id: recorded.agent_id,
            conversation_id: recorded.conversation_id,
            provider: recorded.usage.provider,
            model: recorded.usage.model,
            input_tokens: recorded.usage.input_tokens,
            output_tokens: recorded.usage.output_tokens,
            cached_tokens: recorded.usage.cached_tokens,
            cost: recorded.cost,
            latency_ms: recorded.usage.latency_ms,
            status: recorded.status,
            estimated: recorded.estimated,
            at: recorded.at,
        }
    }
}

/// The usage events of a workspace, newest first.
pub async fn list(db: &Db, workspace: WorkspaceId, page: &PageRequest) -> Result<Page<UsageEventView>> {
    let events = db
        .list::<UsageEvent>(&keys::usage_events(workspace), page, true)
        .await?;
    Ok(events.map(UsageEventView::from))
}
