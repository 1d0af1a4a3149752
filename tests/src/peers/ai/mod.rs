//! An AI provider: a server that speaks OpenAI Chat Completions and Anthropic Messages, and breaks when it is told to.
//!
//! Its answers are a function of the call, so that a test can compute the words and the bill: see [`compose`] and
//! [`count_tokens`]. Behaviours are queued ([`AiPeer::push`], or `POST /_peer/behaviours` with a JSON list) and used up one
//! per call that passes authentication and validation. `GET /_peer/requests` lists what came in, `DELETE` forgets it.

mod answer;
mod anthropic;
mod behaviour;
mod call;
mod frames;
mod log;
mod openai;
mod plan;
#[cfg(test)]
mod plan_tests;
mod play;
mod server;
#[cfg(test)]
mod wire_tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use answer::{compose, count_tokens};
pub use behaviour::{Behaviour, Usage};
pub use call::{Call, Turn, Wire};
pub use log::Received;

use super::PeerError;
use server::Shared;

/// What `GET /v1/models` lists with an OpenAI key. Calls may name any model.
pub const OPENAI_MODELS: [&str; 3] = ["gpt-4o", "gpt-4o-mini", "gpt-4.1"];
/// What `GET /v1/models` lists with an Anthropic key. Calls may name any model.
pub const ANTHROPIC_MODELS: [&str; 2] = ["claude-sonnet-4-5", "claude-haiku-4-5"];

/// How long the waiting functions wait before they give what there is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the peer listens and how fast it speaks.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// On 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Between two deltas of a stream.
    pub chunk_delay: Duration,
}

impl Default for Options {
    /// As a person would watch it: 20 ms a word.
    fn default() -> Self {
        Self {
            port: 0,
            chunk_delay: Duration::from_millis(20),
        }
    }
}

/// A running peer. Dropped, it accepts no more connections; answers under way may end.
#[derive(Debug)]
pub struct AiPeer {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Dropping it tells the server to stop.
    _stop: oneshot::Sender<()>,
}

impl AiPeer {
    /// On a free port and without delay, as tests want it.
    pub async fn start() -> Result<Self, PeerError> {
        Self::start_with(Options {
            chunk_delay: Duration::ZERO,
            ..Options::default()
        })
        .await
    }

    /// As the options say. The server runs on the current runtime.
    pub async fn start_with(options: Options) -> Result<Self, PeerError> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let failed = |source| PeerError::Start {
            what: format!("the AI peer cannot listen on {at}"),
            source,
        };
        let listener = TcpListener::bind(at).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared::new(options.chunk_delay);
        let (stop, stopped) = oneshot::channel::<()>();
        // Without TCP_NODELAY small events would wait for the client's acknowledgement.
        let listener = listener.tap_io(|socket| {
            let _ = socket.set_nodelay(true);
        });
        let server =
            axum::serve(listener, server::router(Arc::clone(&shared))).with_graceful_shutdown(async move {
                let _ = stopped.await;
            });
        tokio::spawn(async move { server.await });
        Ok(Self {
            shared,
            address,
            _stop: stop,
        })
    }

    /// `http://127.0.0.1:PORT`, without `/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Queues a behaviour for the next call that has none yet.
    pub fn push(&self, behaviour: Behaviour) {
        self.shared.queue().push_back(behaviour);
    }

    /// Behaviours that no call has used up.
    pub fn queued(&self) -> usize {
        self.shared.queue().len()
    }

    /// What came in, in order.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.log.list()
    }

    /// Forgets what came in. Order numbers go on.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Waits up to 10 s for `n` requests to have come in (not: to have been answered).
    pub async fn wait_for_requests(&self, n: usize) -> Vec<Received> {
        self.wait_until(|requests| requests.len() >= n).await
    }

    /// Waits up to 10 s for the list to look as wanted, e.g. for a client to have left; gives the list in either case.
    pub async fn wait_until(&self, wanted: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        self.shared.log.wait(PATIENCE, wanted).await
    }
}
