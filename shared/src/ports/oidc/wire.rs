//! Requests to a provider: bounded in time and size, to addresses that are safe.

use std::time::Duration;

use http::HeaderValue;
use oauth2::{HttpRequest, HttpResponse};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use url::Url;

use crate::config::ProviderConfig;
use crate::error::Error;

/// How long a provider may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The largest answer that is read; real ones are a few KB.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Why an exchange with a provider failed, for the log: no URL, as its query may hold a code.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Http(reqwest::Error),
    #[error("the answer is larger than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    #[error("status {0}")]
    Status(u16),
    #[error("{0}")]
    Shape(String),
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Http(error.without_url())
    }
}

/// Logs why a provider failed, and what the caller hears of it.
pub(super) fn unreachable(provider: &ProviderConfig, what: &str, why: &dyn std::fmt::Display) -> Error {
    tracing::warn!(auth.provider = provider.id, auth.step = what, error = %why, "an identity provider failed");
    Error::Upstream("the identity provider did not answer as it should: try again")
}

/// A JSON document; with an access token, one that is its owner's (RFC 6750 §2.1).
pub(super) async fn get<T: DeserializeOwned>(
    web: &reqwest::Client,
    url: &str,
    bearer: Option<&SecretString>,
) -> Result<T, Failure> {
    let mut request = http::Request::get(url).header(http::header::ACCEPT, "application/json");
    if let Some(token) = bearer {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| Failure::Shape("the access token is no header's value".into()))?;
        value.set_sensitive(true);
        request = request.header(http::header::AUTHORIZATION, value);
    }
    let request = request.body(Vec::new());
    let request = request.map_err(|e| Failure::Shape(e.to_string()))?;
    let response = send(web, request).await?;
    if response.status() != http::StatusCode::OK {
        return Err(Failure::Status(response.status().as_u16()));
    }
    serde_json::from_slice(response.body()).map_err(|e| Failure::Shape(e.to_string()))
}

/// Any request.
pub(super) async fn send(web: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, Failure> {
    let mut request = reqwest::Request::try_from(request)?;
    *request.timeout_mut() = Some(PATIENCE);
    let mut response = web.execute(request).await?;
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(Failure::TooLarge);
        }
        body.extend_from_slice(&part);
    }
    let mut answer = HttpResponse::new(body);
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    Ok(answer)
}

/// Whether secrets may be sent there. Plain http is for providers on this machine: the local stack's.
pub(super) fn is_safe(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else {
        return false;
    };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine_is_safe() {
        for address in [
            "https://accounts.google.com",
            "http://127.0.0.1:4572/auth",
            "http://localhost/x",
        ] {
            assert!(is_safe(address), "{address}");
        }
        let elsewhere = [
            "http://accounts.google.com",
            "http://127.0.0.1.evil.example",
            "ftp://x",
            "//x",
            "",
            "file:///etc/passwd",
        ];
        for address in elsewhere {
            assert!(!is_safe(address), "{address}");
        }
    }
}
