//! Caps: what a workspace may draw from its owner's account in a period.
//!
//! The workspace says what its allocation is; the owner's head counts against it, in the same updates that move money,
//! so a cap is as exact as the balance. A hold remembers whether it was counted: one that was made before there was an
//! allocation is not.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Tries;
use super::grant::{Period, open};
use super::head::{Head, change};
use crate::app::App;
use crate::context::Context;
use crate::domain::users::Account;
use crate::domain::workspaces::Workspace;
use crate::error::{Error, Result};
use crate::ids::{UserId, WorkspaceId};
use crate::money::{self, Amount, Cbt};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Outcome, Update, keys};

/// The event that a workspace's allocation changed; its data is `AllocationChanged`.
pub const ALLOCATION_CHANGED: &str = "com.camarad.ledger.allocation_changed";

/// How many workspaces of an account may have an allocation: each makes the head, and so every movement, some 100 bytes
/// larger.
const MOST: usize = 40;

/// The limit of a workspace whose allocation was taken back while its calls ran: more than there can be.
const NO_LIMIT: Cbt = Cbt::whole(8_000_000_000_000);

/// A workspace's allocation, as the head keeps it: `limit = left + used + what its counted calls hold`, always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cap {
    /// The allocation.
    #[serde(with = "money::stored")]
    pub(super) limit: Cbt,
    /// What it may still set aside; below zero after a limit was lowered.
    #[serde(with = "money::stored")]
    pub(super) left: Cbt,
    /// What it was charged since the period began.
    #[serde(with = "money::stored")]
    pub(super) used: Cbt,
}

impl Cap {
    /// What its running calls do not need could all be used: `limit - used`.
    pub(super) fn unspent(&self) -> Cbt {
        Cbt::micro(self.limit.as_micro() - self.used.as_micro())
    }

    fn is_idle(&self) -> bool {
        self.left == self.unspent()
    }
}

/// What a movement does to the cap of a workspace: `left` and `used` grow by this much.
pub(super) fn count(update: Update, workspace: WorkspaceId, (left, used): (i64, i64)) -> Result<Update> {
    let workspace = workspace.to_string();
    let (l, u) = (["caps", &workspace, "left"], ["caps", &workspace, "used"]);
    let update = update.sum(l, l, left)?;
    match used {
        0 => Ok(update),
        used => update.sum(u, u, used),
    }
}

/// A new period: what was used may be drawn again. Relative, so that calls may go on meanwhile.
pub(super) fn begin_anew(mut update: Update, head: &Head) -> Result<Update> {
    for (workspace, cap) in &head.caps {
        let (left, used) = (["caps", workspace, "left"], ["caps", workspace, "used"]);
        let again = cap.used.as_micro();
        update = update.sum(left, left, again)?.sum(used, used, -again)?;
    }
    Ok(update)
}

/// The data of `ALLOCATION_CHANGED`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AllocationChanged {
    /// Whose account it is drawn from.
    pub account: UserId,
    /// Which workspace's.
    pub workspace_id: WorkspaceId,
}

/// What a workspace may draw from its owner's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllocationView {
    /// Which.
    pub workspace_id: WorkspaceId,
    /// What it may draw in a period; `null` is all that the account has.
    #[schema(required)]
    pub limit: Option<Cbt>,
    /// What it was charged since the period began, or since it has a limit.
    pub used: Cbt,
    /// What its running calls hold of it.
    pub held: Cbt,
    /// What it may still draw; below zero after the limit was lowered, `null` without one.
    #[schema(required)]
    pub left: Option<Cbt>,
    /// The account's period; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
}

/// A workspace's allocation.
///
/// # Errors
/// When the table does not answer.
pub async fn allocation(app: &App, workspace: &Workspace) -> Result<AllocationView> {
    let head = app
        .db()
        .get::<Head>(&keys::ledger_head(workspace.owner_id))
        .await?;
    Ok(view(workspace, head.as_ref()))
}

fn view(workspace: &Workspace, head: Option<&Head>) -> AllocationView {
    let cap = head.and_then(|h| h.caps.get(&workspace.id.to_string()).copied());
    let (used, held) = cap.map_or((Cbt::ZERO, Cbt::ZERO), |cap| {
        let held = cap.unspent().as_micro() - cap.left.as_micro();
        (cap.used, Cbt::micro(held))
    });
    AllocationView {
        workspace_id: workspace.id,
        limit: workspace.allocation,
        used,
        held,
        left: workspace
            .allocation
            .map(|limit| Cbt::micro(limit.as_micro() - used.as_micro() - held.as_micro())),
        period: head.and_then(|h| h.period),
    }
}

