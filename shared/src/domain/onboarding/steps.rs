//! The steps. Each may be run again, also while another run of it goes on: what it writes is written once, and only as
//! long as the execution stands.

use jiff::Timestamp;
use serde_json::json;

use super::{Before, Chosen, Onboarding, State, Step, Which, load, over, payment};
use crate::app::App;
use crate::context::Context;
use crate::domain::agents::{self, Agent, presets};
use crate::domain::plans::{ACTIVE_AGENTS, Plan};
use crate::domain::users::change::Change;
use crate::domain::users::{Account, SubscriptionStatus, User};
use crate::domain::workspaces::Workspace;
use crate::domain::workspaces::create::opened;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Tx, Update, keys};

/// The execution's item, if the step is to be done; `None` if it was done before.
async fn standing(app: &App, which: Which, step: Step) -> Result<Option<Onboarding>> {
    let onboarding = load(app, which).await?.ok_or_else(over)?;
    match onboarding.state {
        State::Running | State::Completed if onboarding.is_done(step) => Ok(None),
        State::Running if Step::ALL.iter().any(|s| *s < step && !onboarding.is_done(*s)) => {
            Err(Error::internal("a step of an onboarding out of its turn"))
        }
        State::Running => Ok(Some(onboarding)),
        State::Completed | State::Undoing | State::Failed => Err(over()),
    }
}

/// Somebody else was faster: to be looked at again.
fn moved() -> Error {
    Error::PreconditionFailed
}

async fn people(app: &App, which: Which) -> Result<(User, Account)> {
    let (profile, account) = (keys::user(which.user_id), keys::account(which.user_id));
    let mut found = app.db().batch(&[profile.clone(), account.clone()]).await?;
    let user: Option<User> = found.read(&profile)?;
    let user = user.filter(User::is_staying).ok_or(Error::NotFound)?;
    Ok((user, found.read(&account)?.ok_or(Error::NotFound)?))
}

/// Whether it may be begun still.
///
/// # Errors
/// `Conflict` when it was done already, and those of `admitted`.
pub async fn validate(app: &App, which: Which) -> Result<()> {
    let Some(onboarding) = standing(app, which, Step::Validate).await? else {
        return Ok(());
    };
    let (user, account) = people(app, which).await?;
    if user.onboarding_completed_at.is_some() {
        return Err(over());
    }
    let now = app.clock().now();
    admitted(&account, &onboarding, now)?;
    let done = onboarding.step_done(Step::Validate, now)?;
    app.tx(&onboarding.cause(now)).update(done, moved).run().await
}

/// That an account may have what is to be made, for the commit: it has not subscribed yet, and any plan may be chosen, or it
/// has subscribed to the chosen one.
///
/// # Errors
/// `SubscriptionRequired` when its subscription is over: another one comes first. `Invalid` with `planId` when it has
/// another plan; `PlanLimit`.
pub(super) fn admitted(account: &Account, onboarding: &Onboarding, now: Timestamp) -> Result<Cond> {
    let unchanged = match account.status {
        SubscriptionStatus::Incomplete => {
            Cond::eq("plan", account.plan)?.and(Cond::eq("status", account.status)?)
        }
        _ if !account.is_live(now) => return Err(Error::SubscriptionRequired),
        _ if account.plan != onboarding.plan => {
            let told = "there is a subscription to another plan: change the plan instead";
            return Err(Error::field("planId", told));
        }
        _ => account.unchanged(now)?,
    };
    room(account, onboarding)?;
    Ok(unchanged)
}

/// Whether the plan has room for one workspace and its agents more.
fn room(account: &Account, onboarding: &Onboarding) -> Result<()> {
    let limits = onboarding.plan.limits();
    let agents = u32::try_from(onboarding.agents.len()).map_err(Error::internal)?;
    for (what, used, more, max) in [
        ("workspaces", account.workspaces, 1, limits.workspaces),
        ("agents", account.agents, agents, limits.agents),
    ] {
        if let Some(max) = max.filter(|max| used.saturating_add(more) > *max) {
            return Err(Error::PlanLimit { what, max });
        }
    }
    Ok(())
}

/// Plan, workspace, agents and preferences, in one transaction.
///
/// # Errors
/// Those of `admitted` when something changed meanwhile; `PreconditionFailed` when the step should be run again.
pub async fn create_workspace(app: &App, which: Which) -> Result<()> {
    let Some(onboarding) = standing(app, which, Step::CreateWorkspace).await? else {
        return Ok(());
    };
    let (user, account) = people(app, which).await?;
    let now = app.clock().now();
    let unchanged = admitted(&account, &onboarding, now)?;
    let cause = onboarding.signed_cause(app, now).await?;
    let change = match &onboarding.chosen {
        // What the person chose since then counts more.
        Some(chosen) if chosen.is_current(&user) => Change::between(&user, chosen.applied_to(&user), now)?,
        _ => None,
    };
    let before = Before {
        plan: account.plan,
        chosen: change.as_ref().map(|change| Chosen {
            profile_version: change.new.version,
            preferences_version: change.new.preferences.version,
            ..Chosen::of(&user)
        }),
    };
    let done = onboarding
        .step_done(Step::CreateWorkspace, now)?
        .set("before", before)?;
    let mut tx = app
        .tx(&cause)
        .update(done, moved)
        .update(counted(&account, &onboarding)?.when(unchanged), moved);
    if account.plan != onboarding.plan {
        tx = replanned(tx, account.user_id, (account.plan, onboarding.plan))?;
    }
    tx = match change {
        Some(change) => change.stage(tx, &user, Action::SettingsUpdated)?,
        None => {
            let stays = Cond::item_exists().and(Cond::absent("deletingAt"));
            tx.check(keys::user(user.id), stays, moved)
        }
    };
    tx = with_workspace(tx, &cause, &onboarding)?;
    with_agents(tx, &cause, &onboarding)?.run().await
}

