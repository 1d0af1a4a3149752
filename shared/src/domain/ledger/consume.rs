//! Debits: what services of ours charge for work that no call of a person's made. A debit goes the way of a call (hold,
//! bill, end), so who pays, caps, metering and what happens when somebody dies on the way are the same.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::bill::{Bill, CallStatus, Usage, bill_tx};
use super::entry::Memo;
use super::hold::Reservation;
use super::reserve::{HoldRequest, Reserve, reserve};
use super::settle::end;
use crate::app::App;
use crate::context::Context;
use crate::domain::agents::Agent;
use crate::domain::workspaces::{Member, Workspace};
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, UserId, WorkspaceId};
use crate::money::{Amount, Cbt, Positive};
use crate::reply::Reply;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity};

/// How long a debit's hold lives when its function dies.
const HOLD_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// What a service charges.
#[derive(Debug, Clone)]
pub struct DebitOrder {
    /// For whom it worked.
    pub user: UserId,
    /// With which agent of theirs; its workspace decides who pays.
    pub agent: AgentId,
    /// How much.
    pub amount: Positive,
    /// For what; the account's owner reads it.
    pub reason: String,
}

/// A debit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DebitView {
    /// Its id in ledger and metering.
    pub call_id: CallId,
    /// Whose ledger paid: the workspace owner's where a plan's cbT are shared, else the user's.
    pub account_id: UserId,
    /// For whom.
    pub user_id: UserId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// With which agent.
    pub agent_id: AgentId,
    /// How much.
    pub amount: Cbt,
    /// For what.
    pub reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// That a key of a service's has charged, for good: an Idempotency-Key is otherwise known for a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Debited {
    /// Whose key.
    by: UserId,
    /// Its hash.
    hash: String,
    /// What it came with.
    input: String,
    /// What was answered.
    debit: DebitView,
}

impl Entity for Debited {
    const KIND: &'static str = "ledgerDebit";
    fn key(&self) -> Key {
        keys::ledger_debit(self.by, &self.hash)
    }
}

impl Debited {
    /// The first answer, for the same request.
    fn again(self, once: &OnceKey) -> Result<Reply<DebitView>> {
        if self.input != once.input() {
            return Err(Error::KeyReused);
        }
        let first = Reply::created(&self.debit)?;
        Ok(Reply::stored(first.status, first.body))
    }
}

const DEBITED: &str = "already_debited";

/// Charges what a service asks for, all of it or nothing, and never twice under one key.
///
/// The bill, its usage event, the audit record and the key's record are one transaction. Who dies before it leaves a hold
/// that expires and charges nothing; who dies after it leaves a hold that is ended with the bill.
///
/// # Errors
/// `Invalid` on `agentId` when the user has no such agent; `PlanLimit` where workspace or agent are beyond the limit of the
/// plan, the conflict `agent_inactive`; `InsufficientCbt`, `AllocationExhausted`, `CbtHeld`,
/// `SubscriptionRequired`, as for a call; `KeyReused`; `Unavailable` (the same again is safe).
pub async fn consume(
    app: &App,
    cause: &Context,
    once: &OnceKey,
    order: DebitOrder,
) -> Result<Reply<DebitView>> {
    let workspace = match find(app, once, &order).await? {
        Found::Debited(known) => return known.again(once),
        Found::New(workspace) => workspace,
    };
    let request = HoldRequest {
        account: workspace.payer(order.user),
        call: CallId::new(app.clock()),
        amount: order.amount,
        memo: Memo {
            user: order.user,
            agent: order.agent,
            conversation: None,
            reason: Some(order.reason),
        },
        expires_at: cause.now.checked_add(HOLD_LIFE).map_err(Error::internal)?,
        capped: workspace.allocation.is_some(),
    };
    let held = match reserve(app, &request).await? {
        Reserve::Held(held) => held,
        Reserve::Refused(refused) => return Err(refused.error()),
    };
    let charged = charge(app, cause, once, &held).await;
    let charge = match &charged {
        Ok(reply) if !reply.replayed => held.held.amount(),
        // Whether the bill came through is not known: the sweeper looks, when the hold expires.
        Err(Error::Unavailable(_)) => return charged,
        Ok(_) | Err(_) => Amount::ZERO,
    };
    if let Err(error) = end(app, &held, charge).await {
        // What is charged is decided; the sweeper ends the hold with it.
        tracing::warn!(error = %error, call = %held.call, "a debit's hold is left to the sweeper");
    }
    charged
}

