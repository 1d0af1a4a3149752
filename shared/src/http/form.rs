//! A form of one of our own pages, or the same as JSON.

use axum::extract::{FromRequest, Request};
use garde::Validate;
use http::header;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::{Body, invalid};
use super::edge::RawBody;
use crate::app::App;
use crate::error::{Error, Result};

/// Valid fields of an HTML form, or a valid JSON body.
#[derive(Debug, Clone)]
pub struct FormOrBody<T>(pub T);

impl<T> FromRequest<App> for FormOrBody<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let essence = content_type
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next());
        if !essence.is_some_and(|e| e.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            let Body(value) = Body::from_request(request, app).await?;
            return Ok(Self(value));
        }
        let raw = request.extensions().get::<RawBody>();
        let raw = raw.ok_or_else(|| Error::internal("a route outside the edge"))?;
        parse(&raw.0).map(Self)
    }
}

fn parse<T: DeserializeOwned + Validate<Context = ()>>(form: &[u8]) -> Result<T> {
    let mut fields = Map::new();
    for (name, text) in url::form_urlencoded::parse(form) {
        if fields
            .insert(name.to_string(), Value::String(text.into()))
            .is_some()
        {
            return Err(Error::field(name, "may appear once"));
        }
    }
    let value: T =
        serde_json::from_value(Value::Object(fields)).map_err(|e| Error::field("body", e.to_string()))?;
    value.validate().map_err(|report| invalid(&report))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize, Validate)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[garde(length(chars, max = 3))]
        name: String,
    }

    #[test]
    fn a_form_is_read_like_json_and_as_strictly() {
        assert_eq!(parse::<Sample>(b"name=a+%C3%A4").unwrap().name, "a ä");
        for wrong in ["", "name=a&name=b", "name=a&x=b", "name=abcd"] {
            assert!(parse::<Sample>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
