//! Making a workspace, exactly to the plan's limit.

use serde_json::json;

use super::settings::AUDIT_RETENTION_DAYS;
use super::view::WorkspaceView;
use super::{Member, Membership, Workspace, WorkspaceType};
use crate::app::App;
use crate::context::Context;
use crate::domain::audit::chain::Chain;
use crate::domain::name::Name;
use crate::domain::permissions::Role;
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::ids::{UserId, WorkspaceId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Update, keys};

/// What a workspace is made from.
#[derive(Debug, Clone)]
pub struct NewWorkspace {
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub kind_of: WorkspaceType,
}

/// Makes a workspace that `owner` owns and pays for. The count of the owner's workspaces is a condition of the same
/// commit, so that parallel requests cannot pass the limit together.
///
/// # Errors
/// `PlanLimit`; `SubscriptionRequired` when the owner's trial is over.
pub async fn create(
    app: &App,
    context: &Context,
    owner: UserId,
    once: Option<&OnceKey>,
    new: NewWorkspace,
) -> Result<Reply<WorkspaceView>> {
    let account = Account::that_may_write(app.db(), owner, context.now).await?;
    let workspace = Workspace {
        id: WorkspaceId::new(app.clock()),
        name: new.name.into(),
        kind_of: new.kind_of,
        owner_id: owner,
        plan: account.plan,
        agents: 0,
        active_agents: 0,
        created_at: context.now,
        updated_at: context.now,
        version: 1,
        audit_retention_days: AUDIT_RETENTION_DAYS,
        default_model: None,
        default_tone: None,
        default_locale: None,
        read_only: false,
        newest_agent: None,
        allocation: None,
        deleted_at: None,
    };
    let role = Role::Owner;
    let member = Member {
        workspace_id: workspace.id,
        user_id: owner,
        role,
        joined_at: context.now,
    };
    let membership = Membership {
        workspace_id: workspace.id,
        user_id: owner,
        role,
    };
    let view = WorkspaceView::of(workspace.clone(), role);
    let limit = account.plan.limits().workspaces;
    let tx = app
        .tx(context)
        .update(one_more(&account, context)?, move || over(limit));
    tx.create(&workspace)?
        .create(&member)?
        .create(&membership)?
        .create(&Chain::new(&workspace.id.to_string()))?
        .audit(
            Action::WorkspaceCreated,
            Scope::Workspace(workspace.id),
            workspace.id,
            json!({"name": workspace.name, "type": workspace.kind_of}),
        )?
        .once(once)
        .commit(Reply::created(&view)?)
        .await
}

fn one_more(account: &Account, context: &Context) -> Result<Update> {
    let count = Update::of(keys::account(account.user_id)).increase("workspaces", 1)?;
    let count = count.when(account.unchanged(context.now)?);
    Ok(match account.plan.limits().workspaces {
        Some(max) => count.when(Cond::lt("workspaces", max)?),
        None => count,
    })
}

/// The account was live and on this plan when it was read, so what refused the commit is the count; without a limit
/// it can only be a subscription that ended in between.
fn over(limit: Option<u32>) -> Error {
    limit.map_or(Error::SubscriptionRequired, |max| Error::PlanLimit {
        what: "workspaces",
        max,
    })
}