enum Found {
    Debited(Debited),
    New(Box<Workspace>),
}

async fn find(app: &App, once: &OnceKey, order: &DebitOrder) -> Result<Found> {
    let place = order.agent.workspace();
    let debited = keys::ledger_debit(once.user(), &once.hash());
    let (agent, workspace) = (keys::agent(order.agent), keys::workspace(place));
    let member = keys::member(place, order.user);
    let wanted = [debited.clone(), agent.clone(), workspace.clone(), member.clone()];
    let mut read = app.db().batch(&wanted).await?;
    if let Some(known) = read.read::<Debited>(&debited)? {
        return Ok(Found::Debited(known));
    }
    let agent = read.read::<Agent>(&agent)?;
    let member = read.read::<Member>(&member)?;
    let workspace = read.read::<Workspace>(&workspace)?.filter(Workspace::is_live);
    let (Some(workspace), Some(agent), Some(_)) = (workspace, agent, member) else {
        return Err(Error::field("agentId", "is no agent that this user may use"));
    };
    // Nobody pays for work of what may not work: as for a call.
    workspace.within_limit()?;
    workspace.agent_within_limit(order.agent)?;
    agent.must_be_active()?;
    Ok(Found::New(Box::new(workspace)))
}

/// Decides the charge. A key that was used before is refused, or answered as before.
async fn charge(app: &App, cause: &Context, once: &OnceKey, held: &Reservation) -> Result<Reply<DebitView>> {
    let memo = &held.memo;
    let debit = DebitView {
        call_id: held.call,
        account_id: held.account,
        user_id: memo.user,
        workspace_id: memo.workspace(),
        agent_id: memo.agent,
        amount: held.held.cbt(),
        reason: memo.reason.clone().unwrap_or_default(),
        at: cause.now,
    };
    let bill = Bill {
        call: held.call,
        account: held.account,
        memo: memo.clone(),
        charge: held.held.amount(),
        excess: Amount::ZERO,
        usage: Usage {
            request_id: Some(cause.request_id.clone()),
            ..Usage::default()
        },
        status: CallStatus::Completed,
        estimated: false,
        at: cause.now,
    };
    let debited = Debited {
        by: once.user(),
        hash: once.hash(),
        input: once.input().to_owned(),
        debit: debit.clone(),
    };
    let twice = || Error::Conflict {
        code: DEBITED,
        detail: "the key has charged already".into(),
    };
    // For what is in the books, under the same call.
    let detail = json!({
        "callId": debit.call_id, "userId": debit.user_id, "workspaceId": debit.workspace_id,
        "agentId": debit.agent_id, "amount": debit.amount,
    });
    let done = bill_tx(app.tx(cause), &bill)?
        .create_or(&debited, twice)?
        .check(keys::account(held.account), Cond::item_exists(), || {
            Error::NotFound
        })
        .audit(Action::LedgerConsumed, Scope::Platform, held.account, detail)?
        .once(Some(once))
        .commit(Reply::created(&debit)?)
        .await;
    match done {
        Err(Error::Conflict { code: DEBITED, .. }) => {
            let known = app.db().get::<Debited>(&debited.key()).await?;
            known
                .ok_or_else(|| Error::internal("a debit that is there and is not"))?
                .again(once)
        }
        done => done,
    }
}
