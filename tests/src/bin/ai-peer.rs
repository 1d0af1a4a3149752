//! The AI provider of the local stack, as a process: `ai-peer --port 4571 --delay-ms 25`.
//!
//! Prints one line when it listens. Ends on SIGTERM, and when its standard input is a pipe that closes, so that it never
//! outlives what started it.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

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

/// Returns when a pipe on standard input closes; never if it is a terminal or a file, as `/dev/null` would end a peer
/// that was started in the background at once.
async fn parent_gone() {
    if !is_pipe() {
        return std::future::pending().await;
    }
    let (closed, gone) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: the runtime would wait for a blocking read of its pool when it ends.
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 256];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        drop(closed);
    });
    let _ = gone.await;
}

fn is_pipe() -> bool {
    use std::os::unix::fs::FileTypeExt;
    let kind = std::fs::metadata("/dev/stdin").map(|data| data.file_type());
    !std::io::stdin().is_terminal() && kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}
