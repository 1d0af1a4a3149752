//! The Lambda Runtime API, as the process of a function sees it: it hands out invocations and notes when answers come
//! back, chunk by chunk. It serves any runtime that speaks the API's version 2018-06-01, so that functions in other
//! languages are measured by the same clock (https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html).
//!
//! One peer serves one process: what polls first gets the next invocation.

pub mod control;
mod process;
mod recorder;
mod reply;
mod wire;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use axum::serve::ListenerExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

pub use process::Process;
pub use recorder::{Recorder, Span};
pub use reply::{Mode, Reply};

use super::PeerError;
use wire::Shared;

/// A running Runtime API.
#[derive(Debug)]
pub struct LambdaPeer {
    address: SocketAddr,
    polls: watch::Receiver<Vec<Instant>>,
    queue: mpsc::UnboundedSender<Invocation>,
    failure: watch::Receiver<Option<String>>,
    /// Dropping it tells the server to stop.
    _stop: oneshot::Sender<()>,
}

/// An event on its way to a function.
#[derive(Debug)]
pub(crate) struct Invocation {
    event: Value,
    answer: oneshot::Sender<Reply>,
}

impl LambdaPeer {
    /// On a free port of 127.0.0.1.
    pub async fn start() -> Result<Self, PeerError> {
        let failed = |source| PeerError::Start {
            what: "the Runtime API cannot listen".into(),
            source,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (queue, waiting) = mpsc::unbounded_channel();
        let (polled, polls) = watch::channel(Vec::new());
        let (failed, failure) = watch::channel(None);
        let shared = Shared::new(waiting, polled, failed);
        let _stop = serve(listener, wire::router(shared));
        Ok(Self {
            address,
            polls,
            queue,
            failure,
            _stop,
        })
    }

    /// `127.0.0.1:PORT`, for AWS_LAMBDA_RUNTIME_API.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Queues an event. The receiver gets the answer when all of it has come.
    pub fn offer(&self, event: Value) -> oneshot::Receiver<Reply> {
        let (answer, reply) = oneshot::channel();
        // The receiving end lives as long as the server.
        let _ = self.queue.send(Invocation { event, answer });
        reply
    }

    /// When the function asked for work the `n`-th time, counted from 0; waits until it does.
    pub async fn poll(&self, n: usize) -> Instant {
        let mut polls = self.polls.clone();
        match polls.wait_for(|all| all.len() > n).await {
            Ok(all) => all[n],
            Err(_) => std::future::pending().await,
        }
    }

    /// How often the function has asked for work.
    pub fn polls(&self) -> usize {
        self.polls.borrow().len()
    }

    /// What the function said when it could not start; waits until it does.
    pub async fn failure(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(text) => text.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Serves until the answered sender is dropped.
pub(crate) fn serve(listener: TcpListener, router: axum::Router) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    // Without TCP_NODELAY a small chunk would wait for the other side's acknowledgement.
    let listener = listener.tap_io(|socket| {
        let _ = socket.set_nodelay(true);
    });
    tokio::spawn(async move {
        tokio::select! {
            _ = async { axum::serve(listener, router).await } => {}
            _ = stopped => {}
        }
    });
    stop
}

#[cfg(test)]
mod tests;
