//! Changing a workspace.

use serde_json::json;

use super::Workspace;
use super::view::WorkspaceView;
use crate::app::App;
use crate::context::Context;
use crate::domain::current::on_current;
use crate::domain::name::Name;
use crate::domain::permissions::Role;
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Update, keys};

/// What changes; the rest stays.
#[derive(Debug, Clone)]
pub struct WorkspacePatch {
    /// A new name.
    pub name: Option<Name>,
}

/// Changes a workspace; `role` is the caller's, for the answer.
///
/// # Errors
/// `Invalid` when nothing is to change; `SubscriptionRequired` when the owner's account is read-only.
pub async fn update(
    app: &App,
    context: &Context,
    workspace: &Workspace,
    role: Role,
    once: Option<&OnceKey>,
    patch: &WorkspacePatch,
) -> Result<Reply<WorkspaceView>> {
    let Some(name) = &patch.name else {
        return Err(Error::field("body", "names nothing to change"));
    };
    on_current(app.db(), workspace.clone(), async |old: Workspace| {
        if !old.is_live() {
            return Err(Error::NotFound);
        }
        let new = Workspace {
            name: name.to_string(),
            updated_at: context.now,
            version: old.version + 1,
            ..old.clone()
        };
        let change = Update::of(new.key())
            .set("name", &new.name)?
            .set("updatedAt", new.updated_at)?
            .set("version", new.version)?
            .when(Cond::eq("version", old.version)?.and(Cond::absent("deletedAt")));
        let view = WorkspaceView::of(new, role);
        app.tx(context)
            .update(change, || Error::PreconditionFailed)
            .check(
                keys::account(old.owner_id),
                Account::may_write(context.now)?,
                || Error::SubscriptionRequired,
            )
            .audit(
                Action::WorkspaceUpdated,
                Scope::Workspace(old.id),
                old.id,
                json!({"changed": ["name"]}),
            )?
            .once(once)
            .commit(Reply::ok(&view)?)
            .await
    })
    .await
}
