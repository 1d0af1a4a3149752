//! Structured logs: one JSON object per line, to standard output, where Lambda collects them.

use tracing_subscriber::EnvFilter;

use crate::config;

/// Installs the subscriber. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_new(config::log_level()).unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .try_init();
}
