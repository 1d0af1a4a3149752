//! Changing an agent.

use serde_json::{Map, Value, json};

use super::Agent;
use super::create::too_many_active;
use super::view::AgentView;
use crate::app::App;
use crate::context::Context;
use crate::domain::current::on_current;
use crate::domain::name::Name;
use crate::domain::plans::ACTIVE_AGENTS;
use crate::domain::runtime::catalogue;
use crate::domain::users::Account;
use crate::domain::workspaces::Workspace;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Tx, Update, keys};

/// What changes; the rest stays.
#[derive(Debug, Clone, Default)]
pub struct AgentPatch {
    /// A new name.
    pub name: Option<Name>,
    /// Whether it answers.
    pub active: Option<bool>,
    /// The model it asks for, one of the catalogue; `Some(None)` goes back to the default one.
    pub model: Option<Option<String>>,
}

impl AgentPatch {
    fn is_empty(&self) -> bool {
        self.name.is_none() && self.active.is_none() && self.model.is_none()
    }

    /// # Errors
    /// `Invalid` when nothing is to change, or the model is not in the catalogue: it would have no price.
    fn check(&self) -> Result<()> {
        if self.is_empty() {
            return Err(Error::field("body", "names nothing to change"));
        }
        match self.model.as_ref().and_then(Option::as_deref) {
            Some(model) if catalogue::find(model).is_none() => {
                Err(Error::field("model", format!("there is no model {model:?}")))
            }
            _ => Ok(()),
        }
    }

    fn apply(&self, old: &Agent, context: &Context) -> Agent {
        Agent {
            name: self
                .name
                .as_ref()
                .map_or_else(|| old.name.clone(), Name::to_string),
            active: self.active.unwrap_or(old.active),
            model: self.model.clone().unwrap_or_else(|| old.model.clone()),
            updated_at: context.now,
            version: old.version + 1,
            ..old.clone()
        }
    }
}

/// Changes an agent.
///
/// # Errors
/// `Invalid` when nothing is to change or the model is unknown; `PlanLimit` when it would be one active agent too many; `NotFound` when it was
/// deleted meanwhile; `SubscriptionRequired` when the owner's account is read-only.
pub async fn update(
    app: &App,
    context: &Context,
    workspace: &Workspace,
    agent: &Agent,
    once: Option<&OnceKey>,
    patch: &AgentPatch,
) -> Result<Reply<AgentView>> {
    patch.check()?;
    on_current(app.db(), agent.clone(), async |old: Agent| {
        let new = patch.apply(&old, context);
        let unchanged = Cond::eq("version", old.version)?;
        let may_write = Account::may_write(context.now)?;
        let tx = app
            .tx(context)
            .put_if(&new, unchanged, || Error::PreconditionFailed)?
            .check(keys::account(workspace.owner_id), may_write, || {
                Error::SubscriptionRequired
            })
            .audit(
                Action::AgentUpdated,
                Scope::Workspace(workspace.id),
                new.id,
                difference(&old, &new),
            )?;
        counted(tx, &old, &new)?
            .once(once)
            .commit(Reply::ok(&AgentView::from(new))?)
            .await
    })
    .await
}

/// The workspace's count of active agents follows in the same commit; it must still be there in any case.
fn counted<'a>(tx: Tx<'a>, old: &Agent, new: &Agent) -> Result<Tx<'a>> {
    let key = keys::workspace(new.id.workspace());
    let there = Cond::absent("deletedAt");
    Ok(match (old.active, new.active) {
        (false, true) => {
            let room = Cond::lt("activeAgents", ACTIVE_AGENTS)?;
            let more = Update::of(key)
                .increase("activeAgents", 1)?
                .when(there)
                .when(room);
            tx.update(more, too_many_active)
        }
        (true, false) => {
            let less = Update::of(key).increase("activeAgents", -1)?.when(there);
            tx.update(less, || Error::NotFound)
        }
        _ => tx.check(key, there, || Error::NotFound),
    })
}

/// What differs, by name; with the values where they are the catalogue's or a switch, not what somebody typed.
fn difference(old: &Agent, new: &Agent) -> Value {
    let values = [
        ("active", json!(old.active), json!(new.active)),
        ("model", json!(old.model), json!(new.model)),
    ];
    let differ = values.into_iter().filter(|(_, before, after)| before != after);
    let mut told: Map<_, _> = differ
        .map(|(name, before, after)| (name.to_owned(), json!({"old": before, "new": after})))
        .collect();
    if old.name != new.name {
        told.insert("changed".into(), json!(["name"]));
    }
    told.into()
}
