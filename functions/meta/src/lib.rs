//! What tells about the API: its health, its OpenAPI document, and a reference to read.

mod docs;
mod document;

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use camarad::app::App;
use camarad::error::{Error, Result};
use camarad::http::problem::PublicProblems;
use camarad::reply::Reply;
use camarad::store::keys;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The OpenAPI document of all functions; a test keeps it in step with their code.
const OPENAPI: &str = include_str!("../../../clients/openapi.json");

/// Identifies the document's text (RFC 9110 §8.8.3).
static ETAG: LazyLock<String> =
    LazyLock::new(|| format!("\"{}\"", BASE64URL_NOPAD.encode(&Sha256::digest(OPENAPI))));

/// How long the document and the reference may be kept without asking again.
const CACHE: &str = "public, max-age=300";

/// The routes of this function.
pub fn router() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(live))
        .routes(routes!(ready))
        .routes(routes!(openapi))
        .routes(routes!(reference))
}

/// How the service does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct Health {
    /// `ok`
    status: &'static str,
    /// The version that answers.
    version: &'static str,
}

const OK: Health = Health {
    status: "ok",
    version: env!("CARGO_PKG_VERSION"),
};

/// Is it alive
///
/// Nothing else is asked: a function that can answer does.
#[utoipa::path(get, path = "/api/health", tag = "meta", responses((status = 200, body = Health), PublicProblems))]
async fn live() -> Result<Reply<Health>> {
    Reply::ok(&OK)
}

/// Can it work
///
/// Reads from the table.
#[utoipa::path(get, path = "/api/health/ready", tag = "meta",
    responses((status = 200, body = Health), (status = 503, description = "The table does not answer.", body = camarad::http::problem::Problem, content_type = "application/problem+json"), PublicProblems))]
async fn ready(State(app): State<App>) -> Result<Reply<Health>> {
    match app.db().get_doc(&keys::health()).await {
        Ok(_) => Reply::ok(&OK),
        Err(Error::Internal(cause)) => Err(Error::Unavailable(cause)),
        Err(error) => Err(error),
    }
}

/// This document
#[utoipa::path(get, path = "/openapi.json", tag = "meta",
    params(("If-None-Match" = Option<String>, Header)),
    responses(
        (status = 200, description = "The OpenAPI 3.1 document.", body = serde_json::Value),
        (status = 304, description = "The caller has it."),
        PublicProblems
    ))]
async fn openapi(headers: HeaderMap) -> Response {
    let caching = [(header::ETAG, ETAG.as_str()), (header::CACHE_CONTROL, CACHE)];
    if has(&headers) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Whether the caller's If-None-Match names our document (RFC 9110 §13.1.2: compared weakly).
fn has(headers: &HeaderMap) -> bool {
    let tags = headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    tags.flat_map(|line| line.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == "*" || tag == ETAG.as_str())
}

/// The API to read
#[utoipa::path(get, path = "/docs", tag = "meta",
    responses((status = 200, description = "The reference, as HTML.", body = String, content_type = "text/html"), PublicProblems))]
async fn reference() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, CACHE),
        (header::CONTENT_SECURITY_POLICY, docs::POLICY.as_str()),
    ];
    (headers, docs::PAGE.as_str()).into_response()
}
