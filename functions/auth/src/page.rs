//! The page that a mailed link opens: plain HTML, nothing is loaded, no script runs.

use camarad::domain::auth::magic_link::LinkToken;
use camarad::html::{self, escaped};

const STYLE: &str = include_str!("page.css");

/// The page's Content-Security-Policy. Its form goes to us; browsers ask the policy about the redirect after it too, so
/// the frontend is named as well.
pub(super) fn policy(frontends: &[String]) -> String {
    let frontend = frontends.first().map(String::as_str).unwrap_or_default();
    html::policy(STYLE, format!("'self' {frontend}").trim_end())
}

/// Asks whether to sign in, or to confirm.
pub(super) fn confirm(token: &LinkToken, nonce: &str) -> String {
    let again = token.step_up;
    let (email, token, nonce) = (
        escaped(token.email.as_str()),
        escaped(token.expose()),
        escaped(nonce),
    );
    let (title, word) = if again {
        ("Confirm that it is you", "Confirm")
    } else {
        ("Sign in to Camarad", "Sign in")
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\">\
         <title>{title}</title><style>{STYLE}</style></head>\n\
         <body><main><h1>{title}</h1><p>as <strong>{email}</strong></p>\n\
         <form method=\"post\" action=\"verify\">\
         <input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <input type=\"hidden\" name=\"nonce\" value=\"{nonce}\">\
         <button type=\"submit\" autofocus>{word}</button></form>\n\
         <small>If you did not ask for this, close the page: nothing has happened.</small></main></body>\n</html>\n"
    )
}
