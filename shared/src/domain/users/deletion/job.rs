//! What remains to be done after the commit. Every step may be repeated, and each run begins with the first: what is
//! done already costs a query that finds nothing. What is needed to find other items goes after them.

use jiff::Timestamp;
use serde_json::json;

use super::{Deletion, STRAGGLERS, Stage, TURN};
use crate::app::App;
use crate::context::Context;
use crate::domain::agents::delete::forget_person;
use crate::domain::billing::event::order_leave;
use crate::domain::ledger::{self, Kind};
use crate::domain::users::User;
use crate::domain::users::identity::LinkedIdentity;
use crate::domain::workspaces::{self, Membership, Workspace};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::reply::Reply;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Db, Outcome, PageRequest, Update};

/// How many deletions one sweep takes up.
const AT_ONCE: u32 = 25;

/// Does what remains of a deletion now. It may be ended at any point, run twice, or twice at once: the next run goes on.
///
/// # Errors
/// Those of the table. What has been done stays done.
pub async fn carry_on(app: &App, user: UserId) -> Result<()> {
    let now = app.clock().now();
    let Some(deletion) = app.db().get::<Deletion>(&keys::deletion(user)).await? else {
        return Ok(());
    };
    match deletion.stage {
        Stage::Deleting => {
            postpone(app, &deletion, now).await?;
            stop_calls(app, &deletion, now).await?;
            remove(app, &deletion, now).await?;
            let finish = deletion.requested_at + STRAGGLERS;
            let next = Update::of(keys::deletion(user))
                .set("stage", Stage::Finishing)?
                .set("removedAt", now)?
                .set("dueAt", finish)?
                .index1(&keys::deletion_due(user, finish))?;
            advance(app, &deletion, next).await
        }
        Stage::Finishing if now < deletion.requested_at + STRAGGLERS => Ok(()),
        Stage::Finishing => {
            postpone(app, &deletion, now).await?;
            // What was asked of Stripe before the commit, and came to something after it was looked at first.
            order_leave(app, user, &format!("left-{user}")).await?;
            remove(app, &deletion, now).await?;
            let completed = Deletion {
                stage: Stage::Completed,
                completed_at: Some(now),
                elsewhere: Vec::new(),
                ..deletion.clone()
            };
            let still = Cond::eq("stage", deletion.stage)?;
            app.db().put(&completed, Some(&still)).await.map(drop)
        }
        Stage::Completed => Ok(()),
    }
}

/// Moves the next look away, so that the sweeper neither joins this run nor tries nothing but what fails.
async fn postpone(app: &App, deletion: &Deletion, now: Timestamp) -> Result<()> {
    let later = now + TURN;
    let update = Update::of(keys::deletion(deletion.user_id))
        .set("dueAt", later)?
        .index1(&keys::deletion_due(deletion.user_id, later))?;
    advance(app, deletion, update).await
}

/// Writes the item unless another run has taken it to its next stage.
async fn advance(app: &App, deletion: &Deletion, update: Update) -> Result<()> {
    let update = update.when(Cond::eq("stage", deletion.stage)?);
    match app.db().update(&update).await? {
        Outcome::Applied(_) | Outcome::Refused(_) => Ok(()),
    }
}

