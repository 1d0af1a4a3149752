//! The outside world, played locally: servers that speak a provider's real protocol, so that everything on our side of
//! the wire is the code that runs in production.

pub mod ai;
pub mod github;
pub mod lambda;
pub mod oidc;
pub mod stripe;

/// Why a peer did not come up or did not play along. Each text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The port could not be bound, or the process could not be spawned.
    #[error("{what}: {source}")]
    Start {
        /// What was attempted.
        what: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The peer runs, but answered something that the protocol does not allow for.
    #[error("{0}")]
    Protocol(String),
    /// A request to the peer did not come through.
    #[error("request to a local peer: {0}")]
    Http(#[from] reqwest::Error),
}