/// The account with one workspace and its agents more, on the chosen plan.
fn counted(account: &Account, onboarding: &Onboarding) -> Result<Update> {
    let plan = onboarding.plan;
    let count = i64::try_from(onboarding.agents.len()).map_err(Error::internal)?;
    let mut update = Update::of(keys::account(account.user_id))
        .increase("workspaces", 1)?
        .increase("agents", count)?;
    if account.plan != plan {
        update = update.set("plan", plan)?;
    }
    let limits = plan.limits();
    if let Some(max) = limits.workspaces {
        update = update.when(Cond::lt("workspaces", max)?);
    }
    if let Some(max) = limits.agents {
        update = update.when(Cond::le("agents", i64::from(max) - count)?);
    }
    Ok(update)
}

/// Puts the record that an account's plan is another one into the commit that makes it so.
pub(super) fn replanned<'a>(tx: Tx<'a>, user: UserId, (before, after): (Plan, Plan)) -> Result<Tx<'a>> {
    let detail = json!({"before": {"plan": before}, "after": {"plan": after}});
    tx.audit(Action::SubscriptionUpdated, Scope::Account(user), user, detail)
}

/// How many of the agents are active: the first ones, as many as may be.
fn active(onboarding: &Onboarding) -> usize {
    onboarding.agents.len().min(ACTIVE_AGENTS as usize)
}

fn with_workspace<'a>(tx: Tx<'a>, cause: &Context, onboarding: &Onboarding) -> Result<Tx<'a>> {
    let wanted = &onboarding.workspace;
    let count = |n: usize| u32::try_from(n).map_err(Error::internal);
    let workspace = Workspace {
        agents: count(onboarding.agents.len())?,
        active_agents: count(active(onboarding))?,
        ..Workspace::new(
            wanted.id,
            wanted.name.clone(),
            wanted.kind_of,
            (onboarding.user_id, onboarding.plan),
            cause.now,
        )
    };
    opened(tx, &workspace)
}

fn with_agents<'a>(mut tx: Tx<'a>, cause: &Context, onboarding: &Onboarding) -> Result<Tx<'a>> {
    for (n, wanted) in onboarding.agents.iter().enumerate() {
        let preset = presets::by_id(&wanted.preset_id).ok_or(Error::NotFound)?;
        let agent = Agent {
            active: n < active(onboarding),
            ..Agent::from_preset(wanted.id, preset, cause.now)
        };
        tx = agents::create::staged(tx, &agent)?;
    }
    Ok(tx)
}

/// The person at Stripe.
///
/// # Errors
/// Those of Stripe.
pub async fn create_customer(app: &App, which: Which) -> Result<()> {
    let Some(onboarding) = standing(app, which, Step::CreateCustomer).await? else {
        return Ok(());
    };
    let cause = onboarding.cause(app.clock().now());
    let customer = payment::customer(app, &cause, &onboarding).await?;
    let done = onboarding
        .step_done(Step::CreateCustomer, app.clock().now())?
        .set("customer", customer)?;
    app.tx(&cause).update(done, moved).run().await
}

/// The page where a card is entered; none for who has a subscription.
///
/// # Errors
/// Those of Stripe.
pub async fn create_checkout(app: &App, which: Which) -> Result<()> {
    let Some(mut onboarding) = standing(app, which, Step::CreateCheckout).await? else {
        return Ok(());
    };
    let (_, account) = people(app, which).await?;
    let now = app.clock().now();
    let cause = onboarding.cause(now);
    if payment::is_subscribed(&account) && onboarding.order.is_none() {
        let done = onboarding.step_done(Step::CreateCheckout, now)?;
        return app.tx(&cause).update(done, moved).run().await;
    }
    if onboarding.order.is_none() {
        let order = payment::order(app, &account, &onboarding).await?;
        let wanted = onboarding.update(State::Running)?.set_if_absent("order", order)?;
        app.tx(&cause).update(wanted, moved).run().await?;
        onboarding = load(app, which).await?.ok_or_else(over)?;
    }
    let page = payment::open(app, &onboarding).await?;
    let done = onboarding.step_done(Step::CreateCheckout, app.clock().now())?;
    let Some(page) = page else {
        return app.tx(&cause).update(done, moved).run().await;
    };
    let done = done.set("page", &page)?;
    app.tx(&cause)
        .update(done, moved)
        .update(payment::opened(&account, &page)?, moved)
        .run()
        .await
}

/// The end: from here on it is done.
///
/// # Errors
/// `PreconditionFailed` when the step should be run again.
pub async fn complete(app: &App, which: Which) -> Result<()> {
    let Some(onboarding) = standing(app, which, Step::Complete).await? else {
        return Ok(());
    };
    let now = app.clock().now();
    let done = onboarding.step_done(Step::Complete, now)?.remove("before");
    let done = Onboarding::end(done, State::Completed, now)?;
    let onboarded = Update::of(keys::user(onboarding.user_id))
        .set("onboardingCompletedAt", now)?
        .when(Cond::item_exists())
        .when(Cond::absent("deletingAt"));
    let cause = onboarding.signed_cause(app, now).await?;
    let user = onboarding.user_id;
    let changed = json!({"changed": ["onboardingCompletedAt"]});
    app.tx(&cause)
        .update(done, moved)
        .update(onboarded, || Error::NotFound)
        .audit(Action::UserUpdated, Scope::Account(user), user, changed)?
        .run()
        .await
}
