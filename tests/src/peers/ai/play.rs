//! Plays a plan's steps as a response's body.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use futures_util::Stream;

use super::log::Delivery;
use super::plan::Step;

struct Player {
    steps: VecDeque<Step>,
    delivery: Delivery,
}

/// The body: an `Err` in it makes the HTTP server close the connection without the body's end.
pub(crate) fn body(steps: Vec<Step>, delivery: Delivery) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let player = Player {
        steps: steps.into(),
        delivery,
    };
    futures_util::stream::unfold(player, |mut player| async move {
        player.next().await.map(|item| (item, player))
    })
}

impl Player {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            match self.steps.pop_front() {
                None => {
                    self.delivery.end();
                    return None;
                }
                Some(Step::Sleep(pause)) => tokio::time::sleep(pause).await,
                Some(Step::Send(bytes)) => return Some(Ok(self.send(bytes).await)),
                Some(Step::Repeat { times: 0, .. }) => {}
                Some(Step::Repeat { bytes, times, pause }) => {
                    let rest = Step::Repeat {
                        bytes: bytes.clone(),
                        times: times - 1,
                        pause,
                    };
                    self.steps.push_front(rest);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    return Some(Ok(self.send(bytes).await));
                }
                Some(Step::Abort) => {
                    flush().await;
                    self.delivery.end();
                    return Some(Err(io::Error::other("the peer was told to cut here")));
                }
            }
        }
    }

    async fn send(&self, bytes: Bytes) -> Bytes {
        flush().await;
        self.delivery.sent(bytes.len());
        bytes
    }
}

/// Lets the HTTP server write out what it has: it does so whenever the body has nothing to give at once. So each step
/// reaches the socket by itself, and what came before a cut is not lost with it.
async fn flush() {
    tokio::task::yield_now().await;
}
