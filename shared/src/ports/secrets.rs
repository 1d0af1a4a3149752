//! Secrets Manager, cached: a secret is fetched again after five minutes, or at once when a caller finds that it no
//! longer fits (an unknown key id, a bad signature), so that a rotation needs no deployment.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::clock::Clock;
use crate::error::{Error, Result};

/// How long a fetched secret is used.
pub const CACHE_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// How often something that does not fit (an unknown key id) may make us fetch again.
pub const REFETCH: SignedDuration = SignedDuration::from_mins(1);

/// Where secrets come from.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The current value of a secret.
    async fn fetch(&self, id: &str) -> Result<SecretString>;

    /// Makes this its current value. Only rotations do that.
    async fn replace(&self, id: &str, value: &SecretString) -> Result<()>;
}

/// AWS Secrets Manager.
#[derive(Debug, Clone)]
pub struct SecretsManager(aws_sdk_secretsmanager::Client);

impl SecretsManager {
    /// Through this client.
    pub fn new(client: aws_sdk_secretsmanager::Client) -> Self {
        Self(client)
    }
}

#[async_trait]
impl Secrets for SecretsManager {
    async fn fetch(&self, id: &str) -> Result<SecretString> {
        let out = self
            .0
            .get_secret_value()
            .secret_id(id)
            .send()
            .await
            .map_err(|e| Error::Unavailable(Box::new(e)))?;
        let text = out
            .secret_string
            .ok_or_else(|| Error::internal(format!("secret {id} has no text")))?;
        Ok(SecretString::from(text))
    }

    async fn replace(&self, id: &str, value: &SecretString) -> Result<()> {
        self.0
            .put_secret_value()
            .secret_id(id)
            .secret_string(value.expose_secret())
            .send()
            .await
            .map_err(|e| Error::Unavailable(Box::new(e)))?;
        Ok(())
    }
}

/// A cache in front of a source of secrets.
pub struct CachedSecrets {
    source: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, (Timestamp, SecretString)>>,
}

impl CachedSecrets {
    /// Caches what `source` gives.
    pub fn new(source: Arc<dyn Secrets>, clock: Arc<dyn Clock>) -> Self {
        Self {
            source,
            clock,
            known: Mutex::default(),
        }
    }

    /// A secret, at most `CACHE_LIFE` old. While the source fails, the last known value goes on being used.
    pub async fn get(&self, id: &str) -> Result<SecretString> {
        self.younger_than(id, CACHE_LIFE).await
    }

    /// A secret, at most `age` old.
    pub async fn younger_than(&self, id: &str, age: SignedDuration) -> Result<SecretString> {
        let mut known = self.known.lock().await;
        let now = self.clock.now();
        let cached = known.get(id);
        if let Some((at, secret)) = cached
            && now.duration_since(*at) < age
        {
            return Ok(secret.clone());
        }
        match self.source.fetch(id).await {
            Ok(secret) => {
                known.insert(id.to_owned(), (now, secret.clone()));
                Ok(secret)
            }
            Err(error) => match cached {
                Some((_, old)) => {
                    tracing::warn!(secret.id = id, error = %error, "using the last known value of a secret");
                    Ok(old.clone())
                }
                None => Err(error),
            },
        }
    }

    /// Makes this the secret's current value, here and at its source.
    ///
    /// # Errors
    /// `Unavailable` when nobody knows whether it was replaced.
    pub async fn replace(&self, id: &str, value: SecretString) -> Result<()> {
        let mut known = self.known.lock().await;
        known.remove(id);
        self.source.replace(id, &value).await?;
        known.insert(id.to_owned(), (self.clock.now(), value));
        Ok(())
    }
}
