//! Where a browser goes after sign-in: a place of the frontend, and no other.

use serde::{Deserialize, Serialize};
use url::Url;

/// The longest return path, in bytes.
const MAX: usize = 1_024;

/// Path, query and fragment on the frontend's origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnTo(String);

impl Default for ReturnTo {
    fn default() -> Self {
        Self("/".into())
    }
}

impl ReturnTo {
    /// The place that `text` names on `origin`, if it is there. A text that browsers read in more than one way
    /// (`//host`, `/\host`, tabs and line ends inside) is none.
    pub fn parse(text: &str, origin: &str) -> Option<Self> {
        let odd = |c: char| c == '\\' || c.is_control() || c.is_whitespace();
        if !text.starts_with('/') || text.starts_with("//") || text.len() > MAX || text.contains(odd) {
            return None;
        }
        let base = Url::parse(origin).ok()?;
        let url = base.join(text).ok()?;
        let stays = url.origin() == base.origin() && url.username().is_empty() && url.password().is_none();
        let path = url.as_str().strip_prefix(base.as_str().trim_end_matches('/'))?;
        // Dot segments may have left two slashes at the front.
        (stays && path.starts_with('/') && !path.starts_with("//")).then(|| Self(path.to_owned()))
    }

    /// The address on `origin`.
    pub fn on(&self, origin: &str) -> String {
        format!("{}{}", origin.trim_end_matches('/'), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "https://app.example";

    fn parsed(text: &str) -> Option<String> {
        ReturnTo::parse(text, ORIGIN).map(|r| r.on(ORIGIN))
    }

    #[test]
    fn a_path_of_the_frontend_is_kept_with_query_and_fragment() {
        assert_eq!(parsed("/"), Some("https://app.example/".into()));
        assert_eq!(
            parsed("/a/../b?x=//evil.example#y"),
            Some("https://app.example/b?x=//evil.example#y".into())
        );
        assert_eq!(
            parsed("/@evil.example"),
            Some("https://app.example/@evil.example".into())
        );
        assert_eq!(parsed("/ä"), Some("https://app.example/%C3%A4".into()));
    }

    #[test]
    fn no_text_leads_to_another_host() {
        let long = format!("/{}", "a".repeat(MAX));
        for text in [
            "",
            "a",
            "https://evil.example/",
            "https:evil.example",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /evil",
            "/a b",
            "javascript:alert(1)",
            ".evil.example",
            "@evil.example",
            ":443@evil.example",
            "/..//evil.example",
            "/.//evil.example",
            "/%2e//evil.example",
            &long,
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
