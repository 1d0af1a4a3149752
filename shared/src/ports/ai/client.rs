//! The HTTP client of the providers.

use std::time::Duration;

use async_trait::async_trait;
use http::StatusCode;
use http::header::{ACCEPT, RETRY_AFTER};
use jiff::SignedDuration;
use reqwest::{RequestBuilder, Response};
use secrecy::ExposeSecret;

use super::config::{Endpoint, Providers};
use super::{Ai, Events, ModelCall, Provider, Refusal, anthropic, openai, sse};
use crate::error::Result as AppResult;
use crate::ports::secrets::CachedSecrets;
use crate::random;

/// How often one call is sent at most.
const TRIES: u32 = 3;

/// The longest wait that a provider's Retry-After is granted; a longer one is the caller's to wait.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// A key that a provider has just refused may have been rotated; a secret fetched this recently has not.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// The real providers, over HTTP. Cheap to make: connections and keys are kept in what it borrows.
pub struct Upstream<'a> {
    web: &'a reqwest::Client,
    secrets: &'a CachedSecrets,
    secret_id: &'a str,
}

/// What became of one sending.
enum Sent {
    Answer(Response),
    Again(Refusal, Option<Duration>),
    Never(Refusal),
}

impl<'a> Upstream<'a> {
    /// Through `web`, with the keys in the secret `secret_id`.
    pub fn new(web: &'a reqwest::Client, secrets: &'a CachedSecrets, secret_id: &'a str) -> Self {
        Self {
            web,
            secrets,
            secret_id,
        }
    }

    /// The providers that there are keys for.
    ///
    /// # Errors
    /// `Unavailable` when the secret cannot be fetched, `Internal` when it cannot be read.
    pub async fn providers(&self) -> AppResult<Providers> {
        Providers::parse(self.secrets.get(self.secret_id).await?.expose_secret())
    }

    fn request(&self, call: &ModelCall, to: &Endpoint) -> RequestBuilder {
        let key = to.api_key.expose_secret();
        let request = match call.provider {
            Provider::OpenAi => {
                let post = self.web.post(format!("{}{}", to.base_url, openai::PATH));
                post.bearer_auth(key).json(&openai::body(call))
            }
            Provider::Anthropic => {
                let post = self.web.post(format!("{}{}", to.base_url, anthropic::PATH));
                let post = post
                    .header("x-api-key", key)
                    .header("anthropic-version", anthropic::VERSION);
                post.json(&anthropic::body(call))
            }
        };
        request.header(ACCEPT, "text/event-stream")
    }

    /// Sends the call until an answer begins. It is repeated only when no answer had begun and the provider cannot have
    /// started to work on it, or says that it has not.
    async fn send(&self, call: &ModelCall, to: &Endpoint) -> Result<Response, Refusal> {
        let mut tries = 1;
        loop {
            let (refusal, wanted) = match once(self.request(call, to), to.first_byte).await {
                Sent::Answer(response) => return Ok(response),
                Sent::Never(refusal) => return Err(refusal),
                Sent::Again(refusal, wanted) => (refusal, wanted),
            };
            if tries >= TRIES || wanted.is_some_and(|w| w > MAX_WAIT) {
                return Err(refusal);
            }
            let jitter = Duration::from_millis(random::below(250 << tries));
            tracing::info!(ai.provider = call.provider.as_str(), ai.model = call.model, ai.refusal = %refusal, ai.tries = tries, "trying the provider again");
            tokio::time::sleep(wanted.unwrap_or_default() + jitter).await;
            tries += 1;
        }
    }
}

#[async_trait]
impl Ai for Upstream<'_> {
    async fn open(&self, call: &ModelCall) -> Result<Events, Refusal> {
        let unprepared = |error: crate::error::Error| Refusal::unprepared(&error);
        let providers = self.providers().await.map_err(unprepared)?;
        let to = providers.get(call.provider).ok_or(Refusal::NotConfigured)?;
        let response = match self.send(call, to).await {
            Err(Refusal::Status { status: 401 }) => {
                let secret = self
                    .secrets
                    .younger_than(self.secret_id, FRESH)
                    .await
                    .map_err(unprepared)?;
                let rotated = Providers::parse(secret.expose_secret()).map_err(unprepared)?;
                let rotated = rotated.get(call.provider).ok_or(Refusal::NotConfigured)?;
                if rotated.api_key.expose_secret() == to.api_key.expose_secret() {
                    return Err(Refusal::Status { status: 401 });
                }
                self.send(call, rotated).await?
            }
            other => other?,
        };
        let read = match call.provider {
            Provider::OpenAi => openai::read,
            Provider::Anthropic => anthropic::read,
        };
        Ok(sse::events(response.bytes_stream(), read, to.gap))
    }
}

async fn once(request: RequestBuilder, first_byte: Duration) -> Sent {
    let response = match tokio::time::timeout(first_byte, request.send()).await {
        // The provider may be at work, and charge for it: sending the call again could cost twice.
        Err(_) => return Sent::Never(Refusal::Silent),
        Ok(Err(error)) if error.is_connect() => return Sent::Again(Refusal::Unreachable, None),
        Ok(Err(error)) if error.is_builder() => return Sent::Never(Refusal::Unprepared(error.to_string())),
        Ok(Err(_)) => return Sent::Never(Refusal::Unreachable),
        Ok(Ok(response)) => response,
    };
    let status = response.status();
    if status.is_success() {
        return Sent::Answer(response);
    }
    let refusal = Refusal::Status {
        status: status.as_u16(),
    };
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Sent::Again(refusal, retry_after(&response));
    }
    Sent::Never(refusal)
}

/// Retry-After in seconds; neither provider sends the form with a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
