//! The tasks of the state machine infra/statemachine/onboarding.asl.json.

use camarad::app::App;
use camarad::domain::onboarding::undo::{self, Undone};
use camarad::domain::onboarding::{Which, steps};
use camarad::error::Result;
use serde::{Deserialize, Serialize};

/// A task, as the state machine names it, with whose onboarding it is about:
/// `{"task":"validate","executionId":"onb_…","userId":"usr_…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum Task {
    /// Whether it may be begun still.
    Validate(Which),
    /// Plan, workspace, agents and preferences.
    CreateWorkspace(Which),
    /// The person at Stripe.
    CreateCustomer(Which),
    /// The page where a card is entered.
    CreateCheckout(Which),
    /// The end.
    Complete(Which),
    /// Takes all of it back.
    Compensate(Failed),
}

/// An execution of which a step failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failed {
    /// Which.
    #[serde(flatten)]
    pub which: Which,
    /// The error's name.
    pub error: String,
}

/// What a task did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Of a compensation, what it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Undone>,
}

/// Runs a task. Each may be run again.
///
/// # Errors
/// Under the names that the state machine's `Retry` and `Catch` match on (`lambda::task`).
pub async fn handle(app: App, task: Task) -> Result<Done> {
    match &task {
        Task::Validate(which) => steps::validate(&app, *which).await?,
        Task::CreateWorkspace(which) => steps::create_workspace(&app, *which).await?,
        Task::CreateCustomer(which) => steps::create_customer(&app, *which).await?,
        Task::CreateCheckout(which) => steps::create_checkout(&app, *which).await?,
        Task::Complete(which) => steps::complete(&app, *which).await?,
        Task::Compensate(failed) => {
            let outcome = undo::undo(&app, failed.which, &failed.error).await?;
            tracing::warn!(error = failed.error, outcome = ?outcome, "an onboarding failed");
            return Ok(Done {
                outcome: Some(outcome),
            });
        }
    }
    Ok(Done { outcome: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_state_of_the_machine_calls_a_task_that_there_is() {
        let machine = include_str!("../../../infra/statemachine/onboarding.asl.json");
        let names: Vec<_> = machine
            .lines()
            .filter_map(|line| line.trim().strip_prefix("\"task\": \"")?.split('"').next())
            .collect();
        assert_eq!(names.len(), 6);
        for name in names {
            let event = format!(
                r#"{{"task":"{name}","executionId":"onb_{0}","userId":"usr_{0}","error":"x"}}"#,
                "0".repeat(26)
            );
            assert!(serde_json::from_str::<Task>(&event).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_sample_event_is_a_task() {
        let event = include_str!("../../../events/states-onboarding.json");
        assert!(matches!(
            serde_json::from_str(event).unwrap(),
            Task::CreateWorkspace(_)
        ));
    }
}
