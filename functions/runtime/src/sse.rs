//! A call's events as server-sent events (WHATWG HTML §9.2).

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use camarad::domain::runtime::{Answer, Out, Running};
use camarad::error::Error;
use camarad::http::problem::Problem;
use camarad::ids::{CallId, ConversationId};
use http::header::{CONTENT_TYPE, HeaderName};
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

/// How long a stream may be silent: proxies end connections that look dead.
const PING: Duration = Duration::from_secs(15);

fn event(name: &str, data: &Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

fn start(call: CallId, conversation: ConversationId, model: &str) -> Bytes {
    event(
        "start",
        &json!({"callId": call, "conversationId": conversation, "model": model}),
    )
}

fn delta(text: &str) -> Bytes {
    event("delta", &json!({"text": text}))
}

fn done(answer: &Answer) -> Bytes {
    event("done", &json!({"receipt": answer.receipt}))
}

fn error(error: &Error, request_id: &str) -> Bytes {
    event("error", &json!({"problem": Problem::of(error, request_id)}))
}

/// Where a body stands.
struct State {
    /// What was heard before the body began.
    first: Option<Out>,
    events: Receiver<Out>,
    request_id: String,
    ping: Duration,
}

impl State {
    /// The next piece; `None` after the settlement.
    async fn next(&mut self) -> Option<Bytes> {
        let out = match self.first.take() {
            Some(first) => first,
            None => match tokio::time::timeout(self.ping, self.events.recv()).await {
                Err(_) => return Some(Bytes::from_static(b": ping\n\n")),
                Ok(out) => out?,
            },
        };
        Some(match out {
            Out::Delta(text) => delta(&text),
            Out::Broken(broken) => error(&broken, &self.request_id),
            Out::Failed(failed) => error(&failed, &self.request_id),
            Out::Done(answer) => done(&answer),
        })
    }
}

/// The answer that tells of a running call, of which `first` was heard.
pub(crate) fn live(running: Running, first: Out, request_id: String) -> Response {
    let head = start(running.call_id, running.conversation_id, &running.model);
    let state = State {
        first: Some(first),
        events: running.events,
        request_id,
        ping: PING,
    };
    let rest = futures_util::stream::unfold(state, |mut state| async move {
        state
            .next()
            .await
            .map(|bytes| (Ok::<_, Infallible>(bytes), state))
    });
    let head = futures_util::stream::once(async { Ok(head) });
    streamed(Body::from_stream(futures_util::StreamExt::chain(head, rest)))
}

/// The answer that tells of a call that was answered before.
pub(crate) fn replayed(answer: &Answer) -> Response {
    let mut text = start(answer.call_id, answer.conversation_id, &answer.model).to_vec();
    if !answer.answer.is_empty() {
        text.extend_from_slice(&delta(&answer.answer));
    }
    text.extend_from_slice(&done(answer));
    ([("idempotency-replayed", "true")], streamed(Body::from(text))).into_response()
}

fn streamed(body: Body) -> Response {
    // The second header keeps nginx and its kind from collecting the stream first.
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_is_filled_with_comments_until_the_end() {
        let (sender, events) = tokio::sync::mpsc::channel(4);
        let ping = Duration::from_millis(20);
        let mut state = State {
            first: Some(Out::Delta("a\nb".into())),
            events,
            request_id: "r".into(),
            ping,
        };
        assert_eq!(
            state.next().await.unwrap(),
            "event: delta\ndata: {\"text\":\"a\\nb\"}\n\n"
        );
        assert_eq!(state.next().await.unwrap(), ": ping\n\n");
        assert_eq!(state.next().await.unwrap(), ": ping\n\n");
        sender
            .send(Out::Broken(Error::Upstream("it broke")))
            .await
            .unwrap();
        let error = state.next().await.unwrap();
        let data = error.strip_prefix(b"event: error\ndata: ").unwrap();
        let data: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(
            (&data["problem"]["code"], &data["problem"]["requestId"]),
            (&json!("upstream_failed"), &json!("r"))
        );
        drop(sender);
        assert_eq!(state.next().await, None, "the body ends when the driver has");
    }
}
