//! What a caller learns of a call: its answer, its receipt, and that it will stop.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::history::{Details, Turn};
use crate::app::App;
use crate::context::Context;
use crate::domain::ledger::{self, Bill, CallStatus, End, Hold, HoldState, Usage};
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, ConversationId, UserId};
use crate::money::Cbt;
use crate::reply::Reply;
use crate::store::keys;
use crate::store::tx::OnceKey;

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallState {
    /// It runs; the figures are those so far.
    Running,
    /// The answer is whole.
    Completed,
    /// The user stopped it.
    Stopped,
    /// The provider's stream broke off, or the time ran out.
    Cut,
    /// The provider refused or failed before the first word; nothing was charged.
    Failed,
    /// Its function died; what it had produced by then was charged.
    Expired,
}

impl From<CallStatus> for CallState {
    fn from(status: CallStatus) -> Self {
        match status {
            CallStatus::Completed => Self::Completed,
            CallStatus::Stopped => Self::Stopped,
            CallStatus::Cut => Self::Cut,
            CallStatus::Failed => Self::Failed,
            CallStatus::Expired => Self::Expired,
        }
    }
}

/// What a call used and cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// The call.
    pub call_id: CallId,
    /// The conversation that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Where it stands.
    pub status: CallState,
    /// The AI provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The version of the role prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_version: Option<String>,
    /// The version of the price list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_version: Option<String>,
    /// Tokens of the prompt, the cached ones included.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    pub cached_tokens: u64,
    /// What was charged.
    pub cost: Cbt,
    /// What was set aside at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Cbt>,
    /// The payer's balance after the charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance_after: Option<Cbt>,
    /// Whether the figures are an estimate, because the provider did not report all of them.
    pub estimated: bool,
    /// Turns of the conversation that did not fit the model's context window.
    pub dropped_turns: u32,
    /// Numbers of the entries in the payer's ledger: the hold's, then its end's.
    pub ledger_entries: Vec<u64>,
    /// From the request to the end of the answer, in milliseconds.
    pub latency_ms: u64,
    /// From the request to the first word, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u64>,
    /// When the call was billed, or began.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl Receipt {
    /// From a call's bill and, as far as they are known, its details and the end of its hold.
    pub(super) fn of(bill: &Bill, details: Option<&Details>, end: Option<&End>) -> Self {
        let mut receipt = Self::figures(bill.call, bill.status.into(), &bill.usage, bill.at);
        receipt.conversation_id = bill.memo.conversation;
        receipt.cost = bill.charge.cbt();
        receipt.estimated = bill.estimated;
        if let Some(d) = details {
            receipt.prompt_version = Some(d.prompt_version.clone());
            receipt.dropped_turns = d.dropped_turns;
            receipt.first_byte_ms = d.first_byte_ms;
            receipt.held = Some(d.held);
            receipt.ledger_entries.push(d.hold_seq);
        }
        if let Some(end) = end {
            receipt.balance_after = Some(end.balance);
            receipt.ledger_entries.push(end.seq);
        }
        receipt
    }

    /// Of a call that runs: what it has used by its last checkpoint.
    fn so_far(hold: &Hold) -> Self {
        let usage = hold.usage.clone().unwrap_or_default();
        let mut receipt = Self::figures(hold.call, CallState::Running, &usage, hold.at);
        receipt.conversation_id = hold.memo.conversation;
        receipt.cost = hold.billable.cbt();
        receipt.held = Some(hold.held.cbt());
        receipt.ledger_entries.push(hold.seq);
        receipt
    }

    fn figures(call_id: CallId, status: CallState, usage: &Usage, at: Timestamp) -> Self {
        Self {
            call_id,
            conversation_id: None,
            status,
            provider: usage.provider.clone(),
            model: usage.model.clone(),
            prompt_version: None,
            price_version: usage.price_version.clone(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            cost: Cbt::ZERO,
            held: None,
            balance_after: None,
            estimated: true,
            dropped_turns: 0,
            ledger_entries: Vec::new(),
            latency_ms: usage.latency_ms,
            first_byte_ms: None,
            at,
        }
    }
}

/// The receipt of a user's call with an agent: two round trips.
///
/// # Errors
/// `NotFound` unless the call is this user's with this agent.
pub async fn receipt(app: &App, call: CallId, user: UserId, agent: AgentId) -> Result<Receipt> {
    let (bill, hold) = (keys::bill(call), keys::hold(call));
    let mut read = app.db().batch(&[bill.clone(), hold.clone()]).await?;
    let (bill, hold) = (read.read::<Bill>(&bill)?, read.read::<Hold>(&hold)?);
    let memo = bill.as_ref().map(|b| &b.memo).or(hold.as_ref().map(|h| &h.memo));
    if memo.is_none_or(|m| m.user != user || m.agent != agent) {
        return Err(Error::NotFound);
    }
    let Some(bill) = bill else {
        return hold.as_ref().map(Receipt::so_far).ok_or(Error::NotFound);
    };
    let details = match bill.memo.conversation {
        None => None,
        Some(conversation) => app
            .db()
            .get::<Turn>(&keys::turn(conversation, call))
            .await?
            .map(|t| t.details),
    };
    let mut receipt = Receipt::of(
        &bill,
        details.as_ref(),
        hold.as_ref().and_then(|h| h.end.as_ref()),
    );
    if let Some(hold) = hold.filter(|_| details.is_none()) {
        receipt.held = Some(hold.held.cbt());
        receipt.ledger_entries.insert(0, hold.seq);
    }
    Ok(receipt)
}

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The call.
    pub call_id: CallId,
    /// The conversation, to go on with.
    pub conversation_id: ConversationId,
    /// The model that answered.
    pub model: String,
    /// What it said; less than it would have unless the status is `completed`.
    pub answer: String,
    /// How the call ended.
    pub status: CallState,
    /// What it cost.
    pub receipt: Receipt,
}

impl Answer {
    pub(super) fn of(turn: &Turn, receipt: Receipt) -> Self {
        Self {
            call_id: turn.call_id,
            conversation_id: turn.conversation_id,
            model: turn.model.clone(),
            answer: turn.answer.clone(),
            status: receipt.status,
            receipt,
        }
    }
}

/// That a call was asked to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stopping {
    /// The call.
    pub call_id: CallId,
    /// It hears of it within about a second, unless it has ended already; its receipt tells.
    pub stopping: bool,
}

/// Asks a user's call with an agent to stop.
///
/// # Errors
/// `NotFound` unless the call is this user's with this agent.
pub async fn stop(
    app: &App,
    cause: &Context,
    once: Option<&OnceKey>,
    which: (CallId, UserId, AgentId),
) -> Result<Reply<Stopping>> {
    let reply = Reply::accepted(&Stopping {
        call_id: which.0,
        stopping: true,
    })?;
    ledger::request_stop(app, cause, once, which, reply).await
}

/// Whether a hold's call may still produce something.
pub(super) fn is_running(hold: &Hold) -> bool {
    hold.state == HoldState::Open
}
