//! The beginning of an onboarding, and waiting for its end.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;

use super::steps::admitted;
use super::view::OnboardingView;
use super::{AgentWanted, Chosen, LIFE, Onboarding, State, Step, Which, WorkspaceWanted, load};
use crate::app::App;
use crate::config::Config;
use crate::context::Context;
use crate::domain::agents;
use crate::domain::agents::presets::{self, Preset};
use crate::domain::name::Name;
use crate::domain::plans::{Plan, TRIAL_DAYS};
use crate::domain::users::preferences::PreferencesPatch;
use crate::domain::users::{Account, User};
use crate::domain::workspaces::WorkspaceType;
use crate::error::{Error, Result};
use crate::ids::{ExecutionId, UserId, WorkspaceId};
use crate::reply::Reply;
use crate::store::tx::OnceKey;
use crate::store::{Cond, keys};

/// How often a waiting request looks, and how long it sleeps in between: eight seconds in all.
const LOOKS: u32 = 40;
const NAP: Duration = Duration::from_millis(200);

/// What somebody asks for, valid in itself.
#[derive(Debug, Clone)]
pub struct Wish {
    plan: Plan,
    name: Name,
    kind_of: WorkspaceType,
    presets: Vec<&'static Preset>,
    preferences: Option<PreferencesPatch>,
}

impl Wish {
    /// From the fields of a request.
    ///
    /// # Errors
    /// `Invalid`, naming the field, for a plan that nobody starts by themselves, presets that do not exist, and more
    /// agents than the plan has.
    pub fn parse(
        plan: Plan,
        (name, kind_of): (Name, WorkspaceType),
        preset_ids: &[String],
        preferences: Option<PreferencesPatch>,
    ) -> Result<Self> {
        if !plan.self_service() {
            let told = "this plan is by contract: contact sales";
            return Err(Error::field("planId", told));
        }
        let presets = presets::named(PRESETS, preset_ids)?;
        let max = plan.limits().agents.map_or(usize::MAX, |max| max as usize);
        if presets.len() > max {
            let told = format!("the plan allows {max} agents");
            return Err(Error::field(PRESETS, told));
        }
        Ok(Self {
            plan,
            name,
            kind_of,
            presets,
            preferences,
        })
    }
}

const PRESETS: &str = "selectedAgentPresetIds";

/// Begins the onboarding of `user`: writes what is to be made, with its ids, under the caller's Idempotency-Key. `follow`
/// starts the execution and waits for it.
///
/// # Errors
/// `Conflict` with `already_onboarded`, or with `onboarding_in_progress` while another one goes on; those of
/// `steps::admitted`.
pub async fn begin(
    app: &App,
    cause: &Context,
    user: UserId,
    once: &OnceKey,
    wish: Wish,
) -> Result<Reply<OnboardingView>> {
    let (profile, account) = (keys::user(user), keys::account(user));
    let last = keys::onboarding(user);
    let wanted = [profile.clone(), account.clone(), last.clone()];
    let mut found = app.db().batch(&wanted).await?;
    let person: User = found.read(&profile)?.ok_or(Error::NotFound)?;
    if person.onboarding_completed_at.is_some() {
        return Err(already());
    }
    let last: Option<Onboarding> = found.read(&last)?;
    if last.is_some_and(|last| last.goes_on()) {
        return Err(in_progress());
    }
    let account: Account = found.read(&account)?.ok_or(Error::NotFound)?;
    let onboarding = drawn(app, cause, &person, once, wish)?;
    // Told at once; the steps ask again, as what is true now need not be true then.
    admitted(&account, &onboarding, cause.now)?;
    let view = OnboardingView::of(&onboarding, cause.now);
    let new = Cond::absent("onboardingCompletedAt").and(Cond::absent("deletingAt"));
    app.tx(cause)
        .once(Some(once))
        .check(profile, Cond::item_exists().and(new), already)
        .put_if(
            &onboarding,
            Cond::item_absent().or(Cond::eq("state", State::Failed)?),
            in_progress,
        )?
        .commit(Reply::accepted(&view)?)
        .await
}

fn already() -> Error {
    Error::Conflict {
        code: "already_onboarded",
        detail: "the onboarding of this account is done".into(),
    }
}

fn in_progress() -> Error {
    Error::Conflict {
        code: "onboarding_in_progress",
        detail: "another onboarding of this account is running: wait for its end".into(),
    }
}

