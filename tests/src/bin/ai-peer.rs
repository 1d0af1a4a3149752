//! The AI provider of the local stack, as a process: `ai-peer --port 4571 --delay-ms 25`.
//!
//! Prints one line when it listens. Ends on SIGTERM, and when its standard input is a pipe that closes, so that it never
//! outlives what started it.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use camarad_tests::parent::parent_gone;
use camarad_tests::peers::ai::{AiPeer, Options};

const USAGE: &str = "usage: ai-peer [--port PORT] [--delay-ms MILLISECONDS]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "ai-peer: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let options = options(std::env::args().skip(1))?;
    let peer = AiPeer::start_with(options)
        .await
        .map_err(|error| error.to_string())?;
    let mut out = std::io::stdout();
    writeln!(out, "listening on {}", peer.base_url())
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())?;
    parent_gone().await;
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        port: 4571,
        ..Options::default()
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        let bad = |_| format!("{name} {value}: not a number in range\n{USAGE}");
        match name.as_str() {
            "--port" => options.port = value.parse().map_err(bad)?,
            "--delay-ms" => options.chunk_delay = Duration::from_millis(value.parse().map_err(bad)?),
            _ => return Err(format!("{name}: unknown\n{USAGE}")),
        }
    }
    Ok(options)
}
