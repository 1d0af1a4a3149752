//! Orders: what operators grant, and give back of a call's charge, carried out once.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bill::Bill;
use super::caps::{self, ALLOCATION_CHANGED};
use super::grant::{BALANCE_LIMIT, Grant, Until, grant};
use super::head::{Head, too_much};
use super::hold::Hold;
use super::operation::Operation;
use super::refund::{self, EXCEEDS, REFUND_REQUESTED, Refund};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{AgentId, CallId, OperationId, UserId};
use crate::money::{Cbt, Positive};
use crate::reply::Reply;
use crate::store::Cond;
use crate::store::keys;
use crate::store::record::{Action, OutboxRecord, Scope};
use crate::store::tx::OnceKey;

/// The event that an operator granted cbT; its data is `GrantView`.
pub const GRANT_REQUESTED: &str = "com.camarad.ledger.grant_requested";

/// What an operator grants.
#[derive(Debug, Clone)]
pub struct GrantOrder {
    /// To whom.
    pub user: UserId,
    /// How much.
    pub amount: Positive,
    /// Why.
    pub reason: String,
}

/// An operator's grant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantView {
    /// The operation, to find it again in the audit log.
    pub operation_id: OperationId,
    /// To whom.
    pub user_id: UserId,
    /// How much.
    pub amount: Cbt,
    /// Why.
    pub reason: String,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// Orders a grant and carries it out. The order (its audit record, the answer under the Idempotency-Key and an event)
/// commits first, under an operation id of its own; so there is no grant without its audit record, a repetition finds
/// the same operation, and what dies between order and grant is carried out by the event's publisher.
///
/// # Errors
/// `Invalid` on `userId` when there is no such account, on `amount` when the balance would be too large;
/// `Unavailable` when the grant could not be carried out at once: it will be, or the same request does it.
pub async fn order(
    app: &App,
    cause: &Context,
    once: &OnceKey,
    order: GrantOrder,
) -> Result<Reply<GrantView>> {
    let head = app.db().get::<Head>(&keys::ledger_head(order.user)).await?;
    if head.is_some_and(|h| too_much(&h, order.amount.cbt())) {
        return Err(Error::field("amount", "the balance would be too large"));
    }
    let view = GrantView {
        operation_id: OperationId::new(app.clock()),
        user_id: order.user,
        amount: order.amount.cbt(),
        reason: order.reason,
        at: cause.now,
    };
    // Why is in the books, under the same operation.
    let data = json!({"operationId": view.operation_id, "userId": view.user_id, "amount": view.amount});
    let known = || Error::field("userId", "there is no such account");
    let ordered = app
        .tx(cause)
        .check(keys::account(order.user), Cond::item_exists(), known)
        .audit(Action::LedgerGranted, Scope::Platform, order.user, data)?
        .event(GRANT_REQUESTED, &view)?
        .once(Some(once))
        .commit(Reply::created(&view)?)
        .await?;
    let order = serde_json::from_str(&ordered.body).map_err(Error::internal)?;
    Box::pin(carry_out(app, order)).await?;
    Ok(ordered)
}

async fn carry_out(app: &App, ordered: GrantView) -> Result<()> {
    let ordered_grant = Grant {
        operation: Operation::granted(ordered.operation_id),
        amount: Positive::new(ordered.amount).map_err(Error::internal)?,
        reason: ordered.reason,
        until: Until::Unchanged,
        expires: None,
        grace: SignedDuration::ZERO,
        period: None,
    };
    match grant(app, ordered.user_id, &ordered_grant).await {
        // The balance grew between the order and now. Trying again would not help; the audit log has the order.
        Err(Error::Conflict {
            code: BALANCE_LIMIT,
            detail,
        }) => {
            tracing::error!(operation = %ordered.operation_id, detail, "an operator's grant cannot be carried out");
            Ok(())
        }
        done => done.map(drop),
    }
}

/// What an operator gives back of a call's charge.
#[derive(Debug, Clone)]
pub struct RefundOrder {
    /// Of which call; a service's debit is one, too.
    pub call: CallId,
    /// How much; all that has not come back yet, when absent.
    pub amount: Option<Positive>,
    /// Why.
    pub reason: String,
}

