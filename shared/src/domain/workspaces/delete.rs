//! Deleting a workspace: a tombstone at once, and a job that removes what was in it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Member, Workspace};
use crate::app::App;
use crate::context::Context;
use crate::domain::agents;
use crate::domain::current::on_current;
use crate::error::{Error, Result};
use crate::ids::WorkspaceId;
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, PageRequest, Update, keys};

/// The event that makes the outbox call `purge`; its data is `Deleted`.
pub const DELETED: &str = "com.camarad.workspace.deleted";

/// What the event says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The workspace that was deleted.
    pub workspace_id: WorkspaceId,
}

/// Deletes a workspace. In one commit it becomes invisible, its places in the plan's limits become free and the
/// owner's list loses it; `purge` then removes agents, conversations and memberships, however many there are.
///
/// # Errors
/// `NotFound` when it was deleted before.
pub async fn delete(
    app: &App,
    context: &Context,
    workspace: &Workspace,
    once: Option<&OnceKey>,
) -> Result<Reply<()>> {
    on_current(app.db(), workspace.clone(), async |current: Workspace| {
        if !current.is_live() {
            return Err(Error::NotFound);
        }
        // No agent can come or go between the read and this commit, so that the account gets back what it gave.
        let tombstone = Update::of(current.key())
            .set("deletedAt", context.now)?
            .when(Cond::absent("deletedAt").and(Cond::eq("agents", current.agents)?));
        let freed = Update::of(keys::account(current.owner_id))
            .increase("workspaces", -1)?
            .increase("agents", -i64::from(current.agents))?;
        app.tx(context)
            .update(tombstone, || Error::PreconditionFailed)
            .update(freed, || Error::PreconditionFailed)
            .delete(keys::membership(current.owner_id, current.id), None, || {
                Error::PreconditionFailed
            })
            .audit(
                Action::WorkspaceDeleted,
                Scope::Workspace(current.id),
                current.id,
                json!({"agents": current.agents}),
            )?
            .event(
                DELETED,
                Deleted {
                    workspace_id: current.id,
                },
            )?
            .once(once)
            .commit(Reply::no_content())
            .await
    })
    .await
}

/// Removes what is left of a deleted workspace: agents with their conversations, members, at last the tombstone. It
/// may be ended at any point: the next run goes on. A workspace that is not deleted is left alone.
///
/// # Errors
/// Those of the table.
pub async fn purge(app: &App, id: WorkspaceId) -> Result<()> {
    let db = app.db();
    match db.get::<Workspace>(&keys::workspace(id)).await? {
        None => return Ok(()),
        Some(workspace) if workspace.is_live() => {
            tracing::warn!(workspace.id = %id, "a workspace that is not deleted was to be purged");
            return Ok(());
        }
        Some(_) => {}
    }
    agents::delete::purge_all(db, id).await?;
    loop {
        let members = db
            .list::<Member>(&keys::members(id), &PageRequest::default(), false)
            .await?
            .items;
        if members.is_empty() {
            break;
        }
        for member in members {
            db.take(&keys::membership(member.user_id, id), &Cond::item_exists())
                .await?;
            db.take(&member.key(), &Cond::item_exists()).await?;
        }
    }
    db.take(&keys::workspace(id), &Cond::exists("deletedAt")).await?;
    Ok(())
}
