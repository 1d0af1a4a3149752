//! Bounds of a request's head, looked at before anybody is asked who they are: the lengths of path, query and headers,
//! and which query parameters the route has. The latter come from the route's own OpenAPI description, so that what is
//! taken is what is documented.

use std::collections::HashMap;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method};
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::{OpenApi, RefOr};

use crate::error::{Error, Result};

/// The longest path, in bytes as sent.
pub const MAX_PATH_BYTES: usize = 2 * 1024;

/// The longest query, in bytes as sent.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;

/// The most that names and values of all headers may have together, in bytes.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// An operation with this extension takes parameters that it does not know: what an identity provider adds.
pub const FOREIGN_PARAMETERS: &str = "x-foreign-parameters";

/// How much of a made-up name an answer repeats, in characters.
const SHOWN: usize = 60;

/// Checks the lengths.
///
/// # Errors
/// `UriTooLong`, `HeadersTooLarge`.
pub(super) fn lengths(parts: &Parts) -> Result<()> {
    if parts.uri.path().len() > MAX_PATH_BYTES
        || parts.uri.query().unwrap_or_default().len() > MAX_QUERY_BYTES
    {
        return Err(Error::UriTooLong);
    }
    match header_bytes(&parts.headers) > MAX_HEADER_BYTES {
        true => Err(Error::HeadersTooLarge {
            max_bytes: MAX_HEADER_BYTES,
        }),
        false => Ok(()),
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum()
}

/// Text of the caller's that an answer repeats: short, and without what cannot be seen.
pub(super) fn shown(text: &str) -> String {
    text.chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// What an operation takes in its query.
#[derive(Debug)]
struct Known {
    /// Each name, and whether it may be repeated.
    names: HashMap<String, bool>,
    others: bool,
}

/// The query parameters of each route.
#[derive(Debug, Clone, Default)]
pub(super) struct Parameters(Arc<HashMap<String, Vec<(Method, Known)>>>);

impl Parameters {
    /// As the routes describe themselves.
    pub(super) fn of(described: &OpenApi) -> Self {
        let route = |(path, item): (&String, &PathItem)| {
            let known = operations(item).map(|(method, operation)| (method, Known::of(operation)));
            (path.clone(), known.collect())
        };
        Self(Arc::new(described.paths.paths.iter().map(route).collect()))
    }

    /// Checks a request's query.
    ///
    /// # Errors
    /// `Invalid`, naming a parameter that the route does not have or that comes twice.
    pub(super) fn check(&self, method: &Method, route: &str, query: Option<&str>) -> Result<()> {
        let (Some(query), Some(operations)) = (query, self.0.get(route)) else {
            return Ok(());
        };
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let known = operations.iter().find(|(m, _)| m == method);
        known.map_or(Ok(()), |(_, known)| known.check(query))
    }
}

fn operations(item: &PathItem) -> impl Iterator<Item = (Method, &Operation)> {
    [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_ref().map(|o| (method, o)))
}

fn is_list(parameter: &Parameter) -> bool {
    match &parameter.schema {
        Some(RefOr::T(Schema::Array(array))) => match &array.schema_type {
            SchemaType::Type(one) => *one == Type::Array,
            SchemaType::Array(several) => several.contains(&Type::Array),
            SchemaType::AnyValue => false,
        },
        _ => false,
    }
}

impl Known {
    fn of(operation: &Operation) -> Self {
        let named = |p: &RefOr<Parameter>| match p {
            RefOr::T(p) if p.parameter_in == ParameterIn::Query => Some((p.name.clone(), is_list(p))),
            _ => None,
        };
        Self {
            names: operation.parameters.iter().flatten().filter_map(named).collect(),
            others: operation
                .extensions
                .as_ref()
                .is_some_and(|e| e.contains_key(FOREIGN_PARAMETERS)),
        }
    }

    fn check(&self, query: &str) -> Result<()> {
        let mut seen: Vec<String> = Vec::new();
        for (name, _) in url::form_urlencoded::parse(query.as_bytes()) {
            let field = || format!("query.{}", shown(&name));
            let repeats = self.names.get(name.as_ref());
            if repeats.is_none() && !self.others {
                return Err(Error::field(field(), "is not a parameter of this route"));
            }
            if repeats != Some(&true) {
                if seen.iter().any(|s| *s == name) {
                    return Err(Error::field(field(), "may appear once"));
                }
                seen.push(name.into_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use utoipa::openapi::path::{OperationBuilder, ParameterBuilder};
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder};

    fn known() -> Known {
        let one = |name: &str, schema: RefOr<Schema>| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .schema(Some(schema))
        };
        let text = || {
            ObjectBuilder::new()
                .schema_type(SchemaType::new(Type::String))
                .build()
        };
        let list = ArrayBuilder::new().items(text());
        Known::of(
            &OperationBuilder::new()
                .parameter(one("limit", text().into()))
                .parameter(one("action", list.build().into()))
                .parameter(ParameterBuilder::new().name("id").parameter_in(ParameterIn::Path))
                .build(),
        )
    }

    fn field(query: &str) -> Option<String> {
        match known().check(query) {
            Ok(()) => None,
            Err(Error::Invalid(fields)) => fields.into_iter().next().map(|f| f.field),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_query_has_only_what_the_route_describes() {
        assert_eq!(field("limit=3&action=a&action=b"), None);
        assert_eq!(field(""), None);
        assert_eq!(field("limit=3&limit=4").as_deref(), Some("query.limit"));
        assert_eq!(field("li%6Dit=3&limit=4").as_deref(), Some("query.limit"));
        assert_eq!(field("id=3").as_deref(), Some("query.id"));
        assert_eq!(field("Limit=3").as_deref(), Some("query.Limit"));
        assert_eq!(field("a%00b=3").as_deref(), Some("query.a\u{fffd}b"));
        let long = field(&"x".repeat(4_000)).unwrap();
        assert!(long.len() < 100, "{long}");
    }
}