/// Asks the calls that the person pays for to stop. Those that others pay for end by themselves.
async fn stop_calls(app: &App, deletion: &Deletion, now: Timestamp) -> Result<()> {
    let cause = Context::system("account-deletion", now);
    let since = deletion.requested_at - STRAGGLERS;
    let mut page = PageRequest::default();
    loop {
        let entries = ledger::entries(app, deletion.user_id, &page).await?;
        let young = entries.items.iter().filter(|e| e.at > since);
        for entry in young.filter(|e| e.entry == Kind::Hold) {
            let (Some(call), Some(memo)) = (entry.call, &entry.memo) else {
                continue;
            };
            let which = (call, memo.user, memo.agent);
            match ledger::request_stop(app, &cause, None, which, Reply::no_content()).await {
                // It has no row yet, or none any more: it ends by itself.
                Ok(_) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let done = entries.items.last().is_none_or(|e| e.at <= since);
        match entries.next_cursor {
            Some(cursor) if !done => page = PageRequest::parse(None, Some(&cursor))?,
            _ => return Ok(()),
        }
    }
}

/// Removes everything that is the person's.
async fn remove(app: &App, deletion: &Deletion, now: Timestamp) -> Result<()> {
    let cause = Context::system("account-deletion", now);
    let (db, user) = (app.db(), deletion.user_id);
    for membership in db.all::<Membership>(&keys::memberships(user)).await? {
        depart(app, &cause, &membership).await?;
    }
    // Also where a call that still ran has answered after the person had left.
    for workspace in &deletion.elsewhere {
        forget_person(db, *workspace, user).await?;
    }
    identities(db, user).await?;
    belongings(db, user).await
}

/// Closes the person's own workspace, or leaves another's.
async fn depart(app: &App, cause: &Context, membership: &Membership) -> Result<()> {
    let (db, user, id) = (app.db(), membership.user_id, membership.workspace_id);
    let workspace = db.get::<Workspace>(&keys::workspace(id)).await?;
    if let Some(own) = workspace.filter(|w| w.owner_id == user) {
        match workspaces::delete::delete(app, cause, &own, None).await {
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
        workspaces::delete::purge(app, id).await?;
    } else {
        forget_person(db, id, user).await?;
        let gone = || Error::NotFound;
        let left = app
            .tx(cause)
            .delete(keys::member(id, user), Some(Cond::item_exists()), gone)
            .audit(
                Action::MemberRemoved,
                Scope::Workspace(id),
                user,
                json!({ "reason": "account.deleted" }),
            )?;
        match left.run().await {
            Ok(()) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    db.take(&keys::membership(user, id), &Cond::item_exists())
        .await
        .map(drop)
}

/// Frees the address and the identities; only while they are this person's.
async fn identities(db: &Db, user: UserId) -> Result<()> {
    let theirs = Cond::eq("userId", user)?;
    for linked in db.all::<LinkedIdentity>(&keys::linked_identities(user)).await? {
        let held = keys::identity(&linked.identity.provider, &linked.identity.subject);
        db.take(&held, &theirs).await?;
    }
    if let Some(profile) = db.get::<User>(&keys::user(user)).await? {
        db.take(&keys::email(&profile.email), &theirs).await?;
    }
    Ok(())
}

/// Removes all that is stored with the person: sessions, keys, exports, the person's key of audit records, and at last
/// the profile. The account stays: that there was a subscription, and none of it is personal.
async fn belongings(db: &Db, user: UserId) -> Result<()> {
    let (profile, account) = (keys::user(user), keys::account(user));
    let stays = |key: &Key| *key == profile || *key == account;
    let mut page = PageRequest::default();
    loop {
        let docs = db.docs(&keys::person(user), &page).await?;
        let Some(last) = docs.last() else { break };
        page = page.starting_after(last.key()?.sk());
        for doc in docs {
            let key = doc.key()?;
            if !stays(&key) {
                db.take(&key, &Cond::item_exists()).await?;
            }
        }
    }
    db.take(&profile, &Cond::item_exists()).await.map(drop)
}

/// What a sweep of deletions did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptDeletions {
    /// How many were due.
    pub due: usize,
    /// How many of these could not be carried on; a later sweep tries again.
    pub failed: usize,
}

/// Carries on with deletions that are due. One that fails does not stop the others.
///
/// # Errors
/// When the table does not answer.
pub async fn sweep(app: &App) -> Result<SweptDeletions> {
    let until = keys::deletions_until(app.clock().now());
    let hints = app.db().hints(keys::DELETIONS, &until, AT_ONCE).await?;
    let mut swept = SweptDeletions::default();
    for user in hints.iter().filter_map(keys::person_of_deletion) {
        swept.due += 1;
        if let Err(error) = carry_on(app, user).await {
            swept.failed += 1;
            tracing::error!(error = %error, cause = ?error, user.id = %user, "a deletion could not be carried on");
        }
    }
    Ok(swept)
}
