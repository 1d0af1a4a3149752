//! The runtimes of the functions: HTTP, streaming HTTP, SQS, DynamoDB stream, scheduled job, task of a state machine.

pub mod batch;
pub mod http;
pub mod log;
pub mod task;

use crate::app::{App, Environment};
use crate::error::Result;

/// What `main` answers.
pub type Outcome = std::result::Result<(), lambda_runtime::Error>;

/// Starts logging, reads the environment, and hands the app that `wire` builds to `run`.
///
/// # Errors
/// When the environment lacks something, or the Runtime API does.
pub fn start<F>(wire: impl FnOnce(Environment) -> Result<Environment>, run: impl FnOnce(App) -> F) -> Outcome
where
    F: std::future::Future<Output = Outcome>,
{
    log::init();
    // One thread: a function handles one request at a time, and start-up is shorter.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = wire(Environment::load().await?)?.ready().await;
        run(app).await
    })
}
