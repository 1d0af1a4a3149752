//! Query parameters and path variables.

use axum::extract::FromRequestParts;
use garde::Validate;
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::body::invalid;
use super::member::path_id;
use crate::app::App;
use crate::error::{Error, FieldError, Result};
use crate::ids::ExecutionId;
use crate::store::PageRequest;

/// Valid query parameters.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T> FromRequestParts<App> for Query<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let axum::extract::Query(value) = axum::extract::Query::<T>::from_request_parts(parts, app)
            .await
            .map_err(|e| {
                fault(&std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string))
            })?;
        value.validate().map_err(|report| prefixed(invalid(&report)))?;
        Ok(Self(value))
    }
}

/// The parser's message begins with the parameter's name, where it knows it.
fn fault(message: &str) -> Error {
    match message.split_once(": ") {
        Some((name, rest)) if name.chars().all(|c| c.is_ascii_alphanumeric()) => {
            Error::field(format!("query.{name}"), rest)
        }
        _ => Error::field("query", message),
    }
}

fn prefixed(error: Error) -> Error {
    match error {
        Error::Invalid(fields) => Error::Invalid(
            fields
                .into_iter()
                .map(|f| FieldError {
                    field: format!("query.{}", f.field),
                    ..f
                })
                .collect(),
        ),
        other => other,
    }
}

#[derive(Deserialize)]
struct Raw {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Which page of a list: `?limit=&cursor=`.
#[derive(Debug, Clone)]
pub struct Paging(pub PageRequest);

impl FromRequestParts<App> for Paging {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let axum::extract::Query(raw) = axum::extract::Query::<Raw>::from_request_parts(parts, app)
            .await
            .map_err(|_| Error::field("query", "limit and cursor may appear once each"))?;
        PageRequest::parse(raw.limit.as_deref(), raw.cursor.as_deref()).map(Self)
    }
}

/// The path's `{id}`; text that is no such id is 404.
#[derive(Debug, Clone, Copy)]
pub struct Id<T>(pub T);

/// The path's `{executionId}`, likewise.
#[derive(Debug, Clone, Copy)]
pub struct Execution(pub ExecutionId);

impl FromRequestParts<App> for Execution {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        path_id(parts, app, "executionId").await.map(Self)
    }
}

impl<T: std::str::FromStr + Send> FromRequestParts<App> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        path_id(parts, app, "id").await.map(Self)
    }
}
