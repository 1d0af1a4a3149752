//! What the peer received, and how each call ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

/// One request to a provider's path. The control paths under `/_peer` leave no trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Received {
    /// Counts from 1 since the peer's start; clearing the list does not reset it.
    pub order: u64,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By lower-case name; keys are masked to their last four characters.
    pub headers: BTreeMap<String, String>,
    /// The parsed body; null if there was none or it was not JSON.
    pub body: Value,
    /// The status that it got; nothing before the head was sent.
    pub status: Option<u16>,
    /// Bytes of the answer's body that went to the socket.
    pub bytes_sent: u64,
    /// True once the answer's end, proper or broken, was the peer's own doing or the client had left.
    pub ended: bool,
    /// True if the client closed the connection before the peer was through.
    pub client_left: bool,
}

/// The list, shared by the server and the handle.
#[derive(Debug)]
pub(crate) struct Log {
    entries: Mutex<Entries>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    list: Vec<Received>,
}

impl Log {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    /// Notes a request that came in. The delivery notes how it goes on.
    pub(crate) fn receive(
        self: &Arc<Self>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Value,
    ) -> Delivery {
        let mut entries = self.lock();
        entries.last += 1;
        let order = entries.last;
        entries.list.push(Received {
            order,
            method: method.to_string(),
            path: uri.to_string(),
            headers: masked(headers),
            body,
            status: None,
            bytes_sent: 0,
            ended: false,
            client_left: false,
        });
        drop(entries);
        self.changed.send_replace(());
        Delivery {
            log: Arc::clone(self),
            order,
            ended: false,
        }
    }

    pub(crate) fn list(&self) -> Vec<Received> {
        self.lock().list.clone()
    }

    pub(crate) fn clear(&self) {
        self.lock().list.clear();
    }

    /// Waits until the list looks as wanted, or the time is up; gives the list in either case.
    pub(crate) async fn wait(
        &self,
        at_most: Duration,
        wanted: impl Fn(&[Received]) -> bool,
    ) -> Vec<Received> {
        let mut changed = self.changed.subscribe();
        let met = async {
            while !wanted(&self.list()) {
                if changed.changed().await.is_err() {
                    break;
                }
            }
        };
        // Running out of time is not an error here: the caller's assertion shows the list that it got.
        let _ = tokio::time::timeout(at_most, met).await;
        self.list()
    }

    fn update(&self, order: u64, change: impl FnOnce(&mut Received)) {
        if let Some(entry) = self.lock().list.iter_mut().find(|entry| entry.order == order) {
            change(entry);
        }
        self.changed.send_replace(());
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer under way. Dropped before [`Delivery::end`], it tells that the client left: the server drops handlers and
/// bodies of connections that were closed.
#[derive(Debug)]
pub(crate) struct Delivery {
    log: Arc<Log>,
    order: u64,
    ended: bool,
}

impl Delivery {
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    pub(crate) fn head(&self, status: u16) {
        self.log.update(self.order, |entry| entry.status = Some(status));
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.log
            .update(self.order, |entry| entry.bytes_sent += bytes as u64);
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.log.update(self.order, |entry| entry.ended = true);
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.ended {
            self.log.update(self.order, |entry| {
                entry.ended = true;
                entry.client_left = true;
            });
        }
    }
}

fn masked(headers: &HeaderMap) -> BTreeMap<String, String> {
    let show = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let secret = matches!(name.as_str(), "authorization" | "x-api-key" | "cookie");
        (
            name.to_string(),
            if secret { mask(&text) } else { text.into_owned() },
        )
    };
    headers.iter().map(show).collect()
}

/// Keeps a scheme's name and the last four characters; of a short key nothing.
pub(crate) fn mask(key: &str) -> String {
    let (scheme, secret) = key
        .split_once(' ')
        .map_or(("", key), |(scheme, secret)| (scheme, secret));
    let tail: String = secret
        .chars()
        .skip(secret.chars().count().saturating_sub(4).max(4))
        .collect();
    format!("{scheme} ****{tail}").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked() {
        assert_eq!(mask("Bearer sk-12345678"), "Bearer ****5678");
        assert_eq!(mask("sk-12345678"), "****5678");
        assert_eq!(mask("abc"), "****");
        assert_eq!(mask("abcdef"), "****ef");
    }
}
