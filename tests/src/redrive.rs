//! Dead letters, sent back as an operator does: by infra/redrive.py.

use std::process::Command;

use crate::app::stack::{repository, stack, tool};
use crate::app::{REGION, TestApp};
use crate::deployed::Deployed;

/// Runs the script; answers what it says.
///
/// # Panics
/// When it fails.
fn run(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let tools = tool("sam").parent().map(|p| p.display().to_string());
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("python3")
        .arg(repository().join("infra/redrive.py"))
        .args(arguments)
        .env("PATH", format!("{}:{path}", tools.unwrap_or_default()))
        .envs(environment.iter().copied())
        .output()
        .expect("python3 starts");
    let (said, error) = (
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr),
    );
    assert!(done.status.success(), "{said}{error}");
    said.into_owned()
}

impl TestApp {
    /// Sends the dead letters of this account's queue back.
    ///
    /// # Panics
    /// When some are left.
    pub fn redrive(&self, dead: &str, queue: &str) -> String {
        let endpoint = &stack().endpoint;
        run(
            &["--dead", dead, "--queue", queue, "--endpoint", endpoint],
            &[
                ("AWS_ACCESS_KEY_ID", &self.account),
                ("AWS_SECRET_ACCESS_KEY", "secret"),
                ("AWS_DEFAULT_REGION", REGION),
            ],
        )
    }
}

impl Deployed {
    /// Sends the dead letters of this queue back.
    ///
    /// # Panics
    /// When some are left.
    pub fn redrive(&self, queue: &str) -> String {
        let outputs = self.outputs_file();
        let said = run(&[queue, "--outputs", &outputs.display().to_string()], &[]);
        std::fs::remove_file(outputs).expect("removed");
        said
    }
}
