//! Tasks of a state machine. Their errors have names, which `Retry` and `Catch` of the state machine match on.

use std::time::Duration;

use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Outcome;
use super::batch::erased;
use crate::app::App;
use crate::error::{Error, Result};

/// When a task is given up: before Lambda ends its function (template.yaml: 28 s), whose next task would wait for a new
/// instance then, and whose error would say nothing.
const LIMIT: Duration = Duration::from_secs(25);

/// Passes: the same task may succeed a moment later.
pub const PASSING: &str = "Camarad.Passing";

/// Stays: what is asked for cannot be.
pub const REFUSED: &str = "Camarad.Refused";

/// A fault, of ours or of what a provider makes of our request: once more, as it may be the one instance that is broken, and
/// no oftener.
pub const FAULT: &str = "Camarad.Fault";

/// A task that failed.
#[derive(Debug)]
pub struct Failure(Error);

impl Failure {
    /// The name that the state machine knows it by.
    pub fn name(&self) -> &'static str {
        match self.0.status() {
            // Providers that only fail for now are `Unavailable`: asked again, this one would answer the same.
            500 | 502 => FAULT,
            409 if matches!(self.0, Error::Conflict { .. }) => REFUSED,
            // Somebody else changes the same items.
            409 | 412 | 429 => PASSING,
            400..500 => REFUSED,
            _ => PASSING,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Failure> for Diagnostic {
    /// What the execution's history shows for as long as it is kept: never a cause, which may have anything in it.
    fn from(failure: Failure) -> Self {
        Self {
            error_type: failure.name().into(),
            error_message: failure.0.to_string(),
        }
    }
}

/// Serves a state machine: each event is one task.
///
/// # Errors
/// When the Runtime API fails.
pub async fn serve<T, R, F>(app: App, handle: fn(App, T) -> F) -> Outcome
where
    T: DeserializeOwned,
    R: Serialize,
    F: Future<Output = Result<R>>,
{
    let app = &app;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<T>| async move {
        let task = erased(handle(app.clone(), event.payload));
        let done = tokio::time::timeout(LIMIT, task).await;
        done.unwrap_or(Err(Error::Timeout)).map_err(|error| {
            tracing::warn!(error = %error, cause = ?error, "a task failed");
            Failure::from(error)
        })
    }))
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_that_the_state_machine_matches_on() {
        let conflict = Error::Conflict {
            code: "x",
            detail: "y".into(),
        };
        for (error, name) in [
            (Error::Unavailable("x".into()), PASSING),
            (Error::Upstream("x"), FAULT),
            (Error::Timeout, PASSING),
            (Error::PreconditionFailed, PASSING),
            (Error::internal("x"), FAULT),
            (Error::NotFound, REFUSED),
            (Error::field("planId", "x"), REFUSED),
            (conflict, REFUSED),
            (Error::SubscriptionRequired, REFUSED),
        ] {
            assert_eq!(Failure(error).name(), name);
        }
        let machine = include_str!("../../../infra/statemachine/onboarding.asl.json");
        assert!(machine.contains(PASSING) && machine.contains(FAULT));
    }

    #[test]
    fn the_history_has_no_cause() {
        let told = Diagnostic::from(Failure(Error::internal("table arn:aws:…")));
        assert!(!told.error_message.contains("arn"), "{told:?}");
    }
}
