//! Going down: the oldest workspaces and agents stay as they are, the rest can be read, exported and deleted. Nothing is
//! deleted, and what is over is written on the workspaces alone: an agent is told by its age, so that a call finds it in
//! what it reads anyway.

use super::customer::rewritten;
use super::state::Billing;
use crate::app::App;
use crate::domain::agents::Agent;
use crate::domain::permissions::Role;
use crate::domain::users::Account;
use crate::domain::workspaces::{Membership, Workspace};
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::{Cond, Entity, Outcome, Update, keys};

/// Makes the account's workspaces follow its plan, where they do not yet. May be ended at any point: the account says
/// that they follow only after the last one does.
///
/// # Errors
/// Those of the table.
pub async fn spread(app: &App, account: &Account) -> Result<()> {
    match account.billing.spread == Some(account.plan) {
        true => Ok(()),
        false => follow(app, account).await,
    }
}

/// After something of this workspace, or all of it, was deleted: what was over the limit may have come within it.
///
/// # Errors
/// Those of the table.
pub async fn freed(app: &App, workspace: WorkspaceId) -> Result<()> {
    let Some(workspace) = app.db().get::<Workspace>(&keys::workspace(workspace)).await? else {
        return Ok(());
    };
    let owner = app
        .db()
        .get::<Account>(&keys::account(workspace.owner_id))
        .await?;
    match owner.filter(|account| account.billing.reduced) {
        Some(account) => follow(app, &account).await,
        None => Ok(()),
    }
}

async fn follow(app: &App, account: &Account) -> Result<()> {
    let owned = owned(app, account).await?;
    let limits = account.plan.limits();
    let most = limits.workspaces.map_or(usize::MAX, |max| max as usize);
    let active = owned.get(..most.min(owned.len())).unwrap_or_default();
    let newest = newest_agent(app, active, limits.agents).await?;
    let reduced = owned.len() > most || newest.is_some();
    for (place, workspace) in owned.iter().enumerate() {
        let read_only = place >= most;
        let as_it_is = workspace.plan == account.plan
            && workspace.read_only == read_only
            && workspace.newest_agent == newest;
        if !as_it_is {
            write(app, account, workspace, (read_only, newest.as_deref())).await?;
        }
    }
    let billing = Billing {
        spread: Some(account.plan),
        reduced,
        ..account.billing.next()
    };
    // Whoever wrote in between makes them follow, or the next look does; a closed account has none that could.
    match app.db().update(&rewritten(account, &billing)?).await? {
        Outcome::Applied(_) | Outcome::Refused(_) => Ok(()),
    }
}

/// The workspaces that the account owns, oldest first.
async fn owned(app: &App, account: &Account) -> Result<Vec<Workspace>> {
    let db = app.db();
    let memberships = db.all::<Membership>(&keys::memberships(account.user_id)).await?;
    let wanted: Vec<_> = memberships
        .iter()
        .filter(|m| m.role == Role::Owner)
        .map(|m| keys::workspace(m.workspace_id))
        .collect();
    let mut owned = Vec::with_capacity(wanted.len());
    for keys in wanted.chunks(100) {
        let mut read = db.batch(keys).await?;
        for key in keys {
            owned.extend(read.read::<Workspace>(key)?);
        }
    }
    owned.retain(|w| w.is_live() && w.owner_id == account.user_id);
    owned.sort_by_key(|w| w.id);
    Ok(owned)
}

/// The newest agent within the limit, if some are beyond it.
async fn newest_agent(app: &App, active: &[Workspace], limit: Option<u32>) -> Result<Option<String>> {
    let Some(limit) = limit else { return Ok(None) };
    let count: u32 = active.iter().map(|w| w.agents).sum();
    if count <= limit {
        return Ok(None);
    }
    let mut agents = Vec::new();
    for workspace in active {
        let all = app.db().all::<Agent>(&keys::agents(workspace.id)).await?;
        agents.extend(all.into_iter().map(|agent| agent.id.own()));
    }
    // Their own part of the id sorts by when they were made.
    agents.sort_unstable();
    match agents.len() > limit as usize {
        true => Ok(agents.into_iter().nth((limit as usize).saturating_sub(1))),
        false => Ok(None),
    }
}

async fn write(
    app: &App,
    account: &Account,
    workspace: &Workspace,
    (read_only, newest): (bool, Option<&str>),
) -> Result<()> {
    let update = Update::of(workspace.key())
        .set("plan", account.plan)?
        .set("readOnly", read_only)?
        .increase("version", 1)?
        .when(Cond::absent("deletedAt"))
        .when(Cond::eq("ownerId", account.user_id)?);
    let update = match newest {
        Some(newest) => update.set("newestAgent", newest)?,
        None => update.remove("newestAgent"),
    };
    match app.db().update(&update).await? {
        Outcome::Applied(_) | Outcome::Refused(_) => Ok(()),
    }
}
