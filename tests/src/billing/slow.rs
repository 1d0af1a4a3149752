//! A wire on which everything takes its time, or never arrives; and which knows what passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What passed a wire.
#[derive(Debug, Default)]
pub struct Passed {
    connections: AtomicUsize,
    pieces: AtomicUsize,
}

impl Passed {
    /// Connections that were opened: as many as there were requests side by side, for a client that keeps them.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Pieces of requests, each of which was delayed: at least one for each request.
    pub fn pieces(&self) -> usize {
        self.pieces.load(Ordering::Relaxed)
    }
}

/// An address that passes on to `to` (`127.0.0.1:port`) whatever comes, each piece of it after `delay`. It ends with the
/// test's runtime.
///
/// # Panics
/// When there is no free port.
pub async fn slow(to: String, delay: Duration) -> String {
    counted(to, delay).await.0
}

/// The same, with a count of what passes.
///
/// # Panics
/// When there is no free port.
pub async fn counted(to: String, delay: Duration) -> (String, Arc<Passed>) {
    let passed = Arc::new(Passed::default());
    let count = passed.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            count.connections.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(pass(here, to.clone(), delay, count.clone()));
        }
    });
    (address, passed)
}

async fn pass(here: TcpStream, to: String, delay: Duration, count: Arc<Passed>) -> std::io::Result<()> {
    let (mut read, mut back) = here.into_split();
    let (mut answer, mut there) = TcpStream::connect(to).await?.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answer, &mut back).await });
    let mut piece = vec![0; 64 * 1024];
    loop {
        match read.read(&mut piece).await? {
            0 => return Ok(()),
            n => {
                count.pieces.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(delay).await;
                there.write_all(&piece[..n]).await?;
            }
        }
    }
}
