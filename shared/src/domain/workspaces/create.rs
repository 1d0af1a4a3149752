//! Making a workspace, exactly to the plan's limit.

use serde_json::json;

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
use crate::store::{Cond, Tx, Update, keys};

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
    let id = WorkspaceId::new(app.clock());
    let workspace = Workspace::new(
        id,
        new.name.into(),
        new.kind_of,
        (owner, account.plan),
        context.now,
    );
    let view = WorkspaceView::of(workspace.clone(), Role::Owner);
    let limit = account.plan.limits().workspaces;
    let tx = app
        .tx(context)
        .update(one_more(&account, context)?, move || over(limit));
    opened(tx, &workspace)?
        .once(once)
        .commit(Reply::created(&view)?)
        .await
}

/// Puts a new workspace, its owner as its first member, its log and the record of it into one commit.
///
/// # Errors
/// `Internal`, never.
pub(crate) fn opened<'a>(tx: Tx<'a>, workspace: &Workspace) -> Result<Tx<'a>> {
    let (role, owner) = (Role::Owner, workspace.owner_id);
    let member = Member {
        workspace_id: workspace.id,
        user_id: owner,
        role,
        joined_at: workspace.created_at,
    };
    let membership = Membership {
        workspace_id: workspace.id,
        user_id: owner,
        role,
    };
    tx.create(workspace)?
        .create(&member)?
        .create(&membership)?
        .create(&Chain::new(&workspace.id.to_string()))?
        .audit(
            Action::WorkspaceCreated,
            Scope::Workspace(workspace.id),
            workspace.id,
            json!({"type": workspace.kind_of}),
        )
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
