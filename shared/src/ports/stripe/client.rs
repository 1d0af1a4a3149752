//! How a request reaches Stripe: key, version, Idempotency-Key, bounds of time, and when it is sent again.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};

use super::OperationKey;
use crate::error::{Error, Result};
use crate::ports::secrets::{CACHE_LIFE, CachedSecrets, REFETCH};
use crate::store::db::back_off;

/// Stripe itself.
pub const STRIPE: &str = "https://api.stripe.com";

/// Says that an answer is the first one under its key. <https://docs.stripe.com/api/idempotent_requests>
const REPLAYED: &str = "idempotent-replayed";

/// How often one request is sent at most.
const TRIES: u32 = 3;

/// How many keys one operation has at most, each used after the one before ended in a failure that Stripe keeps.
pub(super) const ATTEMPTS: u32 = 5;

/// How long one try may take. Stripe answers within two seconds, but for payments.
const TRY: Duration = Duration::from_secs(8);

/// What the secret STRIPE_SECRET holds.
#[derive(Debug)]
pub struct Keys {
    /// `sk_…` or `rk_…`.
    pub secret_key: SecretString,
    /// What webhooks may be signed with: more than one while it is rotated.
    pub webhook_secrets: Vec<SecretString>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    secret_key: String,
    #[serde(default)]
    webhook_secrets: Vec<String>,
}

impl Keys {
    /// Reads the secret's text.
    ///
    /// # Errors
    /// `Internal` when it has another shape; the text does not appear in it.
    pub fn parse(text: &SecretString) -> Result<Self> {
        let stored: Stored = serde_json::from_str(text.expose_secret()).map_err(|_| {
            Error::internal("the secret of Stripe is not {\"secretKey\", \"webhookSecrets\"}")
        })?;
        Ok(Self {
            secret_key: stored.secret_key.into(),
            webhook_secrets: stored
                .webhook_secrets
                .into_iter()
                .map(SecretString::from)
                .collect(),
        })
    }
}

/// What a request came to that was not answered.
pub(super) enum Failure {
    /// As `Tried::Kept`.
    Kept(Error),
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Kept(error) | Failure::Other(error) => error,
        }
    }
}

/// Stripe over HTTP.
pub struct StripeApi {
    http: reqwest::Client,
    base: String,
    secret: String,
    secrets: Arc<CachedSecrets>,
}

/// What became of one try.
enum Tried {
    Answered(Vec<u8>),
    /// Perhaps carried out, perhaps not: the same key finds out.
    Again(Error),
    /// A failure of Stripe's own under this key, which it keeps and answers again for a day: perhaps carried out, perhaps
    /// not, and the same key will not find out.
    Kept(Error),
    /// The key is not good.
    Unauthorized,
    Refused(Error),
}

impl StripeApi {
    /// Through `http`, at `base` (`STRIPE` unless told), with the keys in the secret of this name.
    pub fn new(
        http: reqwest::Client,
        base: Option<&str>,
        secret: impl Into<String>,
        secrets: Arc<CachedSecrets>,
    ) -> Self {
        let base = base.unwrap_or(STRIPE).trim_end_matches('/');
        Self {
            http,
            base: format!("{base}/v1"),
            secret: secret.into(),
            secrets,
        }
    }

    /// Asks for something.
    pub(super) async fn get<T: DeserializeOwned>(&self, request: &impl StripeRequest) -> Result<T> {
        self.send(&request.build(), None).await
    }

    /// Does something, once under this key; where Stripe itself failed, and keeps that under the key, begun anew. So it must
    /// do no harm to do it twice. Each caller comes to the same keys in the same order.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        request: &impl StripeRequest,
        key: &OperationKey,
    ) -> Result<T> {
        let request = request.build();
        let mut n = 0;
        loop {
            match self.attempt(&request, key, n).await {
                Err(Failure::Kept(_)) if n + 1 < ATTEMPTS => n += 1,
                done => return Ok(done?),
            }
        }
    }

    /// One of these attempts, for whoever has to look in between whether the one before came to something all the same.
    pub(super) async fn attempt<T: DeserializeOwned>(
        &self,
        request: &RequestBuilder,
        key: &OperationKey,
        n: u32,
    ) -> std::result::Result<T, Failure> {
        let done = self.tried(request, Some(&key.attempt(n))).await;
        if let Err(Failure::Kept(error)) = &done {
            tracing::warn!(error = %error, stripe.key = key.as_str(), attempt = n, "Stripe keeps a failure of its own");
        }
        done
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        request: &RequestBuilder,
        key: Option<&OperationKey>,
    ) -> Result<T> {
        Ok(self.tried(request, key).await?)
    }

    async fn tried<T: DeserializeOwned>(
        &self,
        request: &RequestBuilder,
        key: Option<&OperationKey>,
    ) -> std::result::Result<T, Failure> {
        let mut age = CACHE_LIFE;
        let mut n = 0;
        loop {
            let keys = Keys::parse(&self.secrets.younger_than(&self.secret, age).await?)?;
            let error = match self.once(request, key, &keys.secret_key).await {
                Tried::Answered(body) => return Ok(read(request, &body)?),
                Tried::Refused(error) => return Err(error.into()),
                Tried::Kept(error) => return Err(Failure::Kept(error)),
                Tried::Unauthorized if age > REFETCH => {
                    age = REFETCH; // the key may have been rotated
                    continue;
                }
                Tried::Unauthorized => return Err(Error::internal("Stripe refuses our secret key").into()),
                Tried::Again(error) => error,
            };
            n += 1;
            if n >= TRIES {
                return Err(error.into());
            }
            back_off(n + 2).await;
        }
    }

    async fn once(
        &self,
        request: &RequestBuilder,
        key: Option<&OperationKey>,
        secret_key: &SecretString,
    ) -> Tried {
        let mut url = format!("{}{}", self.base, request.path);
        if let Some(query) = request.query.as_deref().filter(|q| !q.is_empty()) {
            url = format!("{url}?{query}");
        }
        let sent = match request.method {
            StripeMethod::Get => self.http.get(url),
            StripeMethod::Post => self.http.post(url),
            StripeMethod::Delete => self.http.delete(url),
        };
        let mut sent = sent
            .timeout(TRY)
            .bearer_auth(secret_key.expose_secret())
            .header("Stripe-Version", stripe_shared::version::VERSION.as_str());
        if let Some(key) = key {
            sent = sent.header("Idempotency-Key", key.as_str());
        }
        if let Some(form) = &request.body {
            sent = sent
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(in_order(form));
        }
        let answer = match sent.send().await {
            Ok(answer) => answer,
            Err(error) => return Tried::Again(Error::Unavailable(Box::new(error))),
        };
        let status = answer.status().as_u16();
        let replayed = answer.headers().get(REPLAYED).is_some_and(|v| v == "true");
        match answer.bytes().await {
            Ok(body) => match judge(status, body.to_vec()) {
                Tried::Again(error) if replayed => Tried::Kept(error),
                tried => tried,
            },
            Err(error) => Tried::Again(Error::Unavailable(Box::new(error))),
        }
    }
}

