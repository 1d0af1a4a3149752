//! The one error type. It knows nothing of HTTP bodies: `http::problem` turns it into RFC 9457 problem+json at the
//! edge. Status, code and retryability are exhaustive matches, so a new kind of error does not compile until it has
//! all three.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::WorkspaceId;

/// `Result` with Camarad's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is wrong with one field of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// Where: a JSON path into the body (`workspace.name`), or `query.limit`, `header.Idempotency-Key`, `path.id`.
    pub field: String,
    /// What, in a sentence a person understands.
    pub message: String,
}

/// Why a sign-in did not come to its end. Which check failed is in the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignInRefusal {
    /// The callback, the code or the ID token did not pass its checks, or the attempt is over ten minutes old.
    #[error("the sign-in could not be completed: start again")]
    Failed,
    /// The person, or the provider, said no.
    #[error("the provider did not grant the sign-in")]
    Denied,
    /// The provider does not vouch for the e-mail address.
    #[error("the provider has not verified this e-mail address")]
    EmailUnverified,
    /// No mail can be sent to the e-mail address.
    #[error("no mail can be sent to this e-mail address: use another one")]
    EmailUnusable,
}

/// Everything that can go wrong, told in terms of the caller's request.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No valid credentials.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A sign-in did not come to its end.
    #[error("{0}")]
    SignIn(SignInRefusal),
    /// The caller is known and may not.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The API key is good, but not for this: the scope that it lacks, or none when no key does.
    #[error("{}", .0.map_or("no API key is accepted here: sign in", |_| "the API key is not allowed to do this"))]
    InsufficientScope(Option<&'static str>),
    /// A fresh sign-in is needed for this.
    #[error("this needs a recent sign-in: sign in again and repeat the request")]
    StepUpRequired,
    /// The plan's limit is reached.
    #[error("the plan allows {max} {what}")]
    PlanLimit {
        /// What is limited: `workspaces`, `agents`, `active agents`, …
        what: &'static str,
        /// How many the plan allows.
        max: u32,
    },
    /// Does not exist, or the caller may not know that it does.
    #[error("there is no such resource")]
    NotFound,
    /// The path exists, the method does not.
    #[error("the method is not supported on this path")]
    MethodNotAllowed,
    /// The state of the resource does not allow this.
    #[error("{detail}")]
    Conflict {
        /// Machine-readable, snake_case.
        code: &'static str,
        /// For a person.
        detail: String,
    },
    /// An account that others still depend on cannot be deleted.
    #[error("you own workspaces with other members: transfer or delete them first")]
    OwnsSharedWorkspaces(Vec<WorkspaceId>),
    /// The first request with this Idempotency-Key has not ended yet.
    #[error("the first request with this Idempotency-Key is still running")]
    InProgress {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The Idempotency-Key was used with another request.
    #[error("this Idempotency-Key was used with a different request")]
    KeyReused,
    /// The balance is too low, whatever is held.
    #[error("the balance does not cover this call")]
    InsufficientCbt,
    /// The balance would do, but the workspace has used what its owner lets it draw.
    #[error("the workspace has used up its allocation")]
    AllocationExhausted,
    /// The balance would do, but other calls hold it.
    #[error("the balance is held by calls that are running")]
    CbtHeld {
        /// When a hold may end.
        retry_after: Duration,
    },
    /// The card, or whatever pays, was refused.
    #[error("the payment was refused: check or change the payment method")]
    PaymentFailed,
    /// The payer has no subscription.
    #[error("this needs a subscription: complete the onboarding, or open the checkout of a plan")]
    SubscriptionRequired,
    /// Somebody else changed it since the caller read it.
    #[error("the resource has changed since it was read")]
    PreconditionFailed,
    /// A change that must say on top of what it comes (RFC 6585 §3).
    #[error(
        "say what you know of the resource: send its ETag in If-Match, or `*` to overwrite whatever is there"
    )]
    PreconditionRequired,
    /// The body is larger than the route takes.
    #[error("the body is larger than {max_bytes} bytes")]
    PayloadTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The path or the query is longer than any route's.
    #[error("the address is too long")]
    UriTooLong,
    /// The headers are larger than any request needs.
    #[error("the headers are larger than {max_bytes} bytes")]
    HeadersTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
    /// The Content-Type is not the one the route takes.
    #[error("the Content-Type must be application/json")]
    UnsupportedMediaType,
    /// The body is not JSON at all.
    #[error("the body is not valid JSON: {0}")]
    Malformed(String),
    /// One or more fields are wrong.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldError>),
    /// Too many requests.
    #[error("too many requests: {limit} per {window_s} s")]
    RateLimited {
        /// When the window ends.
        retry_after: Duration,
        /// Requests per window.
        limit: u32,
        /// Seconds in the window.
        window_s: u32,
    },
    /// The AI or identity provider failed and nothing was charged.
    #[error("{0}")]
    Upstream(&'static str),
    /// A dependency cannot answer now; nothing was changed, or the same request may safely be repeated.
    #[error("the service is busy, try again")]
    Unavailable(#[source] Cause),
    /// The request took too long.
    #[error("the request took too long")]
    Timeout,
    /// A fault of ours. Its cause is logged once at the edge and never shown.
    #[error("an unexpected error occurred")]
    Internal(#[source] Cause),
}

/// The cause of an error, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync + 'static>;

fn summary(fields: &[FieldError]) -> String {
    match fields {
        [one] => format!("{}: {}", one.field, one.message),
        many => format!("{} fields are not valid", many.len()),
    }
}

impl Error {
    /// A fault of ours, with its cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::Internal(cause.into())
    }

    /// One field is wrong.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError {
            field: field.into(),
            message: message.into(),
        }])
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::SignIn(SignInRefusal::Failed) => 400,
            Self::Unauthenticated(_) => 401,
            Self::InsufficientCbt
            | Self::AllocationExhausted
            | Self::SubscriptionRequired
            | Self::PaymentFailed => 402,
            Self::SignIn(
                SignInRefusal::Denied | SignInRefusal::EmailUnverified | SignInRefusal::EmailUnusable,
            ) => 403,
            Self::Forbidden(_) | Self::InsufficientScope(_) => 403,
            Self::StepUpRequired | Self::PlanLimit { .. } => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict { .. }
            | Self::OwnsSharedWorkspaces(_)
            | Self::InProgress { .. }
            | Self::CbtHeld { .. } => 409,
            Self::PreconditionFailed => 412,
            Self::PayloadTooLarge { .. } => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::Invalid(_) | Self::KeyReused => 422,
            Self::PreconditionRequired => 428,
            Self::RateLimited { .. } => 429,
            Self::HeadersTooLarge { .. } => 431,
            Self::Internal(_) => 500,
            Self::Upstream(_) => 502,
            Self::Unavailable(_) => 503,
            Self::Timeout => 504,
        }
    }

    /// The machine-readable code: the last part of the problem's `type`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::SignIn(SignInRefusal::Failed) => "sign_in_failed",
            Self::SignIn(SignInRefusal::Denied) => "access_denied",
            Self::SignIn(SignInRefusal::EmailUnverified) => "email_not_verified",
            Self::SignIn(SignInRefusal::EmailUnusable) => "email_not_usable",
            Self::InsufficientCbt => "insufficient_cbt",
            Self::PaymentFailed => "payment_failed",
            Self::AllocationExhausted => "allocation_exhausted",
            Self::SubscriptionRequired => "subscription_required",
            Self::Forbidden(_) => "forbidden",
            Self::InsufficientScope(_) => "insufficient_scope",
            Self::StepUpRequired => "step_up_required",
            Self::PlanLimit { .. } => "plan_limit",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::Conflict { code, .. } => code,
            Self::OwnsSharedWorkspaces(_) => "owns_shared_workspaces",
            Self::InProgress { .. } => "idempotency_in_progress",
            Self::CbtHeld { .. } => "cbt_held",
            Self::PreconditionFailed => "precondition_failed",
            Self::PreconditionRequired => "precondition_required",
            Self::PayloadTooLarge { .. } => "payload_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::HeadersTooLarge { .. } => "headers_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Invalid(_) => "invalid",
            Self::KeyReused => "idempotency_key_reused",
            Self::RateLimited { .. } => "rate_limited",
            Self::Internal(_) => "internal",
            Self::Upstream(_) => "upstream_failed",
            Self::Unavailable(_) => "unavailable",
            Self::Timeout => "timeout",
        }
    }

    /// When the same request may succeed, if it may: the Retry-After header.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::InProgress { retry_after } | Self::CbtHeld { retry_after } => Some(*retry_after),
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::Unavailable(_) | Self::Timeout | Self::Upstream(_) => Some(Duration::from_secs(1)),
            Self::Malformed(_)
            | Self::Unauthenticated(_)
            | Self::SignIn(_)
            | Self::InsufficientCbt
            | Self::AllocationExhausted
            | Self::SubscriptionRequired
            | Self::PaymentFailed
            | Self::Forbidden(_)
            | Self::InsufficientScope(_)
            | Self::StepUpRequired
            | Self::PlanLimit { .. }
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict { .. }
            | Self::OwnsSharedWorkspaces(_)
            | Self::PreconditionFailed
            | Self::PreconditionRequired
            | Self::PayloadTooLarge { .. }
            | Self::UriTooLong
            | Self::HeadersTooLarge { .. }
            | Self::UnsupportedMediaType
            | Self::Invalid(_)
            | Self::KeyReused
            | Self::Internal(_) => None,
        }
    }
}
