//! Where a request comes from, as API Gateway says it. Headers that a client can write (X-Forwarded-For) are not asked.

use axum::extract::FromRequestParts;
use http::Extensions;
use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use lambda_http::request::RequestContext;

use crate::app::App;
use crate::error::{Error, Result};

/// The address that API Gateway saw.
pub(super) fn ip(extensions: &Extensions) -> Option<String> {
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => context.identity.source_ip.clone(),
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.clone(),
        _ => None,
    }
}

/// API Gateway's id of the request.
pub(super) fn request_id(extensions: &Extensions) -> Option<String> {
    match extensions.get::<RequestContext>()? {
        RequestContext::ApiGatewayV1(context) => context.request_id.clone(),
        RequestContext::ApiGatewayV2(context) => context.request_id.clone(),
        _ => None,
    }
}

/// What is kept back from a function's time for settling what it did and ending its answer.
const SETTLING: SignedDuration = SignedDuration::from_secs(20);

/// How long a streamed answer may take at most, whatever the function's own time: below API Gateway's 15 minutes and
/// the edge's bound for the head of an answer.
const LONGEST: SignedDuration = SignedDuration::from_mins(14);

/// When a streamed answer must have ended.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Timestamp);

/// No function was started before this, 2020: an earlier deadline is none. Unix seconds.
const LONG_AGO: i64 = 1_577_836_800;

impl Deadline {
    /// When the function is killed, or later.
    pub fn killed(&self) -> Timestamp {
        self.0.checked_add(SETTLING).unwrap_or(Timestamp::MAX)
    }
}

impl FromRequestParts<App> for Deadline {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let now = app.clock().now();
        let longest = now.checked_add(LONGEST).map_err(Error::internal)?;
        let killed = parts
            .extensions
            .get::<lambda_http::Context>()
            .map(|c| i64::try_from(c.deadline).unwrap_or(i64::MAX));
        let killed = killed.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        // `cargo lambda watch` sends deadlines of 1970.
        let ours = killed
            .filter(|at| at.as_second() > LONG_AGO)
            .and_then(|at| at.checked_sub(SETTLING).ok());
        Ok(Self(ours.map_or(longest, |at| at.min(longest))))
    }
}