/// The same parameters in the same order each time: those of a map come in any, and under one key Stripe answers a request
/// that is not the first to the letter with an error.
fn in_order(form: &str) -> String {
    let mut parameters: Vec<_> = form.split('&').collect();
    parameters.sort_unstable();
    parameters.join("&")
}

fn read<T: DeserializeOwned>(request: &RequestBuilder, body: &[u8]) -> Result<T> {
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        // Where, not what: an answer may hold personal data.
        Error::internal(format!(
            "Stripe's answer to {} does not fit at {}",
            request.path,
            error.path()
        ))
    })
}

#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    error: Fault,
}

/// <https://docs.stripe.com/api/errors>
#[derive(Debug, Default, Deserialize)]
struct Fault {
    #[serde(rename = "type", default)]
    kind: String,
    code: Option<String>,
    message: Option<String>,
    param: Option<String>,
}

/// What an answer means. <https://docs.stripe.com/error-low-level>
fn judge(status: u16, body: Vec<u8>) -> Tried {
    if (200..300).contains(&status) {
        return Tried::Answered(body);
    }
    let Problem { error: fault } = serde_json::from_slice(&body).unwrap_or_default();
    let code = fault.code.as_deref().unwrap_or_default();
    let told = format!(
        "Stripe answers {status} {}/{code} {:?}: {}",
        fault.kind,
        fault.param,
        fault.message.as_deref().unwrap_or_default()
    );
    match status {
        401 => Tried::Unauthorized,
        402 => Tried::Refused(Error::PaymentFailed),
        404 => Tried::Refused(Error::NotFound),
        // Another request under the same key runs, or another change of the same object.
        409 | 424 | 429 | 500.. => Tried::Again(Error::Unavailable(told.into())),
        400 if fault.kind == "idempotency_error" => Tried::Refused(Error::KeyReused),
        _ => {
            tracing::error!(
                stripe.status = status,
                stripe.fault = told,
                "Stripe refuses a request"
            );
            Tried::Refused(Error::Upstream("Stripe does not accept this request"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(status: u16, body: &str) -> Error {
        match judge(status, body.into()) {
            Tried::Again(error) | Tried::Kept(error) | Tried::Refused(error) => error,
            Tried::Unauthorized => Error::Unauthenticated("key"),
            Tried::Answered(_) => panic!("an answer"),
        }
    }

    #[test]
    fn what_stripe_refuses_is_told_in_our_own_words() {
        let card = r#"{"error":{"type":"card_error","code":"card_declined","message":"no"}}"#;
        assert!(matches!(error(402, card), Error::PaymentFailed));
        let reused = r#"{"error":{"type":"idempotency_error","message":"other parameters"}}"#;
        assert!(matches!(error(400, reused), Error::KeyReused));
        assert!(matches!(error(400, "{}"), Error::Upstream(_)));
        assert!(matches!(error(404, "not json"), Error::NotFound));
        for status in [409, 429, 500, 503] {
            assert!(matches!(error(status, ""), Error::Unavailable(_)), "{status}");
        }
    }

    #[test]
    fn parameters_come_in_one_order() {
        let (one, other) = (
            "metadata[b]=2&mode=payment&metadata[a]=1",
            "mode=payment&metadata[a]=1&metadata[b]=2",
        );
        assert_eq!(in_order(one), in_order(other));
        assert_eq!(in_order(one), "metadata[a]=1&metadata[b]=2&mode=payment");
        assert_eq!(in_order(""), "");
    }

    #[test]
    fn the_secret_never_shows() {
        let text = SecretString::from(r#"{"secretKey":"sk_test_1","webhookSecrets":["whsec_1"]}"#);
        let keys = Keys::parse(&text).unwrap();
        assert!(!format!("{keys:?}").contains("sk_test_1"));
        assert!(Keys::parse(&SecretString::from("sk_test_1")).is_err());
    }
}
