//! The four paths of the Runtime API.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::StreamExt;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::Invocation;
use super::reply::{Mode, Reply};

/// What a function is told that it has: the longest that Lambda gives.
const TIME_TO_ANSWER: Duration = Duration::from_secs(900);
const ARN: &str = "arn:aws:lambda:us-east-1:000000000000:function:local";

#[derive(Debug)]
pub(super) struct Shared {
    waiting: Mutex<mpsc::UnboundedReceiver<Invocation>>,
    polled: watch::Sender<Vec<Instant>>,
    failed: watch::Sender<Option<String>>,
    open: Lock<HashMap<String, Open>>,
    count: AtomicU64,
}

#[derive(Debug)]
struct Open {
    handed: Instant,
    answer: oneshot::Sender<Reply>,
}

impl Shared {
    pub(super) fn new(
        waiting: mpsc::UnboundedReceiver<Invocation>,
        polled: watch::Sender<Vec<Instant>>,
        failed: watch::Sender<Option<String>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(waiting),
            polled,
            failed,
            open: Lock::default(),
            count: AtomicU64::new(0),
        })
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        .route("/2018-06-01/runtime/init/error", post(init_error))
        .with_state(shared)
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    let now = Instant::now();
    shared.polled.send_modify(|all| all.push(now));
    let Some(Invocation { event, answer }) = shared.waiting.lock().await.recv().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let number = shared.count.fetch_add(1, Ordering::Relaxed);
    let id = format!("00000000-0000-4000-8000-{number:012x}");
    let body = event.to_string();
    let deadline = SystemTime::now() + TIME_TO_ANSWER;
    let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default();
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id.clone()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", ARN.to_owned()),
    ];
    let handed = Instant::now();
    shared.pending().insert(id, Open { handed, answer });
    (headers, body).into_response()
}

async fn response(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    let mode = headers.get("lambda-runtime-function-response-mode");
    let mode = match mode.and_then(|m| m.to_str().ok()) {
        Some("streaming") => Mode::Streaming,
        _ => Mode::Buffered,
    };
    take(&shared, &id, mode, body).await
}

async fn error(State(shared): State<Arc<Shared>>, Path(id): Path<String>, body: Body) -> StatusCode {
    take(&shared, &id, Mode::Error, body).await
}

/// Reads an answer to its end. A body that breaks off is an error, whatever it began as.
async fn take(shared: &Shared, id: &str, mode: Mode, body: Body) -> StatusCode {
    let Some(Open { handed, answer }) = shared.pending().remove(id) else {
        return StatusCode::FORBIDDEN;
    };
    let mut reply = Reply::new(mode, handed);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(bytes) => reply.add(Instant::now(), &bytes),
            Err(_) => reply.mode = Mode::Error,
        }
    }
    reply.ended = Instant::now();
    let _ = answer.send(reply);
    StatusCode::ACCEPTED
}

async fn init_error(State(shared): State<Arc<Shared>>, body: String) -> StatusCode {
    shared.failed.send_replace(Some(body));
    StatusCode::ACCEPTED
}