/// An operator's refund.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefundView {
    /// The operation, to find it again in the audit log.
    pub operation_id: OperationId,
    /// Of which call.
    pub call_id: CallId,
    /// To whose ledger: of whoever paid.
    pub account_id: UserId,
    /// Who had made the call.
    pub user_id: UserId,
    /// With which agent.
    pub agent_id: AgentId,
    /// How much.
    pub amount: Cbt,
    /// Why.
    pub reason: String,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// How often a refund of the rest is decided anew, when another one came between.
const TRIES: u32 = 4;

/// Orders a refund and carries it out. The note on the call's row, the audit record, the answer under the Idempotency-Key
/// and the event that pays are one transaction: what is ordered is paid, whoever dies, and nothing beyond the charge.
///
/// # Errors
/// `Invalid` on `callId` when there is no such call, or its account is closed; the conflicts `call_not_ended` and
/// `refund_exceeds_charge`; `Unavailable` when it could not be carried out at once: it will be, or the same request does it.
pub async fn order_refund(
    app: &App,
    cause: &Context,
    once: &OnceKey,
    order: RefundOrder,
) -> Result<Reply<RefundView>> {
    let account = payer(app, order.call).await?;
    let mut tries = 0;
    let ordered = loop {
        match refund_once(app, cause, once, (account, &order)).await {
            Err(Error::Conflict { code: EXCEEDS, .. }) if order.amount.is_none() && tries < TRIES => {
                tries += 1
            }
            done => break done?,
        }
    };
    let view: RefundView = serde_json::from_str(&ordered.body).map_err(Error::internal)?;
    Box::pin(refund::pay(app, &view.refund()?)).await?;
    Ok(ordered)
}

/// Who paid for a call.
async fn payer(app: &App, call: CallId) -> Result<UserId> {
    let (bill, hold) = (keys::bill(call), keys::hold(call));
    let mut read = app.db().batch(&[bill.clone(), hold.clone()]).await?;
    let (bill, hold) = (read.read::<Bill>(&bill)?, read.read::<Hold>(&hold)?);
    let account = bill.map(|b| b.account).or(hold.map(|h| h.account));
    account.ok_or_else(|| Error::field("callId", "there is no such call"))
}

async fn refund_once(
    app: &App,
    cause: &Context,
    once: &OnceKey,
    (account, order): (UserId, &RefundOrder),
) -> Result<Reply<RefundView>> {
    let (hold, end) = refund::ended(app, account, order.call).await?;
    let amount = match order.amount {
        Some(amount) => amount,
        None => {
            let left = refund::left(app, order.call, &end).await?;
            left.ok_or_else(refund::exceeds)?
        }
    };
    let view = RefundView {
        operation_id: OperationId::new(app.clock()),
        call_id: order.call,
        account_id: account,
        user_id: hold.memo.user,
        agent_id: hold.memo.agent,
        amount: amount.cbt(),
        reason: order.reason.clone(),
        at: cause.now,
    };
    // Why is in the books, under the same operation.
    let data = json!({
        "operationId": view.operation_id, "callId": view.call_id, "accountId": view.account_id, "amount": view.amount,
    });
    let closed = || Error::field("callId", "the account that paid is closed");
    refund::noted(app.tx(cause), &view.refund()?, &end)?
        .check(keys::account(account), Cond::item_exists(), closed)
        .audit(Action::LedgerRefunded, Scope::Platform, account, data)?
        .once(Some(once))
        .commit(Reply::created(&view)?)
        .await
}

impl RefundView {
    /// The movement, under the operation's name.
    fn refund(&self) -> Result<Refund> {
        Ok(Refund {
            account: self.account_id,
            call: self.call_id,
            name: self.operation_id.to_string(),
            amount: Positive::new(self.amount).map_err(Error::internal)?,
            reason: self.reason.clone(),
        })
    }
}

/// Carries out what an outbox record asks of the ledger; false when it asks nothing. May be repeated.
///
/// # Errors
/// As `grant`.
pub async fn on_event(app: &App, event: &OutboxRecord) -> Result<bool> {
    match event.event_type.as_str() {
        ALLOCATION_CHANGED => caps::apply(app, &read(&event.data)?).await.map(|()| true),
        REFUND_REQUESTED => refund::pay(app, &read(&event.data)?).await.map(|_| true),
        GRANT_REQUESTED => carry_out(app, read(&event.data)?).await.map(|()| true),
        _ => Ok(false),
    }
}

fn read<T: serde::de::DeserializeOwned>(data: &Value) -> Result<T> {
    serde_json::from_value(data.clone()).map_err(Error::internal)
}
