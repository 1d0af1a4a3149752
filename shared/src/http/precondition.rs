//! If-Match and ETag (RFC 9110 §13.1.1, §8.8.3): a resource's version, in quotes.

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::IF_MATCH;
use http::request::Parts;

use crate::app::App;
use crate::error::{Error, Result};

/// The versions under which a change may happen; none when the request does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(Option<Vec<u64>>);

impl IfMatch {
    /// The versions; `None` is any.
    pub fn versions(&self) -> Option<&[u64]> {
        self.0.as_deref()
    }

    /// `*` is any version. Weak tags and tags of others match none (RFC 9110 §8.8.3.2).
    fn parse(value: &str) -> Self {
        if value.trim() == "*" {
            return Self(None);
        }
        let version = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
        Self(Some(value.split(',').filter_map(version).collect()))
    }
}

impl FromRequestParts<App> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self> {
        let lines: Vec<_> = parts
            .headers
            .get_all(IF_MATCH)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        Ok(match parts.headers.contains_key(IF_MATCH) {
            true => Self::parse(&lines.join(",")),
            false => Self(None),
        })
    }
}

/// The ETag of this version.
///
/// # Errors
/// None in practice: digits are a header value.
pub fn etag(version: u64) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\"")).map_err(Error::internal)
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
}
