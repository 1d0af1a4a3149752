//! If-Match, If-None-Match and ETag (RFC 9110 §13.1.1, §13.1.2, §8.8.3): a resource's version, in quotes.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderValue, StatusCode};

use crate::app::App;
use crate::error::{Error, Result};
use crate::reply::Reply;

/// The versions under which a change may happen. A request must say: what two devices change at once is never
/// overwritten without one of them having meant to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<u64>>);

impl IfMatch {
    /// The versions; `None` is any, on purpose.
    pub fn versions(&self) -> Option<&[u64]> {
        self.0.as_deref()
    }

    /// `*` is any version. Weak tags and tags of others match none (RFC 9110 §8.8.3.2).
    fn parse(value: &str) -> Self {
        if value.trim() == "*" {
            return Self(None);
        }
        Self(Some(value.split(',').filter_map(version).collect()))
    }
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        lines(parts, IF_MATCH)
            .map(|value| Self::parse(&value))
            .ok_or(Error::PreconditionRequired)
    }
}

/// The versions that the caller has already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(Vec<u64>);

impl IfNoneMatch {
    /// Tags are compared weakly (RFC 9110 §13.1.2). `*` asks whether there is any at all, which no route here tells apart.
    fn parse(value: &str) -> Self {
        let strong = |tag: &str| version(tag.trim().trim_start_matches("W/"));
        Self(value.split(',').filter_map(strong).collect())
    }

    /// The answer of a read: 304 when the caller has this version.
    pub fn answer<T>(&self, version: u64, reply: Reply<T>) -> Result<Response> {
        if self.0.contains(&version) {
            return Ok((StatusCode::NOT_MODIFIED, [(ETAG, etag(version)?)]).into_response());
        }
        Ok(tagged(version, reply)?.into_response())
    }
}

impl FromRequestParts<App> for IfNoneMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        Ok(lines(parts, IF_NONE_MATCH).map_or(Self(Vec::new()), |value| Self::parse(&value)))
    }
}

/// A header's lines as one list; `None` when there is no such header.
fn lines(parts: &Parts, name: HeaderName) -> Option<String> {
    let all = parts.headers.get_all(&name).iter();
    let lines: Vec<_> = all.filter_map(|v| v.to_str().ok()).collect();
    parts.headers.contains_key(&name).then(|| lines.join(","))
}

fn version(tag: &str) -> Option<u64> {
    tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// The ETag of this version.
///
/// # Errors
/// None in practice: digits are a header value.
pub fn etag(version: u64) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\"")).map_err(Error::internal)
}

/// An answer with its ETag.
pub type Tagged<T> = ([(HeaderName, HeaderValue); 1], Reply<T>);

/// The answer with the ETag of this version.
///
/// # Errors
/// As `etag`.
pub fn tagged<T>(version: u64, reply: Reply<T>) -> Result<Tagged<T>> {
    Ok(([(ETAG, etag(version)?)], reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_tags_of_ours_name_a_version() {
        let versions = |value| IfMatch::parse(value).versions().map(<[u64]>::to_vec);
        assert_eq!(versions("\"3\""), Some(vec![3]));
        assert_eq!(versions("\"3\", \"4\""), Some(vec![3, 4]));
        assert_eq!(versions(" * "), None);
        for none in ["", "3", "W/\"3\"", "\"abc\"", "\"-1\"", "\"3"] {
            assert_eq!(versions(none), Some(Vec::new()), "{none}");
        }
    }
    #[test]
    fn what_the_caller_has_already_is_compared_weakly() {
        let versions = |value| IfNoneMatch::parse(value).0;
        assert_eq!(versions("\"3\", W/\"4\""), [3, 4]);
        for none in ["", "*", "3", "\"abc\""] {
            assert!(versions(none).is_empty(), "{none}");
        }
    }
}
