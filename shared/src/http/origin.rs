//! Where a browser's request comes from: what it says by itself, and no page can forge (RFC 6454 §7; W3C Fetch Metadata).
//!
//! A write on the strength of cookies must come from the frontend. A write that needs none, but signs somebody in, must
//! not come from a page of somebody else's, which would sign its visitor in as another; a program sends neither header.

use http::{HeaderMap, header};

use crate::config::Config;
use crate::error::{Error, Result};

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("null"))
}

/// Whether this request may change something on the strength of cookies: its Origin is one of the frontend's, and the
/// browser, if it says so, sent it from this site. Our cookies do not even come with anything else (SameSite=Lax).
fn same_site(headers: &HeaderMap, allowed: &[String]) -> bool {
    let from_here =
        text(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "same-site"));
    let origin = text(headers, header::ORIGIN.as_str());
    from_here && origin.is_some_and(|origin| allowed.iter().any(|a| a == origin))
}

/// The same, as a refusal.
///
/// # Errors
/// `Forbidden`.
pub fn only_from_frontend(headers: &HeaderMap, config: &Config) -> Result<()> {
    if same_site(headers, &config.frontend_origins) {
        return Ok(());
    }
    Err(Error::Forbidden(
        "a request with cookies must come from the frontend's origin",
    ))
}

/// Refuses what a page of somebody else's makes its visitor's browser send.
///
/// # Errors
/// `Forbidden`.
pub fn not_from_elsewhere(headers: &HeaderMap, config: &Config) -> Result<()> {
    let own = config.frontend_origins.iter().chain([&config.public_url]);
    let good = match (
        text(headers, header::ORIGIN.as_str()),
        text(headers, "sec-fetch-site"),
    ) {
        (_, Some("same-origin")) => true,
        (Some(origin), _) => own.into_iter().any(|o| o == origin),
        (None, site) => site.is_none(),
    };
    if good {
        return Ok(());
    }
    Err(Error::Forbidden("this must not come from another site"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(origin: Option<&'static str>, site: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: Option<&'static str>| {
            value.map(|v| headers.insert(name, HeaderValue::from_static(v)));
        };
        set("origin", origin);
        set("sec-fetch-site", site);
        headers
    }

    const APP: &str = "https://app.example";

    #[test]
    fn cookies_count_only_from_the_frontend() {
        let allowed = [APP.to_owned()];
        let good = |origin, site| same_site(&headers(origin, site), &allowed);
        assert!(good(Some(APP), None));
        assert!(good(Some(APP), Some("same-site")));
        for site in ["cross-site", "none", "else"] {
            assert!(!good(Some(APP), Some(site)), "{site}");
        }
        for origin in [None, Some("https://app.example.evil"), Some("null")] {
            assert!(
                !good(origin, None) && !good(origin, Some("same-site")),
                "{origin:?}"
            );
        }
    }

    #[test]
    fn signing_in_is_for_programs_and_our_own_pages() {
        let config = Config {
            public_url: "https://api.example".into(),
            frontend_origins: vec![APP.into()],
            ..Config::default()
        };
        let good = |origin, site| not_from_elsewhere(&headers(origin, site), &config).is_ok();
        assert!(good(None, None), "a program");
        assert!(
            good(Some(APP), None)
                && good(Some(APP), Some("same-site"))
                && good(Some(APP), Some("cross-site"))
        );
        assert!(good(Some("https://api.example"), Some("same-origin")));
        assert!(
            good(Some("null"), Some("same-origin")),
            "a page without a referrer"
        );
        for (origin, site) in [
            (Some("https://evil.example"), None),
            (Some("https://evil.example"), Some("cross-site")),
            (Some("null"), Some("cross-site")),
            (Some("null"), None),
            (None, Some("cross-site")),
            (None, Some("none")),
        ] {
            assert!(!good(origin, site), "{origin:?} {site:?}");
        }
    }
}