/// With all ids drawn.
fn drawn(app: &App, cause: &Context, person: &User, once: &OnceKey, wish: Wish) -> Result<Onboarding> {
    let workspace = WorkspaceId::new(app.clock());
    let ids = agents::create::drawn(workspace, wish.presets.len(), app.clock());
    let agents = wish.presets.iter().zip(ids).map(|(preset, id)| AgentWanted {
        id,
        preset_id: preset.id.into(),
    });
    let chosen = wish.preferences.map(|patch| {
        let mut wanted = person.clone();
        patch.apply(&mut wanted);
        Chosen::of(&wanted)
    });
    let trial = SignedDuration::from_hours(24 * TRIAL_DAYS);
    let later = |by| cause.now.checked_add(by).map_err(Error::internal);
    Ok(Onboarding {
        user_id: person.id,
        execution_id: ExecutionId::new(app.clock()),
        state: State::Running,
        actor: cause.actor.clone(),
        request_id: cause.request_id.clone(),
        ip: cause.ip.clone(),
        user_agent: cause.user_agent.clone(),
        once: once.hash(),
        plan: wish.plan,
        workspace: WorkspaceWanted {
            id: workspace,
            name: wish.name.into(),
            kind_of: wish.kind_of,
        },
        agents: agents.collect(),
        chosen,
        trial_ends_at: later(trial)?,
        done: BTreeMap::new(),
        before: None,
        customer: None,
        order: None,
        page: None,
        failure: None,
        started_at: cause.now,
        due_at: later(LIFE)?,
        ended_at: None,
    })
}

/// Starts the execution that `begun` tells of, if it was not started, and waits some seconds for its end. Whoever repeats
/// the request comes here too, so that an execution whose start got lost is started after all.
///
/// # Errors
/// `Conflict` with `onboarding_failed`, or `Unavailable`, when it failed and nothing of it is left: the same request may
/// be sent again.
pub async fn follow(app: &App, begun: &Reply<OnboardingView>) -> Result<Reply<OnboardingView>> {
    let view = begun.value()?;
    let which = Which {
        execution_id: view.execution_id,
        user_id: view.user_id,
    };
    let mut current = load(app, which).await?.ok_or_else(failed_for_now)?;
    if current.state == State::Running && !current.is_done(Step::Validate) {
        launch(app, &current).await?;
    }
    for _ in 0..LOOKS {
        if !current.goes_on() {
            break;
        }
        tokio::time::sleep(NAP).await;
        current = load(app, which).await?.ok_or_else(failed_for_now)?;
    }
    let view = OnboardingView::of(&current, app.clock().now());
    let mut reply = match current.state {
        State::Completed => Reply::created(&view)?,
        State::Running | State::Undoing => Reply::accepted(&view)?,
        State::Failed => return Err(failed(&current)),
    };
    reply.replayed = begun.replayed;
    Ok(reply)
}

async fn launch(app: &App, onboarding: &Onboarding) -> Result<()> {
    let machine = Config::need(&app.config().onboarding_machine, "ONBOARDING_MACHINE")?;
    let (which, name) = (onboarding.which(), onboarding.execution_id.to_string());
    let input = serde_json::to_string(&which).map_err(Error::internal)?;
    let Err(error) = app.workflow()?.start(machine, &name, &input).await else {
        return Ok(());
    };
    // Should it have been started all the same, its first step finds that it is over.
    match super::undo::abandon(app, onboarding).await {
        Ok(()) | Err(Error::PreconditionFailed) => Err(error),
        Err(other) => Err(other),
    }
}

fn failed_for_now() -> Error {
    Error::Unavailable("the onboarding was taken back".into())
}

fn failed(onboarding: &Onboarding) -> Error {
    match onboarding.failure.as_deref() {
        Some(super::undo::REFUSED) => Error::Conflict {
            code: "onboarding_failed",
            detail: "the onboarding could not be completed, and nothing of it is left: try again".into(),
        },
        _ => failed_for_now(),
    }
}

/// The onboarding of `user` with this execution.
///
/// # Errors
/// `NotFound`.
pub async fn read(app: &App, user: UserId, execution: ExecutionId) -> Result<OnboardingView> {
    let which = Which {
        execution_id: execution,
        user_id: user,
    };
    let found = load(app, which).await?.ok_or(Error::NotFound)?;
    Ok(OnboardingView::of(&found, app.clock().now()))
}
