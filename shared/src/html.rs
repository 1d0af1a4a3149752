//! Text inside HTML, for the few pages and mails that are written here.

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

/// Text that means nothing in HTML, in elements and in quoted attributes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// The Content-Security-Policy (CSP Level 3) of a page that loads nothing, runs nothing, has this one style sheet, and
/// whose forms go to `form_action`.
pub fn policy(style: &str, form_action: &str) -> String {
    let hash = BASE64.encode(&Sha256::digest(style));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action {form_action}; frame-ancestors 'none'"
    )
}
