//! Is it valid: a JSON body, parsed with the field named that does not fit, then validated field by field.

use axum::extract::{FromRequest, Request};
use garde::Validate;
use http::header;
use serde::de::DeserializeOwned;

use super::bounds::shown;
use super::edge::RawBody;
use super::json;
use crate::app::App;
use crate::domain::merge::Object;
use crate::error::{Error, FieldError, Result};

/// A valid JSON body.
#[derive(Debug, Clone)]
pub struct Body<T>(pub T);

impl<T> FromRequest<App> for Body<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(json_type);
        let bytes = request
            .extensions()
            .get::<RawBody>()
            .ok_or_else(|| Error::internal("a route outside the edge"))?;
        if !is_json {
            return Err(Error::UnsupportedMediaType);
        }
        parse(&bytes.0).map(Self)
    }
}

/// The body as it came, for what is signed byte by byte.
#[derive(Debug, Clone)]
pub struct Raw(pub bytes::Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, _: &App) -> Result<Self> {
        let raw = request.extensions().get::<RawBody>();
        raw.map(|raw| Self(raw.0.clone()))
            .ok_or_else(|| Error::internal("a route outside the edge"))
    }
}

/// A valid JSON body, or none.
#[derive(Debug, Clone)]
pub struct OptionalBody<T>(pub Option<T>);

impl<T> FromRequest<App> for OptionalBody<T>
where
    T: DeserializeOwned + Validate<Context = ()>,
{
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        match request.extensions().get::<RawBody>() {
            Some(raw) if raw.0.is_empty() => Ok(Self(None)),
            _ => Body::from_request(request, app)
                .await
                .map(|Body(value)| Self(Some(value))),
        }
    }
}

fn json_type(value: &str) -> bool {
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("application/merge-patch+json")
}

fn parse<T: DeserializeOwned + Validate<Context = ()>>(bytes: &[u8]) -> Result<T> {
    json::check(bytes)?;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value): Object<T> = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let (path, cause) = (error.path().to_string(), error.into_inner());
        match cause.classify() {
            serde_json::error::Category::Data => misfit(&path, &cause),
            _ => Error::Malformed(cause.to_string()),
        }
    })?;
    value.validate().map_err(|report| invalid(&report))?;
    Ok(value)
}

/// What does not fit, by its own name: what is missing is told at the place of the object that lacks it.
fn misfit(path: &str, cause: &serde_json::Error) -> Error {
    let text = position_free(cause);
    let missing = text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.strip_suffix('`'));
    match (missing, path) {
        (Some(name), ".") => Error::field(name, "is missing"),
        (Some(name), object) => Error::field(shown(&format!("{object}.{name}")), "is missing"),
        (None, ".") => Error::field("body", text),
        (None, field) => Error::field(shown(field), text),
    }
}

/// serde_json appends where it stopped; with the field named, that only confuses.
fn position_free(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or(&text);
    // It may repeat a name or value of the caller's, of whatever length.
    match text.chars().count() > 200 {
        true => "is not valid".into(),
        false => text.to_owned(),
    }
}

/// A validation report as field errors, in camelCase as on the wire.
pub(super) fn invalid(report: &garde::Report) -> Error {
    let fields = report.iter().map(|(path, error)| FieldError {
        field: camel(&path.to_string()),
        message: error.message().to_owned(),
    });
    Error::Invalid(fields.collect())
}

fn camel(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, garde::Validate)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Sample {
        #[garde(length(chars, min = 1, max = 3))]
        short_name: String,
        #[garde(skip)]
        #[serde(default)]
        _list: Vec<u8>,
        #[garde(skip)]
        #[serde(default)]
        _inner: Option<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Inner {
        _type_of: u8,
    }

    fn fields(body: &str) -> Vec<String> {
        match parse::<Sample>(body.as_bytes()) {
            Err(Error::Invalid(fields)) => fields.into_iter().map(|f| f.field).collect(),
            Err(Error::Malformed(_)) => vec!["malformed".into()],
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn each_fault_names_its_field() {
        assert_eq!(fields(r#"{"shortName":"abcd"}"#), ["shortName"]);
        assert_eq!(fields(r#"{"shortName":7}"#), ["shortName"]);
        assert_eq!(fields(r#"{"shortName":"a","x":1}"#), ["x"]);
        assert_eq!(fields(r#"{}"#), ["shortName"], "what is missing has a name");
        assert_eq!(
            fields(r#"{"shortName":"a","Inner":{}}"#),
            ["Inner"],
            "a name is told as it was sent"
        );
        assert_eq!(fields(r#"{"shortName":"a","inner":{}}"#), ["inner.typeOf"]);
        assert_eq!(fields("[]"), ["body"]);
        assert_eq!(fields("{"), ["malformed"]);
        assert_eq!(fields(r#"{"shortName":"a"} x"#), ["malformed"]);
    }
}
