//! Was it done before: the Idempotency-Key.

use std::future::Future;

use axum::extract::FromRequestParts;
use http::request::Parts;
use sha2::{Digest, Sha256};

use super::caller::authenticate;
use super::edge::RawBody;
use crate::app::App;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::store::once::{OnceKey, Pepper};

const HEADER: &str = "idempotency-key";

/// The request's Idempotency-Key, if it has one.
#[derive(Debug, Clone)]
pub struct Once(Option<OnceKey>);

/// The request's Idempotency-Key, where one is required: where money moves.
#[derive(Debug, Clone)]
pub struct OnceRequired(pub OnceKey);

impl Once {
    /// For `Tx::once`.
    pub fn key(&self) -> Option<&OnceKey> {
        self.0.as_ref()
    }

    /// The same for an answer that has a secret in it: a replay opens it, and nobody else.
    pub fn sealed(self, pepper: Pepper) -> Self {
        Self(self.0.map(|key| key.sealed(pepper)))
    }

    /// The same, with the deployment's pepper.
    ///
    /// # Errors
    /// `Unavailable` when the vault's keys cannot be had.
    pub async fn secret(self, app: &App) -> Result<Self> {
        match self.0 {
            None => Ok(self),
            Some(_) => Ok(self.sealed(Pepper::new(app.vault()?.derived("idempotency").await?))),
        }
    }

    /// Runs a handler's work. Its transaction finds a repeated key by itself; when the work fails before it commits
    /// (the agent that a repeated DELETE is about is gone, the limit that the first request reached is reached), the
    /// first answer is looked up, and only then.
    pub fn run<'a, T: 'a>(
        &'a self,
        app: &'a App,
        work: impl Future<Output = Result<Reply<T>>> + Send + 'a,
    ) -> impl Future<Output = Result<Reply<T>>> + Send + 'a {
        // Boxed before it becomes a part of this future, which would otherwise hold it twice.
        let work = Box::pin(work);
        async move {
            let error = match work.await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match &self.0 {
                Some(key) if error.status() < 500 => {
                    // Boxed, as it is rarely needed and would make every handler's future larger.
                    let first = Box::pin(key.first_answer(app.db(), app.clock().now())).await?;
                    Ok(first.ok_or(error)?)
                }
                _ => Err(error),
            }
        }
    }
}

async fn key(parts: &Parts, app: &App) -> Result<Option<OnceKey>> {
    let mut values = parts.headers.get_all(HEADER).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|k| (1..=255).contains(&k.len()) && k.bytes().all(|b| (b' '..=b'~').contains(&b)))
        .filter(|_| values.next().is_none());
    let key = key.ok_or_else(|| {
        Error::field(
            "header.Idempotency-Key",
            "must be given once, with 1 to 255 visible ASCII characters",
        )
    })?;
    let body = parts
        .extensions
        .get::<RawBody>()
        .ok_or_else(|| Error::internal("a route outside the edge"))?;
    let claimed = authenticate(parts, app).await?;
    let mut hash = Sha256::new();
    hash.update(format!("{}\n{}\n", parts.method, parts.uri.path()));
    hash.update(&body.0);
    let input = data_encoding::BASE64URL_NOPAD.encode(&hash.finalize());
    Ok(Some(OnceKey::new(claimed.user, claimed.once_name(key), input)))
}

impl FromRequestParts<App> for Once {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        key(parts, app).await.map(Self)
    }
}

impl OnceRequired {
    /// As the optional kind, for its `run`.
    pub fn once(&self) -> Once {
        Once(Some(self.0.clone()))
    }
}

impl FromRequestParts<App> for OnceRequired {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let key = key(parts, app).await?;
        key.map(Self)
            .ok_or_else(|| Error::field("header.Idempotency-Key", "is required: this moves money"))
    }
}
