//! A peer's Node process, which never outlives ours.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;

use super::PeerError;

/// Node loads, and two key pairs are made: a second or two on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(in crate::peers) struct Process {
    /// Its standard input is a pipe that closes with this process, which ends it even if no destructor runs.
    child: Child,
}

impl Process {
    /// The peer in a folder of tests/peers.
    pub(in crate::peers) fn spawn(peer: &str, arguments: &[&str]) -> Result<(Self, ChildStdout), PeerError> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(peer);
        let needs = std::fs::read_to_string(folder.join("package.json")).unwrap_or_default();
        // What only its own tests use (`devDependencies`) is not needed here.
        if needs.contains("\"dependencies\"") && !folder.join("node_modules").is_dir() {
            return Err(PeerError::Protocol(format!(
                "the packages of the {peer} peer are not installed in {}: run `make setup` (or `npm ci` there)",
                folder.display()
            )));
        }
        let failed = |source| PeerError::Start {
            what: format!("the {peer} peer needs Node 20 or newer as `node`"),
            source,
        };
        let mut child = Command::new("node")
            .arg(folder.join("server.mjs"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| failed(std::io::Error::other("no pipe to its output")))?;
        Ok((Self { child }, output))
    }

    pub(in crate::peers) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has ended already; waiting leaves no zombie behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the output until the peer says where it listens. What it says later is read too, and dropped, so that a full pipe
/// cannot stop it.
pub(in crate::peers) async fn listening_on(output: ChildStdout) -> Result<String, PeerError> {
    let (found, address) = oneshot::channel();
    std::thread::spawn(move || {
        let mut found = Some(found);
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Some(url) = line.strip_prefix("listening on ")
                && let Some(found) = found.take()
            {
                let _ = found.send(url.to_owned());
            }
        }
    });
    match tokio::time::timeout(START_PATIENCE, address).await {
        Ok(Ok(url)) => Ok(url),
        Ok(Err(_)) => Err(PeerError::Protocol(
            "the peer ended at its start; its message is on standard error".into(),
        )),
        Err(_) => Err(PeerError::Protocol(format!(
            "the peer did not listen within {START_PATIENCE:?}"
        ))),
    }
}
