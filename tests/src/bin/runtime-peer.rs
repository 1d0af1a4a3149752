//! Runs functions behind a Lambda Runtime API of its own and measures them: orders come in on standard input, a JSON
//! object per line, and each is answered with a line (see `peers::lambda::control`). Ends, with the function that it
//! runs, when standard input closes.

use std::io::{BufRead, Write};
use std::process::ExitCode;

use camarad_tests::peers::lambda::control::Control;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "runtime-peer: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let (orders, mut lines) = tokio::sync::mpsc::unbounded_channel();
    // A thread of its own: the runtime would wait for a blocking read of its pool when it ends.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if orders.send(line).is_err() {
                break;
            }
        }
    });
    let mut control = Control::new()?;
    let mut out = std::io::stdout();
    while let Some(line) = lines.recv().await {
        let answer = control.line(&line).await;
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
