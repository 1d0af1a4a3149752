//! Taking back what an onboarding made: exactly that, and as often as it takes.
//!
//! What stays: audit records and the chain of the workspace's log, as they tell what happened; and the customer at
//! Stripe. There is one for each person, made under a key of the person's; no money hangs on it, the next try uses it,
//! and the deletion of the account ends it. Deleting it here would only make that key answer a customer that is gone.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Onboarding, State, Step, Which, load, payment, steps};
use crate::app::App;
use crate::context::Context;
use crate::domain::plans::Plan;
use crate::domain::users::change::Change;
use crate::domain::users::{Account, User};
use crate::domain::workspaces::{self, Workspace};
use crate::error::{Error, Result};
use crate::store::record::Action;
use crate::store::{Cond, Tx, Update, keys};

/// The name of errors that stay, as the state machine knows them.
pub(super) const REFUSED: &str = "Camarad.Refused";

/// Why an execution was ended that had not ended by itself.
const OVERDUE: &str = "Camarad.Overdue";

/// How long a run of `undo` is left alone by the sweeper.
const TURN: SignedDuration = SignedDuration::from_mins(5);

/// How many onboardings one sweep takes up.
const AT_ONCE: u32 = 25;

/// What an attempt to take back came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Undone {
    /// Nothing of it is left.
    Undone,
    /// It was complete before: nothing to take back.
    Completed,
}

/// Takes back what the execution made. It may be ended at any point and run again, or twice at once.
///
/// # Errors
/// Those of the table and of Stripe; the next run goes on.
pub async fn undo(app: &App, which: Which, error: &str) -> Result<Undone> {
    let Some(onboarding) = load(app, which).await? else {
        return Ok(Undone::Undone);
    };
    match onboarding.state {
        State::Completed => return Ok(Undone::Completed),
        State::Failed => return Ok(Undone::Undone),
        State::Running | State::Undoing => {}
    }
    let now = app.clock().now();
    fence(app, &onboarding, error, now).await?;
    // Read again: a step may have come to its end before the fence.
    let onboarding = load(app, which).await?.ok_or_else(super::over)?;
    let cause = Context::system("onboarding", now);
    payment::close(app, &onboarding).await?;
    remove_workspace(app, &cause, &onboarding).await?;
    restore(app, &cause, &onboarding).await?;
    finish(app, &cause, &onboarding).await?;
    Ok(Undone::Undone)
}

/// From here on no step of the execution changes anything.
async fn fence(app: &App, onboarding: &Onboarding, error: &str, now: Timestamp) -> Result<()> {
    let later = now + TURN;
    let update = onboarding
        .update(onboarding.state)?
        .set("state", State::Undoing)?
        .set_if_absent("failure", error)?
        .set("dueAt", later)?
        .index1(&keys::onboarding_due(onboarding.user_id, later))?;
    let cause = Context::system("onboarding", now);
    app.tx(&cause)
        .update(update, || Error::PreconditionFailed)
        .run()
        .await
}

