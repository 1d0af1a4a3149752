//! Orders: grants that somebody or something asked for, carried out once.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caps::{self, ALLOCATION_CHANGED};
use super::grant::{BALANCE_LIMIT, Grant, Until, grant};
use super::head::{Head, too_much};
use super::operation::Operation;
use super::refund::{self, REFUND_REQUESTED};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{OperationId, UserId};
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
    let data = serde_json::to_value(&view).map_err(Error::internal)?;
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
