//! Processes of tests and of the local stack end with whoever started them.

use std::io::{IsTerminal, Read};

/// Returns when a pipe on standard input closes; never if it is a terminal or a file, as `/dev/null` would end a peer
/// that was started in the background at once.
pub async fn parent_gone() {
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
