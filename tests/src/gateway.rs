//! What stands in front of the functions in the cloud alone: the firewall's limit per address. Here it is a layer for
//! `TestApp`, and the process `gateway` of the local stack.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use camarad::clock::Clock;
use camarad::error::{Error, Result};
use camarad::http::problem::Problem;
use camarad::store::limits::{Count, Limit, Standing, Unreachable};
use jiff::Timestamp;
use lambda_http::request::RequestContext;

/// What an address may ask of the routes that need no sign-in.
pub const ADDRESS: Limit = Limit {
    class: "ip",
    max: 1_000,
    window_s: 3_600,
    unreachable: Unreachable::Admit,
};

/// Whether a path is one of those; as template.yaml's rule `public-rate` has it.
pub fn is_public(path: &str) -> bool {
    // Browsers call these by themselves; they have limits of their own.
    if ["/api/auth/refresh", "/api/auth/session"].contains(&path) {
        return false;
    }
    let starts = [
        "/api/auth",
        "/api/agent-presets",
        "/api/health",
        "/.well-known",
        "/docs",
        "/openapi.json",
    ];
    starts.iter().any(|s| {
        path.strip_prefix(s)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Counts by address.
pub struct Addresses {
    limit: Limit,
    counts: Mutex<HashMap<String, (i64, u32, u32)>>,
}

impl Addresses {
    /// With this limit.
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            counts: Mutex::default(),
        }
    }

    /// Counts one request; a refused one uses up nothing.
    ///
    /// # Errors
    /// `RateLimited`.
    pub fn admit(&self, address: &str, now: Timestamp) -> Result<Standing> {
        let window = now.as_second().div_euclid(i64::from(self.limit.window_s));
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, current, previous) = counts.entry(address.to_owned()).or_default();
        (*current, *previous) = match window - *of {
            0 => (*current, *previous),
            1 => (0, *current),
            _ => (0, 0),
        };
        *of = window;
        let judged = self.limit.judge(Count::new(*current + 1, *previous, now));
        *current += u32::from(judged.is_ok());
        judged
    }

    /// What a refused request gets.
    pub fn refusal(&self, error: &Error) -> Response {
        let wait = error.retry_after().map_or(1, |after| after.as_secs().max(1));
        let (class, max, window) = (self.limit.class, self.limit.max, self.limit.window_s);
        let body = serde_json::to_vec(&Problem::of(error, "")).unwrap_or_default();
        Response::builder()
            .status(error.status())
            .header("content-type", "application/problem+json")
            .header("cache-control", "no-store")
            .header("access-control-allow-origin", "*")
            .header("retry-after", wait)
            .header("ratelimit-policy", format!("\"{class}\";q={max};w={window}"))
            .header("ratelimit", format!("\"{class}\";r=0;t={wait}"))
            .body(Body::from(body))
            .expect("headers of ours")
    }
}

#[derive(Clone)]
struct Front {
    addresses: Arc<Addresses>,
    clock: Arc<dyn Clock>,
}

/// The service behind the limit; the address is the one that API Gateway tells.
pub fn in_front_of(service: Router, clock: Arc<dyn Clock>) -> Router {
    let front = Front {
        addresses: Arc::new(Addresses::new(ADDRESS)),
        clock,
    };
    service.layer(middleware::from_fn_with_state(front, pass))
}

async fn pass(State(front): State<Front>, request: Request, next: Next) -> Response {
    let address = match request.extensions().get::<RequestContext>() {
        Some(RequestContext::ApiGatewayV1(context)) => context.identity.source_ip.clone(),
        _ => None,
    };
    if is_public(request.uri().path())
        && let Err(error) = front
            .addresses
            .admit(&address.unwrap_or_default(), front.clock.now())
    {
        return front.addresses.refusal(&error);
    }
    next.run(request).await
}
