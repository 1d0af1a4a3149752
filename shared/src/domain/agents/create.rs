//! Making agents from presets, exactly to the limits.

use serde_json::json;

use super::Agent;
use super::presets::{self, Preset};
use super::view::AgentView;
use crate::app::App;
use crate::clock::Clock;
use crate::context::Context;
use crate::domain::plans::ACTIVE_AGENTS;
use crate::domain::users::Account;
use crate::domain::workspaces::Workspace;
use crate::error::{Error, Result};
use crate::ids::{AgentId, WorkspaceId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Page, Tx, Update, keys};

/// How many agents one request makes at most: all of them are one transaction.
pub const MAX_AT_ONCE: usize = 20;

/// Which agents to make.
#[derive(Debug, Clone)]
pub struct NewAgents {
    presets: Vec<&'static Preset>,
    active: bool,
}

impl NewAgents {
    /// One agent per preset id, in this order; a preset may appear more than once.
    ///
    /// # Errors
    /// `Invalid`, naming each id that is no preset's.
    pub fn parse(preset_ids: &[String], active: bool) -> Result<Self> {
        Ok(Self {
            presets: presets::named("presetIds", preset_ids)?,
            active,
        })
    }
}

/// Makes all of the agents or none. The counts of the owner's account and of the workspace are conditions of the same
/// commit, so that parallel requests cannot pass a limit together.
///
/// # Errors
/// `PlanLimit` for the agents of the owner's account or the active ones of the workspace; `SubscriptionRequired` when
/// the owner's account is read-only.
pub async fn create(
    app: &App,
    context: &Context,
    workspace: &Workspace,
    once: Option<&OnceKey>,
    new: &NewAgents,
) -> Result<Reply<Page<AgentView>>> {
    let account = Account::that_may_write(app.db(), workspace.owner_id, context.now).await?;
    let count = u32::try_from(new.presets.len()).map_err(Error::internal)?;
    let limit = account.plan.limits().agents;
    let mut tx = app
        .tx(context)
        .update(counted_on_account(&account, count, context)?, move || over(limit))
        .update(counted_in_workspace(workspace, count, new.active)?, || {
            too_many_active()
        });
    let mut made = Vec::with_capacity(new.presets.len());
    let ids = drawn(workspace.id, new.presets.len(), app.clock());
    for (preset, id) in new.presets.iter().zip(ids) {
        let agent = Agent {
            active: new.active,
            ..Agent::from_preset(id, preset, context.now)
        };
        tx = staged(tx, &agent)?;
        made.push(AgentView::from(agent));
    }
    tx.once(once).commit(Reply::created(&Page::whole(made))?).await
}

/// The ids of so many new agents of a workspace. Ids of one millisecond come in any order; sorted, the list later shows the
/// agents in the order of the request.
pub(crate) fn drawn(workspace: WorkspaceId, count: usize, clock: &dyn Clock) -> Vec<AgentId> {
    let mut ids: Vec<_> = (0..count).map(|_| AgentId::new(workspace, clock)).collect();
    ids.sort_unstable();
    ids
}

/// Puts a new agent and the record of it into a commit; the counts of account and workspace are the caller's.
///
/// # Errors
/// `Internal`, never.
pub(crate) fn staged<'a>(tx: Tx<'a>, agent: &Agent) -> Result<Tx<'a>> {
    let scope = Scope::Workspace(agent.id.workspace());
    let detail = json!({"presetId": agent.preset_id, "active": agent.active});
    tx.create(agent)?
        .audit(Action::AgentCreated, scope, agent.id, detail)
}

fn counted_on_account(account: &Account, count: u32, context: &Context) -> Result<Update> {
    let update = Update::of(account.key()).increase("agents", i64::from(count))?;
    let update = update.when(account.unchanged(context.now)?);
    Ok(match account.plan.limits().agents {
        // A limit below what is asked for can never be met; the condition then refuses, as `agents` is not negative.
        Some(max) => update.when(Cond::le("agents", i64::from(max) - i64::from(count))?),
        None => update,
    })
}

fn counted_in_workspace(workspace: &Workspace, count: u32, active: bool) -> Result<Update> {
    let update = Update::of(keys::workspace(workspace.id))
        .increase("agents", i64::from(count))?
        .when(Cond::absent("deletedAt"));
    if !active {
        return Ok(update);
    }
    let room = Cond::le("activeAgents", i64::from(ACTIVE_AGENTS) - i64::from(count))?;
    Ok(update.increase("activeAgents", i64::from(count))?.when(room))
}

fn over(limit: Option<u32>) -> Error {
    limit.map_or(Error::SubscriptionRequired, |max| Error::PlanLimit {
        what: "agents",
        max,
    })
}

/// No more agents may be active in the workspace.
pub(super) fn too_many_active() -> Error {
    Error::PlanLimit {
        what: "active agents",
        max: ACTIVE_AGENTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unknown_preset_is_named_by_its_place() {
        let ids = ["ceo", "nobody", "cto", ""].map(str::to_owned);
        let Err(Error::Invalid(fields)) = NewAgents::parse(&ids, true) else {
            panic!("accepted")
        };
        assert_eq!(
            fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(),
            ["presetIds[1]", "presetIds[3]"]
        );
    }
}
