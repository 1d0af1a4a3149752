//! CloudEvents over HTTP in structured mode: one as a JSON object, several as a list.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>

use axum::extract::{FromRequest, Request};
use http::header;
use serde_json::Value;

use super::edge::RawBody;
use super::json;
use crate::app::App;
use crate::error::{Error, Result};

/// The events of a request.
#[derive(Debug, Clone)]
pub enum Events {
    /// `application/cloudevents+json`.
    One(Value),
    /// `application/cloudevents-batch+json`.
    Many(Vec<Value>),
}

impl FromRequest<App> for Events {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        let media_type = request.headers().get(header::CONTENT_TYPE);
        let essence = media_type
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .map(|v| v.trim().to_ascii_lowercase())
            .unwrap_or_default();
        let bytes = request
            .extensions()
            .get::<RawBody>()
            .ok_or_else(|| Error::internal("a route outside the edge"))?;
        let read = || {
            json::check(&bytes.0)?;
            serde_json::from_slice(&bytes.0).map_err(|e| Error::Malformed(e.to_string()))
        };
        match essence.as_str() {
            "application/cloudevents+json" => read().map(Self::One),
            "application/cloudevents-batch+json" => match read()? {
                Value::Array(events) => Ok(Self::Many(events)),
                _ => Err(Error::field("body", "must be a list of events")),
            },
            _ => Err(Error::UnsupportedMediaType),
        }
    }
}
