//! A caller of the API: builds API Gateway REST events, and reads answers.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use camarad::clock::{Clock, SystemClock};
use camarad::lambda::http::lambda_service;
use camarad::store::cost::Cost;
use futures_util::{Stream, StreamExt};
use jiff::SignedDuration;
use lambda_http::RequestExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tower::ServiceExt;

use super::event;

/// The value of a header that is not to be sent.
const OMITTED: &str = "\0";

/// Somebody who calls the API.
#[derive(Clone)]
pub struct Client {
    service: Router,
    /// The access token, for a signed-in person.
    pub token: Option<String>,
    /// The person's id, for a signed-in person.
    pub user: Option<camarad::ids::UserId>,
    headers: HashMap<String, String>,
    ip: String,
    deadline: Option<Duration>,
}

/// An answer whose body has been read.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body.
    pub body: String,
    /// What the request cost in DynamoDB until its head was sent.
    pub cost: Cost,
}

impl Client {
    pub(super) fn new(service: Router, token: Option<String>) -> Self {
        Self {
            service,
            token,
            user: None,
            headers: HashMap::new(),
            ip: "203.0.113.7".into(),
            deadline: None,
        }
    }

    /// The same caller, sending one more header.
    pub fn header(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.insert(name.into(), value.into());
        with
    }

    /// The same caller with an Idempotency-Key.
    pub fn once(&self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// The same caller with another access token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.into()),
            ..self.clone()
        }
    }

    /// The same caller, sending this header's name in no case.
    pub fn without(&self, name: &str) -> Self {
        self.header(name, OMITTED)
    }

    /// The same caller, served by a function that is killed after this time.
    pub fn killed_after(&self, time: Duration) -> Self {
        Self {
            deadline: Some(time),
            ..self.clone()
        }
    }

    /// The same caller of another service.
    pub fn of(&self, service: Router) -> Self {
        Self {
            service,
            ..self.clone()
        }
    }

    /// The same caller, from another address.
    pub fn from(&self, ip: &str) -> Self {
        Self {
            ip: ip.into(),
            ..self.clone()
        }
    }

    /// GET
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(body.to_string())).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(body.to_string())).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Some(body.to_string())).await
    }

    /// DELETE
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// Any request; a body is sent as application/json unless a header says otherwise.
    pub async fn send(&self, method: &str, path: &str, body: Option<String>) -> Answer {
        let (parts, stream) = self.open(method, path, body).await;
        read(parts, stream).await
    }

    /// A request whose body is these bytes, text or not.
    pub async fn send_bytes(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let mut event = self.event(method, path, Some(""));
        event["body"] = data_encoding::BASE64.encode(body).into();
        event["isBase64Encoded"] = true.into();
        let (parts, stream) = self.pass(event).await;
        read(parts, stream).await
    }

    /// Any request, with the answer's body as it arrives.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        body: Option<String>,
    ) -> (http::response::Parts, ByteStream) {
        self.pass(self.event(method, path, body.as_deref())).await
    }

    async fn pass(&self, event: Value) -> (http::response::Parts, ByteStream) {
        let mut request = lambda_http::request::from_str(&event.to_string()).expect("a REST event");
        if let Some(time) = self.deadline {
            let mut context = lambda_http::Context::default();
            let killed = SystemClock.now() + SignedDuration::try_from(time).expect("a short time");
            context.deadline = killed.as_millisecond().try_into().expect("after 1970");
            request = request.with_lambda_context(context);
        }
        let response: http::Response<Body> = lambda_service(self.service.clone())
            .oneshot(request)
            .await
            .expect("infallible");
        let (parts, body) = response.into_parts();
        (parts, Box::pin(body.into_data_stream()))
    }

    /// The API Gateway REST (v1) event of a request.
    pub fn event(&self, method: &str, path: &str, body: Option<&str>) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut headers = self.headers.clone();
        headers.insert("Host".into(), "api.camarad.test".into());
        if let Some(token) = &self.token {
            headers
                .entry("Authorization".into())
                .or_insert_with(|| format!("Bearer {token}"));
        }
        if method == "PATCH" && needs_etag(path) {
            headers.entry("If-Match".into()).or_insert_with(|| "*".into());
        }
        if body.is_some() {
            headers
                .entry("Content-Type".into())
                .or_insert_with(|| "application/json".into());
        }
        headers.retain(|_, value| value != OMITTED);
        event::rest(method, path, query, &headers, &self.ip, body)
    }
}

/// Whether a change of this must say on top of what it comes. Stories that are about something else mean whatever is
/// there.
fn needs_etag(path: &str) -> bool {
    path == "/api/user" || path == "/api/user/preferences" || path.ends_with("/settings")
}

async fn read(parts: http::response::Parts, mut stream: ByteStream) -> Answer {
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.expect("the body ends well"));
    }
    let body = String::from_utf8(bytes).expect("UTF-8");
    let cost = parts.extensions.get::<Cost>().copied().unwrap_or_default();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        cost,
    }
}

/// A body as it arrives.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

impl Answer {
    /// The body as JSON, after the status was found to be `status`.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        self.read(status)
    }

    /// The body as a type, after the status was found to be `status`.
    #[track_caller]
    pub fn read<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// Checks the status and that the body is empty.
    #[track_caller]
    pub fn assert_empty(&self, status: u16) {
        assert_eq!((self.status, self.body.as_str()), (status, ""));
    }

    /// Checks that this is the problem `code` with this status, and answers it.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.assert_problem_without_id(status, code);
        assert!(
            problem["requestId"].as_str().is_some_and(|id| !id.is_empty()),
            "{problem}"
        );
        problem
    }

    /// The same for what did not come as far as a function, which gives a request its id.
    #[track_caller]
    pub fn assert_problem_without_id(&self, status: u16, code: &str) -> Value {
        let problem: Value = self.json(status);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:camarad:problem:{code}"));
        assert_eq!(problem["status"], status);
        problem
    }

    /// Checks that this is a 422 that names `field`.
    #[track_caller]
    pub fn assert_invalid(&self, field: &str) {
        let problem = self.assert_problem(422, "invalid");
        let fields: Vec<_> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["field"].as_str().unwrap_or_default())
            .collect();
        assert!(fields.contains(&field), "{problem}");
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}
