//! The cookies of a browser. All have the `__Host-` prefix (RFC 6265bis §4.1.3.2): sent to this host alone, over TLS
//! alone, and no subdomain can plant one.

use axum::response::AppendHeaders;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

pub use super::caller::{ACCESS_COOKIE, cookie};
pub use super::origin::{not_from_elsewhere, only_from_frontend};
use crate::error::{Error, Result};
use crate::random;

/// The cookie that carries a browser's refresh token.
pub const REFRESH_COOKIE: &str = "__Host-camarad-refresh";

/// The cookie of a sign-in that waits for a second factor.
pub const MFA_COOKIE: &str = "__Host-camarad-mfa";

/// The cookie that a started sign-in is bound to.
pub const STATE_COOKIE: &str = "__Host-camarad-state";

/// The cookie that the page of a mailed link is bound to.
pub const LINK_COOKIE: &str = "__Host-camarad-link";

/// The secret in the cookie `name` that something is bound to: the browser's own, if it has one already, so that two
/// tabs can go side by side.
pub fn binding(headers: &HeaderMap, name: &str) -> String {
    let well_formed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let known = cookie(headers, name).filter(|value| value.len() == 43 && value.bytes().all(well_formed));
    known.map_or_else(random::secret, str::to_owned)
}

/// A Set-Cookie header that keeps `value` for `seconds`.
///
/// Lax, as the provider's redirect back to us is a navigation from another site; writes are protected by their Origin
/// on top.
///
/// # Errors
/// `Internal` when the value is no cookie value.
pub fn set(name: &str, value: &str, seconds: i64) -> Result<HeaderValue> {
    let fits = |c: u8| c.is_ascii_graphic() && !matches!(c, b'"' | b',' | b';' | b'\\');
    if !value.bytes().all(fits) {
        return Err(Error::internal(
            "a cookie's value has characters that cookies may not have",
        ));
    }
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; Secure; SameSite=Lax");
    HeaderValue::from_str(&text).map_err(Error::internal)
}

/// The Set-Cookie headers that take every cookie of ours away.
///
/// # Errors
/// Those of `clear`.
pub fn clear_all() -> Result<AppendHeaders<[(HeaderName, HeaderValue); 5]>> {
    let gone = |name| Ok::<_, Error>((SET_COOKIE, clear(name)?));
    Ok(AppendHeaders([
        gone(ACCESS_COOKIE)?,
        gone(REFRESH_COOKIE)?,
        gone(MFA_COOKIE)?,
        gone(STATE_COOKIE)?,
        gone(LINK_COOKIE)?,
    ]))
}

/// A Set-Cookie header that takes the cookie away.
///
/// # Errors
/// `Internal` when the name is no cookie name.
pub fn clear(name: &str) -> Result<HeaderValue> {
    set(name, "", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_this_hosts_and_no_scripts() {
        let cookie = set(STATE_COOKIE, "a-b_c.d", 600).unwrap();
        assert_eq!(
            cookie,
            "__Host-camarad-state=a-b_c.d; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"
        );
        assert!(
            clear(STATE_COOKIE)
                .unwrap()
                .to_str()
                .unwrap()
                .contains("=; Path=/; Max-Age=0;")
        );
    }

    #[test]
    fn a_value_cannot_add_attributes() {
        for value in [
            "a; Domain=evil.example",
            "a b",
            "a\r\nSet-Cookie: x",
            "ä",
            "a\"b",
            "a,b",
        ] {
            assert!(set(STATE_COOKIE, value, 1).is_err(), "{value}");
        }
    }
}
