//! A wire on which everything takes its time, or never arrives.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An address that passes on to `to` (`127.0.0.1:port`) whatever comes, each piece of it after `delay`. It ends with the
/// test's runtime.
///
/// # Panics
/// When there is no free port.
pub async fn slow(to: String, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((here, _)) = listener.accept().await {
            tokio::spawn(pass(here, to.clone(), delay));
        }
    });
    address
}

async fn pass(here: TcpStream, to: String, delay: Duration) -> std::io::Result<()> {
    let (mut read, mut back) = here.into_split();
    let (mut answer, mut there) = TcpStream::connect(to).await?.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut answer, &mut back).await });
    let mut piece = vec![0; 64 * 1024];
    loop {
        match read.read(&mut piece).await? {
            0 => return Ok(()),
            n => {
                tokio::time::sleep(delay).await;
                there.write_all(&piece[..n]).await?;
            }
        }
    }
}
