//! The process of a function.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running process; ended hard when dropped, as Lambda ends them.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// When it was asked for: before fork and exec.
    pub spawned: Instant,
}

impl Process {
    /// Starts `command` with nothing but `env`; what it prints goes to `log`.
    pub fn start(command: &[String], env: &HashMap<String, String>, log: &Path) -> std::io::Result<Self> {
        let (program, arguments) = command
            .split_first()
            .ok_or_else(|| std::io::Error::other("an empty command"))?;
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(env)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let spawned = Instant::now();
        Ok(Self {
            child: command.spawn()?,
            spawned,
        })
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns, with the exit status as text, when it ends by itself.
    pub async fn end(&mut self) -> String {
        loop {
            match self.child.try_wait() {
                Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
                Ok(Some(status)) => return status.to_string(),
                Err(error) => return error.to_string(),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
