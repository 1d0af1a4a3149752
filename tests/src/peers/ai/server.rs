//! The server: lets a call in, asks for its plan and plays it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use camarad::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use super::behaviour::{Behaviour, Script};
use super::call::{Call, Wire};
use super::frames::Stamp;
use super::log::{Delivery, Log, Received, mask};
use super::plan::{Plan, plan, refusal};
use super::play::body;
use super::{anthropic, openai};

/// Above what the providers take (OpenAI: 512,000 tokens of text at most; Anthropic: 32 MB).
const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;

/// What the handle and the server share.
#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<VecDeque<Behaviour>>,
    pub(crate) log: Arc<Log>,
    chunk_delay: Duration,
}

impl Shared {
    pub(crate) fn new(chunk_delay: Duration) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            log: Log::new(),
            chunk_delay,
        })
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, VecDeque<Behaviour>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_script(&self) -> Script {
        Script::new(self.queue().pop_front().unwrap_or_default(), self.chunk_delay)
    }
}

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/messages", post(messages))
        .route("/v1/models", get(models))
        .route("/_peer/behaviours", post(push_behaviours))
        .route("/_peer/requests", get(list_requests).delete(clear_requests))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(shared)
}

async fn chat_completions(
    state: State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(Wire::OpenAi, &state, &method, &uri, &headers, &body).await
}

async fn messages(
    state: State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(Wire::Anthropic, &state, &method, &uri, &headers, &body).await
}

async fn answer(
    wire: Wire,
    shared: &Shared,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let parsed = serde_json::from_slice::<Value>(body);
    let seen = parsed.as_ref().map_or(Value::Null, Value::clone);
    let delivery = shared.log.receive(method, uri, headers, seen);
    let stamp = stamp(&delivery);
    let call = admit(wire, headers, stamp).and_then(|()| {
        let body = parsed.map_err(|error| {
            (
                400,
                format!("We could not parse the JSON body of your request: {error}"),
            )
        });
        let call = body.and_then(|body| Call::parse(wire, &body).map_err(|reason| (400, reason)));
        call.map_err(|(status, reason)| refuse(wire, status, &reason, None, stamp))
    });
    // A request that the provider would not have let in does not use up a behaviour.
    let plan = call.map_or_else(
        |refused| refused,
        |call| plan(&call, &shared.next_script(), stamp),
    );
    play(wire, plan, delivery, stamp).await
}

/// Checks what each provider demands in headers. Any key is good but one that begins with `bad-`.
fn admit(wire: Wire, headers: &HeaderMap, stamp: Stamp) -> Result<(), Plan> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let (key, missing) = match wire {
        Wire::OpenAi => (
            text("authorization").strip_prefix("Bearer ").unwrap_or_default(),
            "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.",
        ),
        Wire::Anthropic => (text("x-api-key"), "x-api-key header is required"),
    };
    if key.trim().is_empty() {
        return Err(refuse(wire, 401, missing, None, stamp));
    }
    if key.starts_with("bad-") {
        let reason = match wire {
            Wire::OpenAi => format!("Incorrect API key provided: {}.", mask(key)),
            Wire::Anthropic => "invalid x-api-key".to_owned(),
        };
        return Err(refuse(wire, 401, &reason, Some("invalid_api_key"), stamp));
    }
    if wire == Wire::Anthropic && text("anthropic-version").is_empty() {
        return Err(refuse(
            wire,
            400,
            "anthropic-version: header is required",
            None,
            stamp,
        ));
    }
    Ok(())
}

fn refuse(wire: Wire, status: u16, message: &str, code: Option<&str>, stamp: Stamp) -> Plan {
    let body = match wire {
        Wire::OpenAi => openai::error(status, message, code),
        Wire::Anthropic => anthropic::error(status, message, stamp),
    };
    refusal(status, &body)
}

async fn play(wire: Wire, plan: Plan, delivery: Delivery, stamp: Stamp) -> Response {
    if !plan.before_headers.is_zero() {
        // A client that leaves meanwhile drops this future, and the delivery with it.
        tokio::time::sleep(plan.before_headers).await;
    }
    delivery.head(plan.status);
    let id = match wire {
        Wire::OpenAi => "x-request-id",
        Wire::Anthropic => "request-id",
    };
    let mut response = Response::builder()
        .status(plan.status)
        .header(header::CONTENT_TYPE, plan.content_type)
        .header(header::CACHE_CONTROL, "no-cache")
        .header(id, anthropic::request_id(stamp));
    if let Some(seconds) = plan.retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    let built = response.body(Body::from_stream(body(plan.steps, delivery)));
    // Only a status that HTTP does not know can fail here.
    built.unwrap_or_else(|error| (StatusCode::BAD_REQUEST, error.to_string()).into_response())
}

/// The models of the provider whose credential is shown.
async fn models(state: State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let wire = if headers.contains_key("x-api-key") {
        Wire::Anthropic
    } else {
        Wire::OpenAi
    };
    let delivery = state.log.receive(&method, &uri, &headers, Value::Null);
    let stamp = stamp(&delivery);
    let plan = admit(wire, &headers, stamp).map_or_else(
        |refused| refused,
        |()| {
            refusal(
                200,
                &if wire == Wire::OpenAi {
                    openai::models()
                } else {
                    anthropic::models()
                },
            )
        },
    );
    play(wire, plan, delivery, stamp).await
}

async fn not_found(method: Method, uri: Uri) -> Response {
    let message = format!("Invalid URL ({method} {})", uri.path());
    (StatusCode::NOT_FOUND, Json(openai::error(404, &message, None))).into_response()
}

async fn push_behaviours(state: State<Arc<Shared>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Vec<Behaviour>>(&body) {
        Ok(behaviours) => {
            let mut queue = state.queue();
            queue.extend(behaviours);
            Json(json!({"queued": queue.len()})).into_response()
        }
        Err(error) => (
            StatusCode::BAD_REQUEST,
            format!("not a list of behaviours: {error}\n"),
        )
            .into_response(),
    }
}

async fn list_requests(state: State<Arc<Shared>>) -> Json<Vec<Received>> {
    Json(state.log.list())
}

async fn clear_requests(state: State<Arc<Shared>>) -> StatusCode {
    state.log.clear();
    StatusCode::NO_CONTENT
}

fn stamp(delivery: &Delivery) -> Stamp {
    let created = u64::try_from(SystemClock.now().as_second()).unwrap_or(0);
    Stamp {
        order: delivery.order(),
        created,
    }
}