async fn remove_workspace(app: &App, cause: &Context, onboarding: &Onboarding) -> Result<()> {
    let id = onboarding.workspace.id;
    let Some(workspace) = app.db().get::<Workspace>(&keys::workspace(id)).await? else {
        return Ok(());
    };
    if workspace.is_live() {
        match workspaces::delete::delete(app, cause, &workspace, None).await {
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    workspaces::delete::purge(app, id).await
}

/// Account and preferences as they were, where nobody has changed them since.
async fn restore(app: &App, cause: &Context, onboarding: &Onboarding) -> Result<()> {
    let Some(before) = &onboarding.before else {
        return Ok(());
    };
    let (profile, account) = (keys::user(onboarding.user_id), keys::account(onboarding.user_id));
    let mut found = app.db().batch(&[profile.clone(), account.clone()]).await?;
    let (user, account): (Option<User>, Option<Account>) = (found.read(&profile)?, found.read(&account)?);
    let noted = onboarding.update(State::Undoing)?.remove("before");
    let mut tx = app.tx(cause).update(noted, || Error::PreconditionFailed);
    if let Some(account) = account {
        if let Some(without) = payment::closed(&account, onboarding)? {
            tx = tx.update(without, || Error::PreconditionFailed);
        }
        if let Some(back) = plan_back(&account, onboarding, before.plan)? {
            tx = tx.update(back, || Error::PreconditionFailed);
            tx = steps::replanned(tx, account.user_id, (account.plan, before.plan))?;
        }
    }
    if let (Some(user), Some(chosen)) = (user.filter(User::is_staying), &before.chosen)
        && chosen.is_current(&user)
        && let Some(back) = Change::between(&user, chosen.applied_to(&user), cause.now)?
    {
        tx = back.stage(tx, &user, Action::SettingsUpdated)?;
    }
    tx.run().await
}

/// The plan as it was; `None` when there is nothing to do. One that was paid for meanwhile stays.
fn plan_back(account: &Account, onboarding: &Onboarding, before: Plan) -> Result<Option<Update>> {
    if account.plan != onboarding.plan || before == account.plan || payment::is_subscribed(account) {
        return Ok(None);
    }
    let back = Update::of(keys::account(onboarding.user_id))
        .set("plan", before)?
        .when(Cond::eq("plan", account.plan)?)
        .when(Cond::eq("status", account.status)?);
    Ok(Some(back))
}

/// The end, after which the person may try again, with the same Idempotency-Key too.
async fn finish(app: &App, cause: &Context, onboarding: &Onboarding) -> Result<()> {
    let end = onboarding.update(State::Undoing)?;
    match ended(app.tx(cause), end, onboarding, cause.now)?.run().await {
        // Another run was faster.
        Ok(()) | Err(Error::PreconditionFailed) => Ok(()),
        Err(error) => Err(error),
    }
}

fn ended<'a>(tx: Tx<'a>, end: Update, onboarding: &Onboarding, now: Timestamp) -> Result<Tx<'a>> {
    let end = Onboarding::end(end, State::Failed, now)?;
    let key = keys::once(onboarding.user_id, &onboarding.once);
    Ok(tx
        .update(end, || Error::PreconditionFailed)
        .delete(key, None, || Error::PreconditionFailed))
}

/// Ends an onboarding whose execution could not be started.
///
/// # Errors
/// `PreconditionFailed` when it has been started after all.
pub(super) async fn abandon(app: &App, onboarding: &Onboarding) -> Result<()> {
    let now = app.clock().now();
    let cause = Context::system("onboarding", now);
    let end = onboarding
        .update(State::Running)?
        .when(Cond::absent(["done", Step::Validate.name()]));
    ended(app.tx(&cause), end, onboarding, now)?.run().await
}

/// What a sweep of onboardings did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptOnboardings {
    /// How many had not ended in their time.
    pub overdue: usize,
    /// How many of these could not be taken back; a later sweep tries again.
    pub failed: usize,
}

/// Takes back onboardings whose execution has not ended in its time: it was never started, or Step Functions gave it up.
///
/// # Errors
/// When the table does not answer.
pub async fn sweep(app: &App) -> Result<SweptOnboardings> {
    let now = app.clock().now();
    let hints = app
        .db()
        .hints(keys::ONBOARDINGS, &keys::onboardings_until(now), AT_ONCE)
        .await?;
    let mut swept = SweptOnboardings::default();
    for user in hints.iter().filter_map(keys::person_of_onboarding) {
        let found: Option<Onboarding> = app.db().get(&keys::onboarding(user)).await?;
        let Some(late) = found.filter(|o| o.goes_on() && o.due_at <= now) else {
            continue;
        };
        swept.overdue += 1;
        if let Err(error) = undo(app, late.which(), OVERDUE).await {
            swept.failed += 1;
            tracing::error!(error = %error, cause = ?error, user.id = %user, "an onboarding could not be taken back");
        }
    }
    Ok(swept)
}
