//! Asking for the deletion of an account: one commit after which nothing of it acts any more.

use serde_json::json;

use super::{Deletion, DeletionView, REQUESTED, Requested, STRAGGLERS, Stage, StatusToken, TURN};
use crate::app::App;
use crate::context::Context;
use crate::domain::auth::api_keys::ApiKey;
use crate::domain::auth::sessions::{self, Session};
use crate::domain::current::on_current;
use crate::domain::permissions::Role;
use crate::domain::users::{SubscriptionStatus, User, profile};
use crate::domain::workspaces::{Member, Membership, Workspace};
use crate::error::{Error, Result};
use crate::ids::{UserId, WorkspaceId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Db, Entity, PageRequest, Tx, Update, keys};

/// How many sessions end in the commit itself; if there are more, the oldest end just before it.
const SESSIONS_AT_ONCE: usize = 50;

/// What a person's leaving means for workspaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closing {
    /// Their own in which there is somebody else: to be transferred or closed first.
    pub shared: Vec<WorkspaceId>,
    /// Those of others.
    pub elsewhere: Vec<WorkspaceId>,
}

/// Looks through the workspaces of a person.
///
/// # Errors
/// When the table does not answer.
pub async fn closing(db: &Db, user: UserId) -> Result<Closing> {
    let mut closing = Closing::default();
    for membership in db.all::<Membership>(&keys::memberships(user)).await? {
        let id = membership.workspace_id;
        if membership.role != Role::Owner {
            closing.elsewhere.push(id);
            continue;
        }
        let members = db
            .list::<Member>(&keys::members(id), &PageRequest::of(2), false)
            .await?;
        let others = members.items.iter().any(|m| m.user_id != user);
        let workspace = db.get::<Workspace>(&keys::workspace(id)).await?;
        if others && workspace.is_some_and(|w| w.is_live()) {
            closing.shared.push(id);
        }
    }
    Ok(closing)
}

/// Asks for the deletion of `user`'s account.
///
/// # Errors
/// `OwnsSharedWorkspaces`, with their ids, as long as there are any; `NotFound` when it was asked for before.
pub async fn request(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<DeletionView>> {
    let first = profile::read(app, user).await?;
    on_current(app.db(), first, async |current: User| {
        if !current.is_staying() {
            return Err(Error::NotFound);
        }
        let Closing { shared, elsewhere } = closing(app.db(), user).await?;
        if !shared.is_empty() {
            return Err(Error::OwnsSharedWorkspaces(shared));
        }
        commit(app, cause, (&current, elsewhere), once).await
    })
    .await
}

async fn commit(
    app: &App,
    cause: &Context,
    (user, elsewhere): (&User, Vec<WorkspaceId>),
    once: Option<&OnceKey>,
) -> Result<Reply<DeletionView>> {
    let token = StatusToken::fresh(user.id);
    let deletion = Deletion {
        user_id: user.id,
        stage: Stage::Deleting,
        token_hash: token.hash(),
        elsewhere,
        requested_at: cause.now,
        due_at: cause.now + TURN,
        removed_at: None,
        completed_at: None,
    };
    let view = DeletionView {
        status_token: Some(token.text()),
        ..DeletionView::from(&deletion)
    };
    // A sign-in writes lastLoginAt, so one that comes between here and the commit is seen, and its session ended.
    let tombstone = Update::of(user.key())
        .set("deletingAt", cause.now)?
        .set("version", user.version + 1)?
        .when(Cond::absent("deletingAt"))
        .when(Cond::eq("version", user.version)?)
        .when(Cond::eq("lastLoginAt", user.last_login_at)?);
    // The account counts its keys: one that is made or deleted between the list of them and the commit is seen.
    let account = app.db().get_doc(&keys::account(user.id)).await?;
    let count: Option<u32> = account.map(|doc| doc.field("apiKeys")).transpose()?.flatten();
    let same_keys = match count {
        Some(count) => Cond::eq("apiKeys", count)?,
        None => Cond::absent("apiKeys"),
    };
    // What was begun before and not committed yet asks whether the account may still write.
    let closed = Update::of(keys::account(user.id)).set("status", SubscriptionStatus::Closed)?;
    let gone = || Error::PreconditionFailed;
    let tx = app
        .tx(cause)
        .once(once)
        .update(tombstone, gone)
        .update(closed.when(Cond::item_exists().and(same_keys)), gone)
        .create_or(&deletion, gone)?;
    ended(app, cause, tx, user.id)
        .await?
        .audit(
            Action::AccountDeleted,
            Scope::Account(user.id),
            user.id,
            json!({ "completedAfter": cause.now + STRAGGLERS }),
        )?
        .event(REQUESTED, Requested { user_id: user.id })?
        .commit(Reply::accepted(&view)?)
        .await
}

/// With the end of every session and key.
async fn ended<'a>(app: &App, cause: &Context, mut tx: Tx<'a>, user: UserId) -> Result<Tx<'a>> {
    let mut live = app.db().all::<Session>(&keys::sessions(user)).await?;
    live.retain(|session| session.is_live(cause.now));
    let early = live.len().saturating_sub(SESSIONS_AT_ONCE);
    for session in live.drain(..early) {
        let which = (user, session.id);
        sessions::revoke(app, cause, which, Action::SessionRevoked, "account.deleted").await?;
    }
    for session in live {
        tx = tx.delete(session.key(), None, || Error::PreconditionFailed);
    }
    for key in app.db().all::<ApiKey>(&keys::api_keys(user)).await? {
        tx = tx.delete(key.key(), Some(Cond::item_exists()), || Error::PreconditionFailed);
    }
    Ok(tx)
}
