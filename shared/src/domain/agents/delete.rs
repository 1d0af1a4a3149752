//! Deleting an agent: the row at once, its conversations by a job.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Agent, DeletedAgent};
use crate::app::App;
use crate::context::Context;
use crate::domain::current::on_current;
use crate::domain::workspaces::{Member, Workspace};
use crate::error::{Error, Result};
use crate::ids::{AgentId, ConversationId, UserId, WorkspaceId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Db, Entity, PageRequest, Update, keys};

/// The event that makes the outbox call `purge`; its data is `Deleted`.
pub const DELETED: &str = "com.camarad.agent.deleted";

/// What the event says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The agent that was deleted.
    pub agent_id: AgentId,
}

/// Deletes an agent and frees its place in the limits, in one commit that no second deletion can repeat.
///
/// # Errors
/// `NotFound` when the agent or its workspace is gone.
pub async fn delete(
    app: &App,
    context: &Context,
    workspace: &Workspace,
    agent: &Agent,
    once: Option<&OnceKey>,
) -> Result<Reply<()>> {
    on_current(app.db(), agent.clone(), async |current: Agent| {
        // The version pins the agent's state, so that exactly what it counts for is given back.
        let pinned = Cond::eq("version", current.version)?;
        let in_workspace = Update::of(keys::workspace(workspace.id))
            .increase("agents", -1)?
            .increase("activeAgents", -i64::from(current.active))?
            .when(Cond::absent("deletedAt"));
        let on_account = Update::of(keys::account(workspace.owner_id)).increase("agents", -1)?;
        app.tx(context)
            .delete(current.key(), Some(pinned), || Error::PreconditionFailed)
            .put(&DeletedAgent { id: current.id })?
            .update(in_workspace, || Error::NotFound)
            .update(on_account, || Error::NotFound)
            .audit(
                Action::AgentDeleted,
                Scope::Workspace(workspace.id),
                current.id,
                json!({"presetId": current.preset_id}),
            )?
            .event(DELETED, Deleted { agent_id: current.id })?
            .once(once)
            .commit(Reply::no_content())
            .await
    })
    .await
}

/// Removes the conversations of a deleted agent. It may be ended at any point: the next run goes on. Any other agent is
/// left alone.
///
/// # Errors
/// Those of the table.
pub async fn purge(app: &App, id: AgentId) -> Result<()> {
    match app.db().get::<DeletedAgent>(&keys::deleted_agent(id)).await? {
        Some(gone) => purge_one(app.db(), &gone).await,
        None => Ok(()),
    }
}

/// Removes every agent of a deleted workspace, with its conversations.
pub(crate) async fn purge_all(db: &Db, workspace: WorkspaceId) -> Result<()> {
    let first = PageRequest::default();
    loop {
        let agents = db
            .list::<Agent>(&keys::agents(workspace), &first, false)
            .await?
            .items;
        for agent in &agents {
            // The row goes before the conversations, so that a call that still runs adds none; what is left says what
            // remains to be done.
            db.put(&DeletedAgent { id: agent.id }, None).await?;
            db.take(&agent.key(), &Cond::item_exists()).await?;
        }
        let gone = db
            .list::<DeletedAgent>(&keys::deleted_agents(workspace), &first, false)
            .await?
            .items;
        for agent in &gone {
            purge_one(db, agent).await?;
        }
        if agents.is_empty() && gone.is_empty() {
            return Ok(());
        }
    }
}

async fn purge_one(db: &Db, gone: &DeletedAgent) -> Result<()> {
    purge_conversations(db, gone.id).await?;
    db.take(&gone.key(), &Cond::item_exists()).await?;
    Ok(())
}

async fn purge_conversations(db: &Db, agent: AgentId) -> Result<()> {
    let mut page = PageRequest::default();
    loop {
        let members = db
            .list::<Member>(&keys::members(agent.workspace()), &page, false)
            .await?;
        for member in members.items {
            purge_conversations_of(db, agent, member.user_id).await?;
        }
        match members.next_cursor {
            Some(cursor) => page = PageRequest::parse(None, Some(&cursor))?,
            None => return Ok(()),
        }
    }
}

/// Removes what one person said to the agents of a workspace, those that are being removed included.
pub(crate) async fn forget_person(db: &Db, workspace: WorkspaceId, user: UserId) -> Result<()> {
    for agent in db.all::<Agent>(&keys::agents(workspace)).await? {
        purge_conversations_of(db, agent.id, user).await?;
    }
    for agent in db.all::<DeletedAgent>(&keys::deleted_agents(workspace)).await? {
        purge_conversations_of(db, agent.id, user).await?;
    }
    Ok(())
}

async fn purge_conversations_of(db: &Db, agent: AgentId, user: UserId) -> Result<()> {
    loop {
        let conversations = db
            .docs(&keys::conversations(agent, user), &PageRequest::default())
            .await?;
        if conversations.is_empty() {
            return Ok(());
        }
        for conversation in conversations {
            if let Some(id) = conversation.field::<ConversationId>("id")? {
                db.empty(&keys::turns(id)).await?;
            }
            db.take(&conversation.key()?, &Cond::item_exists()).await?;
        }
    }
}
