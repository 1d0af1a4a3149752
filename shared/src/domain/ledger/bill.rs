//! The bill of a call: what it is charged and why. The bill is the decision: whoever creates it first (the driver that
//! ran the call, or the sweeper after that driver died) fixes the charge, and every end of the hold uses it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::entry::Memo;
use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, ConversationId, EventId, UserId, WorkspaceId};
use crate::money::{self, Amount, Cbt};
use crate::store::keys::{self, Key};
use crate::store::{Entity, Tx};

/// The event that a call was billed; its data is `UsageRecorded`.
pub const USAGE_RECORDED: &str = "com.camarad.usage.recorded";

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallStatus {
    /// The answer is whole.
    Completed,
    /// The user stopped it.
    Stopped,
    /// The provider's stream broke off, or the time ran out.
    Cut,
    /// The provider refused or failed.
    Failed,
    /// The function that ran it died.
    Expired,
}

/// What a call used, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The request that it was made by, as logs and audit records name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The provider that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version of the price list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<String>,
    /// Tokens of the prompt, the cached ones included.
    #[serde(default)]
    pub input_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    #[serde(default)]
    pub cached_tokens: u64,
    /// At the provider's list price, in millionths of a US dollar.
    #[serde(default)]
    pub provider_cost_micro_usd: u64,
    /// From the request to the end of the answer.
    #[serde(default)]
    pub latency_ms: u64,
}

/// A call's bill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bill {
    /// The call.
    pub call: CallId,
    /// Who pays.
    pub account: UserId,
    /// For whom it was made.
    pub memo: Memo,
    /// What is charged; at most what was held.
    #[serde(with = "money::stored_amount")]
    pub charge: Amount,
    /// What it cost beyond that: Camarad's loss.
    #[serde(with = "money::stored_amount", default, skip_serializing_if = "nothing")]
    pub excess: Amount,
    /// What it used.
    pub usage: Usage,
    /// How it ended.
    pub status: CallStatus,
    /// Whether the figures are an estimate, because the provider reported none.
    pub estimated: bool,
    /// When.
    pub at: Timestamp,
}

fn nothing(amount: &Amount) -> bool {
    *amount == Amount::ZERO
}

impl Bill {
    /// Tells the metric `LedgerExcess` what Camarad lost on the call. Whoever ends its hold does, once the bill stands.
    pub fn tell_excess(&self) {
        if self.excess == Amount::ZERO {
            return;
        }
        // The metric filters of template.yaml read this line; their selectors know no dots within a name.
        tracing::warn!(
            call.id = %self.call,
            ai.model = self.usage.model,
            excess_micro_cbt = self.excess.cbt().as_micro(),
            "LEDGER_EXCESS"
        );
    }
}

impl Entity for Bill {
    const KIND: &'static str = "bill";
    fn key(&self) -> Key {
        keys::bill(self.call)
    }
}

/// The data of `USAGE_RECORDED`: one per call, whoever billed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRecorded {
    /// The call.
    pub call_id: CallId,
    /// Who made it.
    pub user_id: UserId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// With which agent.
    pub agent_id: AgentId,
    /// In which conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Who paid.
    pub account: UserId,
    /// What it used.
    #[serde(flatten)]
    pub usage: Usage,
    /// What was charged.
    pub cost: Cbt,
    /// How it ended.
    pub status: CallStatus,
    /// Whether the figures are an estimate.
    pub estimated: bool,
    /// When.
    pub at: Timestamp,
}

impl From<&Bill> for UsageRecorded {
    fn from(bill: &Bill) -> Self {
        Self {
            call_id: bill.call,
            user_id: bill.memo.user,
            workspace_id: bill.memo.workspace(),
            agent_id: bill.memo.agent,
            conversation_id: bill.memo.conversation,
            account: bill.account,
            usage: bill.usage.clone(),
            cost: bill.charge.cbt(),
            status: bill.status,
            estimated: bill.estimated,
            at: bill.at,
        }
    }
}

/// The id of a call's usage event: the same whoever publishes it.
pub fn usage_event_id(call: CallId) -> EventId {
    EventId::from_bytes(*call.as_bytes())
}

/// What `Tx::commit` says when the call has a bill already: read it with `decided`, and end with its charge.
pub const ALREADY_BILLED: &str = "already_billed";

/// Stages the bill and its usage event; the caller adds the turn and receipt, commits, and then ends the hold with the
/// bill's charge. When another bill was first, the commit fails with the conflict `ALREADY_BILLED` and changes nothing.
///
/// # Errors
/// `Internal` when the bill cannot be stored.
pub fn bill_tx<'a>(tx: Tx<'a>, bill: &Bill) -> Result<Tx<'a>> {
    decision(tx, bill)?.event_as(
        usage_event_id(bill.call),
        USAGE_RECORDED,
        UsageRecorded::from(bill),
    )
}

/// The same without an event, for a call that never went upstream.
pub(super) fn decision<'a>(tx: Tx<'a>, bill: &Bill) -> Result<Tx<'a>> {
    let detail = "the call has been billed already";
    tx.create_or(bill, move || Error::Conflict {
        code: ALREADY_BILLED,
        detail: detail.into(),
    })
}

/// The call's bill, if there is one: what any end of its hold charges.
///
/// # Errors
/// When the table does not answer.
pub async fn decided(app: &App, call: CallId) -> Result<Option<Bill>> {
    app.db().get(&keys::bill(call)).await
}
