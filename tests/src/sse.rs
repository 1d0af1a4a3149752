//! Server-sent events as a client hears them.

use std::time::Duration;

use bytes::Bytes;
use camarad::clock::Stopwatch;
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use serde_json::Value;

/// One event, and when it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
    /// Since the listening began.
    pub after: Duration,
}

/// Listens until the stream ends.
pub async fn hear<E: std::fmt::Display>(stream: impl Stream<Item = Result<Bytes, E>> + Unpin) -> Vec<Heard> {
    let watch = Stopwatch::start();
    let mut events = stream.eventsource();
    let mut heard = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.unwrap_or_else(|e| panic!("the stream broke after {heard:?}: {e}"));
        heard.push(Heard {
            data: serde_json::from_str(&event.data).expect("an event's data is JSON"),
            name: event.event,
            after: watch.elapsed(),
        });
    }
    heard
}

/// The events of a body that is there already.
pub async fn hear_text(body: &str) -> Vec<Heard> {
    let whole = Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(body.as_bytes()));
    hear(futures_util::stream::iter([whole])).await
}

/// The text that the deltas add up to.
pub fn text(heard: &[Heard]) -> String {
    let deltas = heard.iter().filter(|e| e.name == "delta");
    deltas.filter_map(|e| e.data["text"].as_str()).collect()
}
