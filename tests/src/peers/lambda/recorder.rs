//! A stopover between a function and the AWS services: passes requests on and notes how long each waited for its
//! answer, so that one sees which share of an answer's time is theirs.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{PeerError, serve};

/// More than any request of ours.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One request that was passed on.
#[derive(Debug, Clone)]
pub struct Span {
    /// The operation, `DynamoDB_20120810.GetItem`; its path where the protocol does not name one.
    pub target: String,
    /// When all of the request was here.
    pub from: Instant,
    /// When all of its answer was.
    pub till: Instant,
}

/// A running stopover.
#[derive(Debug)]
pub struct Recorder {
    state: Arc<Inner>,
    url: String,
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    to: String,
    client: reqwest::Client,
    spans: Mutex<Vec<Span>>,
}

impl Recorder {
    /// In front of `to`, on a free port.
    pub async fn start(to: &str, client: reqwest::Client) -> Result<Self, PeerError> {
        let failed = |source| PeerError::Start {
            what: "the recorder cannot listen".into(),
            source,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let state = Arc::new(Inner {
            to: to.trim_end_matches('/').to_owned(),
            client,
            spans: Mutex::default(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&state));
        let _stop = serve(listener, router);
        Ok(Self { state, url, _stop })
    }

    /// Where to send requests.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was passed on since the last time that this was asked.
    pub fn take(&self) -> Vec<Span> {
        let mut spans = self.state.spans.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut spans)
    }
}

async fn pass(State(state): State<Arc<Inner>>, request: Request) -> Response {
    match forward(&state, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

async fn forward(
    state: &Inner,
    request: Request,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BYTES).await?;
    let from = Instant::now();
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
    let target = head.headers.get("x-amz-target").and_then(|v| v.to_str().ok());
    let target = target.unwrap_or(&path).to_owned();
    head.headers.remove(header::HOST);
    let answer = state
        .client
        .request(head.method, format!("{}{path}", state.to))
        .headers(head.headers)
        .body(body)
        .send()
        .await?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    let bytes = answer.bytes().await?;
    let till = Instant::now();
    let mut spans = state.spans.lock().unwrap_or_else(PoisonError::into_inner);
    spans.push(Span { target, from, till });
    drop(spans);
    headers.remove(header::TRANSFER_ENCODING);
    Ok((status, headers, Body::from(bytes)).into_response())
}
