//! What happens to every request and answer: an id, a bounded body, a time-out, CORS, security headers, problem+json,
//! one line in the log. A panic becomes an opaque 500 and the function lives on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Limited};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use super::bounds::{self, Parameters};
use super::claimed::Checked;
use super::client;
use super::limit::{self, Standings};
use super::problem::{self, Raised};
use crate::app::App;
use crate::clock::Stopwatch;
use crate::context::{Actor, Context};
use crate::error::{Error, Result};
use crate::random;
use crate::store::cost;

/// The largest body that any route takes.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// When a buffered request is given up: before API Gateway's 29 s and the function's own time-out.
pub const BUFFERED: Duration = Duration::from_secs(25);

/// When a streaming route's head is given up: before Lambda's 15 minutes. Its body ends by its own deadline.
pub const STREAMING: Duration = Duration::from_secs(880);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body's bytes, for what needs them besides the handler (the Idempotency-Key's hash).
#[derive(Clone)]
pub(super) struct RawBody(pub(super) Bytes);

/// The service of a function: its routes behind the edge.
///
/// `timeout` bounds the time to the head of an answer.
pub fn service(routes: OpenApiRouter<App>, app: App, timeout: Duration) -> Router {
    let (router, described) = routes.split_for_parts();
    let edge_of = Edge {
        app: app.clone(),
        timeout,
        parameters: Parameters::of(&described),
    };
    router
        .fallback(|| async { Error::NotFound })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .layer(middleware::from_fn_with_state(edge_of, edge))
        .layer(cors(&app))
        .layer(middleware::from_fn_with_state(app.clone(), preflight))
        .with_state(app)
}

#[derive(Clone)]
struct Edge {
    app: App,
    timeout: Duration,
    parameters: Parameters,
}

fn cors(app: &App) -> CorsLayer {
    let origins: Vec<HeaderValue> = app
        .config()
        .frontend_origins
        .iter()
        .filter_map(|o| o.parse().ok())
        .collect();
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            REQUEST_ID,
            HeaderName::from_static("idempotency-replayed"),
            limit::RATE_LIMIT,
            limit::RATE_LIMIT_POLICY,
        ])
        .max_age(Duration::from_secs(600))
}

async fn edge(State(edge): State<Edge>, request: Request, next: Next) -> Response {
    let watch = Stopwatch::start();
    let (mut parts, body) = request.into_parts();
    let context = context(&edge.app, &parts.headers, &parts.extensions);
    let method = parts.method.clone();
    let route = parts
        .extensions
        .get::<MatchedPath>()
        .map_or_else(|| "-".to_owned(), |p| p.as_str().to_owned());
    parts.extensions.insert(Arc::new(context.clone()));
    let checked = Checked::default();
    parts.extensions.insert(checked.clone());
    let standings = Standings::default();
    parts.extensions.insert(standings.clone());

    let work = async {
        bounds::lengths(&parts)?;
        edge.parameters.check(&method, &route, parts.uri.query())?;
        let bytes = bounded(body).await?;
        parts.extensions.insert(RawBody(bytes.clone()));
        let inner = next.run(Request::from_parts(parts, Body::from(bytes)));
        match tokio::time::timeout(edge.timeout, AssertUnwindSafe(inner).catch_unwind()).await {
            Err(_) => Err(Error::Timeout),
            Ok(Err(panic)) => Err(Error::internal(panic_text(panic.as_ref()))),
            Ok(Ok(response)) => Ok(response),
        }
    };
    let (result, cost) = cost::metered(work).await;
    let mut response = result.unwrap_or_else(IntoResponse::into_response);
    if let Some(Raised(error)) = response.extensions_mut().remove::<Raised>() {
        log_cause(&error, &context.request_id);
        if let Error::RateLimited { limit, window_s, .. } = &*error {
            Box::pin(checked.refused(&edge.app, (*limit, *window_s))).await;
        }
        let mut rendered = problem::render(&error, &context.request_id);
        // Headers that were already decided (rate limits, cookies) stay, each with all of its values.
        for name in response.headers().keys() {
            if !rendered.headers().contains_key(name) {
                for value in response.headers().get_all(name) {
                    rendered.headers_mut().append(name, value.clone());
                }
            }
        }
        response = rendered;
    }
    standings.tell(response.headers_mut());
    secure(response.headers_mut(), &context.request_id);
    response.extensions_mut().insert(cost);
    tracing::info!(
        request.id = context.request_id,
        http.method = %method,
        http.route = route,
        http.status = response.status().as_u16(),
        duration_ms = watch.millis(),
        db.calls = cost.calls,
        db.serial = cost.serial,
        db.rcu = cost.rcu,
        db.wcu = cost.wcu,
        "request"
    );
    response
}

/// What CORS answers by itself, a preflight, gets the id, the headers and the line that other answers have.
async fn preflight(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS {
        return next.run(request).await;
    }
    let context = context(&app, request.headers(), request.extensions());
    let mut response = next.run(request).await;
    if !response.headers().contains_key(REQUEST_ID) {
        secure(response.headers_mut(), &context.request_id);
        tracing::info!(
            request.id = context.request_id,
            http.method = "OPTIONS",
            http.status = response.status().as_u16(),
            "preflight"
        );
    }
    response
}

fn context(app: &App, headers: &HeaderMap, extensions: &http::Extensions) -> Context {
    let user_agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    Context {
        actor: Actor::Anonymous,
        ip: client::ip(extensions),
        user_agent: user_agent.map(|ua| ua.chars().take(256).collect()),
        person_key: None,
        audit_days: None,
        request_id: client::request_id(extensions)
            .unwrap_or_else(|| format!("req_{}", data_encoding::HEXLOWER.encode(&random::bytes::<12>()))),
        now: app.clock().now(),
    }
}

async fn bounded(body: Body) -> Result<Bytes> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(all) => Ok(all.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::PayloadTooLarge {
            max_bytes: MAX_BODY_BYTES,
        }),
        Err(_) => Err(Error::Malformed("the body ended too early".into())),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("?"))
}

/// Faults of ours are logged with their causes, once, here. What the caller did wrong is in the request's line.
fn log_cause(error: &Error, request_id: &str) {
    if error.status() < 500 {
        tracing::info!(request.id = request_id, error.code = error.code(), "refused");
        return;
    }
    let mut causes = Vec::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push(inner.to_string());
        cause = inner.source();
    }
    tracing::error!(
        request.id = request_id,
        error.code = error.code(),
        error.cause = causes.join(": "),
        "failed"
    );
}

/// Security headers of an API whose answers are no documents (OWASP REST Security Cheat Sheet).
fn secure(headers: &mut HeaderMap, request_id: &str) {
    let defaults = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            header::STRICT_TRANSPORT_SECURITY,
            "max-age=63072000; includeSubDomains",
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in defaults {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, id);
    }
}
