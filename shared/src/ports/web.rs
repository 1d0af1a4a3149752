//! The HTTP client for everything that is not AWS: identity providers and AI providers.

use std::time::Duration;

use crate::error::{Error, Result};

/// A pooled connection that lay idle for longer is not used again: a function that was frozen in between holds
/// connections that died without telling.
const IDLE: Duration = Duration::from_secs(20);

/// A client that shares the AWS SDK's TLS stack, follows no redirects and waits at most five seconds to connect.
///
/// # Errors
/// `Internal` when the TLS stack cannot be set up.
pub fn client() -> Result<reqwest::Client> {
    // Another client may have installed it before; both install the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("camarad/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::internal)
}
