//! RFC 9457 problem+json.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{self, RefOr};

use crate::error::{Error, FieldError};
use crate::ids::WorkspaceId;

/// An error answer.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:camarad:problem:<code>`.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The code alone.
    pub code: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, for a person.
    pub detail: String,
    /// The request's id, for support.
    pub request_id: String,
    /// The fields that are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// With `owns_shared_workspaces`: which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workspace_ids: Vec<WorkspaceId>,
}

impl Problem {
    /// The public face of an error: causes stay inside.
    pub fn of(error: &Error, request_id: &str) -> Self {
        let status = error.status();
        let title = StatusCode::from_u16(status)
            .ok()
            .and_then(|s| s.canonical_reason())
            .unwrap_or("Error");
        Self {
            problem_type: format!("urn:camarad:problem:{}", error.code()),
            code: error.code().into(),
            title: title.into(),
            status,
            detail: error.to_string(),
            request_id: request_id.into(),
            errors: match error {
                Error::Invalid(fields) => fields.clone(),
                _ => Vec::new(),
            },
            workspace_ids: match error {
                Error::OwnsSharedWorkspaces(ids) => ids.clone(),
                _ => Vec::new(),
            },
        }
    }
}

macro_rules! documented {
    ($($(#[$doc:meta])+ $name:ident [$($status:literal)+])+) => {$(
        $(#[$doc])+
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
                BTreeMap::from([$(($status.to_string(), documented($status))),+])
            }
        }
    )+};
}

documented! {
    /// For the OpenAPI document: what a public route may answer besides success.
    PublicProblems [413 414 422 429 431 500 503 504]
    /// The same for a public route that takes a body.
    PublicWriteProblems [400 401 403 413 414 415 422 429 431 500 503 504]
    /// The same for a route that reads for a signed-in person.
    ReadProblems [401 403 404 413 414 422 429 431 500 503 504]
    /// The same for a route that changes something for a signed-in person.
    WriteProblems [400 401 402 403 404 409 413 414 415 422 429 431 500 503 504]
    /// The same for a route that reads at a provider.
    ProviderReadProblems [401 402 403 404 409 413 414 422 429 431 500 502 503 504]
    /// The same for a route that has a provider do something.
    ProviderWriteProblems [400 401 402 403 404 409 413 414 415 422 429 431 500 502 503 504]
}

fn documented(status: u16) -> RefOr<openapi::Response> {
    let title = StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Error");
    let content = openapi::Content::new(Some(openapi::Ref::from_schema_name("Problem")));
    openapi::Response::builder()
        .description(title)
        .content("application/problem+json", content)
        .build()
        .into()
}

/// An error on its way out. The edge renders it, where the request's id is known, and logs it once.
#[derive(Clone)]
pub(super) struct Raised(pub(super) Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(Raised(Arc::new(self)));
        response
    }
}

/// The answer that tells of an error.
pub(super) fn render(error: &Error, request_id: &str) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_vec(&Problem::of(error, request_id)).unwrap_or_default();
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(after) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if let Some(challenge) = challenge(error) {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// RFC 6750 §3: what credentials would have done.
fn challenge(error: &Error) -> Option<HeaderValue> {
    match error {
        Error::InsufficientScope(Some(scope)) => {
            HeaderValue::from_str(&format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")).ok()
        }
        _ if error.status() == 401 => Some(HeaderValue::from_static("Bearer")),
        _ => None,
    }
}