/// Sets what a workspace may draw from its owner's account in a period; `None` takes the limit away.
///
/// # Errors
/// `Conflict` with `allocation_limit` when 40 workspaces of the account have one; `SubscriptionRequired` when the
/// account is read-only; `NotFound` when the workspace is gone or has another owner by now.
pub async fn allocate(
    app: &App,
    cause: &Context,
    once: Option<&OnceKey>,
    (workspace, limit): (&Workspace, Option<Amount>),
) -> Result<Reply<AllocationView>> {
    let owner = workspace.owner_id;
    let head = app.db().get::<Head>(&keys::ledger_head(owner)).await?;
    let id = workspace.id.to_string();
    let full = head
        .as_ref()
        .is_some_and(|h| h.caps.len() >= MOST && !h.caps.contains_key(&id));
    if full && limit.is_some() {
        return Err(Error::Conflict {
            code: "allocation_limit",
            detail: format!("at most {MOST} workspaces of an account have an allocation"),
        });
    }
    let limit = limit.map(Amount::cbt);
    let update = Update::of(keys::workspace(workspace.id))
        .set("updatedAt", cause.now)?
        .increase("version", 1)?
        .when(Cond::eq("ownerId", owner)?)
        .when(Cond::absent("deletedAt"));
    let update = match limit {
        Some(limit) => update.set("allocation", limit.as_micro())?,
        None => update.remove("allocation"),
    };
    let new = Workspace {
        allocation: limit,
        ..workspace.clone()
    };
    let changed = AllocationChanged {
        account: owner,
        workspace_id: workspace.id,
    };
    let detail = json!({ "allocation": limit, "was": workspace.allocation });
    let reply = app
        .tx(cause)
        .update(update, || Error::NotFound)
        .check(keys::account(owner), Account::may_write(cause.now)?, || {
            Error::SubscriptionRequired
        })
        .audit(
            Action::SettingsUpdated,
            Scope::Workspace(workspace.id),
            workspace.id,
            detail,
        )?
        .event(ALLOCATION_CHANGED, &changed)?
        .once(once)
        .commit(Reply::ok(&view(&new, head.as_ref()))?)
        .await?;
    Box::pin(apply(app, &changed)).await?;
    Ok(reply)
}

/// Brings the head's cap in step with what the workspace says. May be repeated.
///
/// The head is read first, then the workspace, and the head changes only if nobody changed its caps meanwhile; whoever
/// comes with an older state of the workspace therefore comes too late.
pub(super) async fn apply(app: &App, changed: &AllocationChanged) -> Result<()> {
    let mut tries = Tries::begin();
    loop {
        let Some(head) = app.db().get::<Head>(&keys::ledger_head(changed.account)).await? else {
            open(app, changed.account).await?;
            continue;
        };
        head.known()?;
        let workspace = app
            .db()
            .get::<Workspace>(&keys::workspace(changed.workspace_id))
            .await?;
        let limit = workspace
            .filter(|w| w.is_live() && w.owner_id == changed.account)
            .and_then(|w| w.allocation);
        let update = step(&head, changed.workspace_id, limit)?;
        if let Outcome::Applied(_) = app.db().update(&update).await? {
            return Ok(());
        }
        tries.wait().await?;
    }
}

fn step(head: &Head, workspace: WorkspaceId, limit: Option<Cbt>) -> Result<Update> {
    let update = head.next_version(change(head.account)?)?;
    let id = workspace.to_string();
    match (head.caps.get(&id), limit) {
        (None, None) => Ok(update),
        (None, Some(limit)) => {
            let cap = Cap {
                limit,
                left: limit,
                used: Cbt::ZERO,
            };
            if head.caps.is_empty() {
                return update.set("caps", std::collections::BTreeMap::from([(id, cap)]));
            }
            update.set(["caps", &id], cap)
        }
        // With the last call that it counts the entry could go; a call that comes meanwhile is met by the condition.
        (Some(cap), None) if cap.is_idle() => Ok(update
            .remove(["caps", &id])
            .when(Cond::eq(["caps", &id, "left"], cap.left.as_micro())?)),
        (Some(cap), limit) => {
            let limit = limit.unwrap_or(NO_LIMIT);
            let more = limit.as_micro() - cap.limit.as_micro();
            count(update, workspace, (more, 0))?.set(["caps", &id, "limit"], limit.as_micro())
        }
    }
}

/// The cap of a workspace, if it has one.
pub(super) fn known(head: &Head, workspace: WorkspaceId) -> Option<Cap> {
    head.caps.get(&workspace.to_string()).copied()
}
