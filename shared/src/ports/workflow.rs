//! Workflows that outlive a request: Step Functions.

use async_trait::async_trait;
use aws_sdk_sfn::error::ProvideErrorMetadata;

use crate::error::{Error, Result};

/// Starts workflows.
#[async_trait]
pub trait Workflow: Send + Sync {
    /// Starts the execution `name` of a state machine with this input (JSON); nothing, when it was started before. After
    /// an error nobody knows whether it was.
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<()>;
}

/// AWS Step Functions.
#[derive(Debug, Clone)]
pub struct StepFunctions(aws_sdk_sfn::Client);

impl StepFunctions {
    /// Through this client.
    pub fn new(client: aws_sdk_sfn::Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Workflow for StepFunctions {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<()> {
        let request = self.0.start_execution().state_machine_arn(machine);
        match request.name(name).input(input).send().await {
            Ok(_) => Ok(()),
            // A name is taken for ninety days, also by an execution that has ended.
            Err(error) if error.code() == Some("ExecutionAlreadyExists") => Ok(()),
            Err(error) => Err(Error::Unavailable(Box::new(error))),
        }
    }
}
