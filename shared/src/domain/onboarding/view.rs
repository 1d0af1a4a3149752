//! What the API shows of an onboarding.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Onboarding, State, Step};
use crate::ids::{AgentId, ExecutionId, UserId, WorkspaceId};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// It is being done.
    Running,
    /// Done.
    Done,
    /// Failed for good.
    Failed,
    /// Taken back.
    Undone,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Which.
    pub step: Step,
    /// Where it stands.
    pub status: StepState,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub done_at: Option<Timestamp>,
}

/// An onboarding, as its person sees it. What was made is told once all of it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OnboardingView {
    /// Which run of it.
    pub execution_id: ExecutionId,
    /// Where it stands.
    pub status: State,
    /// Step by step.
    pub steps: Vec<StepView>,
    /// Whose.
    pub user_id: UserId,
    /// The workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// Its agents, in the order of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_ids: Option<Vec<AgentId>>,
    /// When the trial ends, which begins as soon as a card was entered; absent for who had one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub trial_ends_at: Option<Timestamp>,
    /// Where a card is entered; absent for who has a subscription, and once the page is closed: another one is had from
    /// `POST /api/billing/checkout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout_url: Option<String>,
    /// When that page closes, or closed: a day after it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub checkout_expires_at: Option<Timestamp>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

impl OnboardingView {
    pub(super) fn of(o: &Onboarding, now: Timestamp) -> Self {
        let complete = o.state == State::Completed;
        let page = o.page.as_ref().filter(|_| complete);
        let open = page.filter(|page| now < page.expires_at);
        let agents = || o.agents.iter().map(|agent| agent.id).collect();
        Self {
            execution_id: o.execution_id,
            status: o.state,
            steps: steps(o),
            user_id: o.user_id,
            workspace_id: complete.then_some(o.workspace.id),
            agent_ids: complete.then(agents),
            trial_ends_at: o
                .order
                .as_ref()
                .filter(|_| complete)
                .and_then(|order| order.trial_ends_at),
            checkout_url: open.map(|page| page.url.clone()),
            checkout_expires_at: page.map(|page| page.expires_at),
            started_at: o.started_at,
            ended_at: o.ended_at,
        }
    }
}

fn steps(o: &Onboarding) -> Vec<StepView> {
    let next = Step::ALL.into_iter().find(|step| !o.is_done(*step));
    let status = |step: Step| match (o.is_done(step), o.state) {
        (true, State::Running | State::Completed) => StepState::Done,
        (true, State::Undoing) if o.ended_at.is_none() => StepState::Done,
        (true, _) => StepState::Undone,
        (false, State::Running) if Some(step) == next => StepState::Running,
        (false, State::Undoing | State::Failed) if Some(step) == next => StepState::Failed,
        (false, _) => StepState::Waiting,
    };
    let view = |step| StepView {
        step,
        status: status(step),
        done_at: o.done.get(&step).copied(),
    };
    Step::ALL.into_iter().map(view).collect()
}
