//! Onboarding: a new person's plan, workspace, agents, preferences and Checkout page, all of them or nothing.
//!
//! A state machine (infra/statemachine) calls the steps here one after the other; what they know of each other is in one
//! item per person. The ids of what is to be made are drawn when it begins, and each step's write is conditioned on the
//! item: so a step may be repeated, and one that comes late changes nothing. `undo` takes back what was made.

mod payment;
pub mod start;
pub mod steps;
pub mod undo;
pub mod view;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::audit::person::key_of;
use super::plans::Plan;
use super::users::User;
use super::users::preferences::Preferences;
use super::workspaces::WorkspaceType;
use crate::app::App;
use crate::context::{Actor, Context};
use crate::error::{Error, Result};
use crate::ids::{AgentId, ExecutionId, UserId, WorkspaceId};
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity, Update};

/// How long an execution lasts at the most: five steps of four tries of 33 s each, and taking it all back. One that is
/// older is not going to end by itself.
const LIFE: SignedDuration = SignedDuration::from_mins(20);

/// Where an onboarding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its steps are being done.
    Running,
    /// A step failed for good, and what was made is being taken back.
    Undoing,
    /// All of it is there.
    Completed,
    /// None of it is there.
    Failed,
}

/// A step, in the order in which they are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Whether it may be begun still.
    Validate,
    /// Plan, workspace, agents and preferences.
    CreateWorkspace,
    /// The person at Stripe.
    CreateCustomer,
    /// The page where a card is entered.
    CreateCheckout,
    /// From here on it is done.
    Complete,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 5] = [
        Self::Validate,
        Self::CreateWorkspace,
        Self::CreateCustomer,
        Self::CreateCheckout,
        Self::Complete,
    ];

    /// As items and answers name it.
    fn name(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::CreateWorkspace => "createWorkspace",
            Self::CreateCustomer => "createCustomer",
            Self::CreateCheckout => "createCheckout",
            Self::Complete => "complete",
        }
    }
}

/// Whose onboarding, and which execution of it: what each task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Which {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The person.
    pub user_id: UserId,
}

/// The workspace to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WorkspaceWanted {
    id: WorkspaceId,
    name: String,
    #[serde(rename = "type")]
    kind_of: WorkspaceType,
}

/// An agent to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgentWanted {
    id: AgentId,
    preset_id: String,
}

/// What a person chose, at which versions of their profile and of their preferences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chosen {
    preferences: Preferences,
    locale: String,
    timezone: String,
    profile_version: u64,
    preferences_version: u64,
}

impl Chosen {
    /// What `user` has.
    fn of(user: &User) -> Self {
        Self {
            preferences: user.preferences.clone(),
            locale: user.locale.clone(),
            timezone: user.timezone.clone(),
            profile_version: user.version,
            preferences_version: user.preferences.version,
        }
    }

    /// Whether `user` is still at these versions.
    fn is_current(&self, user: &User) -> bool {
        (self.profile_version, self.preferences_version) == (user.version, user.preferences.version)
    }

    /// `user` with these choices; the versions stay, as they never go back.
    fn applied_to(&self, user: &User) -> User {
        let mut preferences = self.preferences.clone();
        preferences.version = user.preferences.version;
        User {
            preferences,
            locale: self.locale.clone(),
            timezone: self.timezone.clone(),
            ..user.clone()
        }
    }
}

/// What the second step found and changed, for taking it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Before {
    plan: Plan,
    /// The choices as they were, with the versions that the change led to; absent where nothing was changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Chosen>,
}

/// What a Checkout page is to sell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    price: String,
    /// Absent when the person had a trial before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial_ends_at: Option<Timestamp>,
}

/// A Checkout page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    id: String,
    url: String,
    expires_at: Timestamp,
}

/// A person's onboarding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Onboarding {
    /// Whose.
    pub user_id: UserId,
    /// Which run of it, the last one.
    pub execution_id: ExecutionId,
    /// Where it stands.
    pub state: State,
    actor: Actor,
    request_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    /// The hash of the Idempotency-Key that it was asked for with; free again when it fails.
    once: String,
    plan: Plan,
    workspace: WorkspaceWanted,
    agents: Vec<AgentWanted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chosen: Option<Chosen>,
    trial_ends_at: Timestamp,
    done: BTreeMap<Step, Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Before>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
    /// Written before the page is asked for, so that the same one is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<Order>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    page: Option<Page>,
    /// The name of the error that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    started_at: Timestamp,
    due_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
}

impl Onboarding {
    /// Which one it is.
    pub fn which(&self) -> Which {
        Which {
            execution_id: self.execution_id,
            user_id: self.user_id,
        }
    }

    /// The workspace that it makes.
    pub fn workspace_id(&self) -> WorkspaceId {
        self.workspace.id
    }

    /// Whether it goes on by itself.
    pub fn goes_on(&self) -> bool {
        matches!(self.state, State::Running | State::Undoing)
    }

    fn is_done(&self, step: Step) -> bool {
        self.done.contains_key(&step)
    }

    /// The person's own request, at a later moment.
    fn cause(&self, now: Timestamp) -> Context {
        Context {
            actor: self.actor.clone(),
            request_id: self.request_id.clone(),
            ..Context::system("onboarding", now)
        }
    }

    /// The same with address and client, for audit records.
    async fn signed_cause(&self, app: &App, now: Timestamp) -> Result<Context> {
        Ok(Context {
            ip: self.ip.clone(),
            user_agent: self.user_agent.clone(),
            person_key: Some(key_of(app, self.user_id, now).await?),
            ..self.cause(now)
        })
    }

    /// An update of this execution's item, only as long as it stands there.
    fn update(&self, standing: State) -> Result<Update> {
        Ok(Update::of(self.key())
            .when(Cond::eq("executionId", self.execution_id)?)
            .when(Cond::eq("state", standing)?))
    }

    /// The end of it, after which nothing looks for it, and address and client are in audit records alone, sealed.
    fn end(update: Update, state: State, now: Timestamp) -> Result<Update> {
        let update = update.set("state", state)?.set("endedAt", now)?;
        Ok(update.remove("ip").remove("userAgent").unindex1())
    }

    /// The same, which also notes that a step is done; once.
    fn step_done(&self, step: Step, now: Timestamp) -> Result<Update> {
        let place = ["done", step.name()];
        Ok(self
            .update(State::Running)?
            .set(place, now)?
            .when(Cond::absent(place)))
    }
}

impl Entity for Onboarding {
    const KIND: &'static str = "onboarding";
    fn key(&self) -> Key {
        keys::onboarding(self.user_id)
    }
    fn index1(&self) -> Option<Index> {
        self.goes_on()
            .then(|| keys::onboarding_due(self.user_id, self.due_at))
    }
}

/// The execution's item, unless the person's onboarding is another one by now.
async fn load(app: &App, which: Which) -> Result<Option<Onboarding>> {
    let found: Option<Onboarding> = app.db().get(&keys::onboarding(which.user_id)).await?;
    Ok(found.filter(|o| o.execution_id == which.execution_id))
}

/// This execution is over, and what it still does must not count.
fn over() -> Error {
    Error::Conflict {
        code: "onboarding_over",
        detail: "this onboarding has ended".into(),
    }
}
