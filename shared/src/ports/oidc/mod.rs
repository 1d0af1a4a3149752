//! The wire protocol of OpenID providers: discovery (OpenID Connect Discovery 1.0), the published keys (RFC 7517), and
//! the authorization code flow. What the answers are worth is decided in `domain::auth`.

mod code_flow;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use tokio::sync::Mutex;

pub use code_flow::{Attempt, Exchanged, authorization_url};
use wire::{Failure, get, is_safe, unreachable};

use crate::config::ProviderConfig;
use crate::error::Result;

/// How long a provider's metadata and keys are used before they are asked for again.
const CACHE_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// How often key ids that nobody published may make us ask for keys.
const SEEK_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// What a provider says about itself, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// Equals the configured issuer, to the letter.
    pub issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether every answer to the callback names its issuer (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// One published key. Members that do not belong to its type are absent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Jwk {
    /// `RSA`, `EC` or `OKP`.
    pub kty: String,
    /// Its id.
    pub kid: Option<String>,
    /// The one algorithm it is for, if it says so.
    pub alg: Option<String>,
    /// `sig`, if it says so.
    #[serde(rename = "use")]
    pub purpose: Option<String>,
    /// The curve of an `EC` or `OKP` key.
    pub crv: Option<String>,
    /// An RSA key's modulus, base64url.
    pub n: Option<String>,
    /// An RSA key's exponent, base64url.
    pub e: Option<String>,
    /// The first coordinate, or an `OKP` key itself.
    pub x: Option<String>,
    /// The second coordinate.
    pub y: Option<String>,
}

#[derive(Default)]
struct Known {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Vec<Jwk>)>,
    sought: Option<Timestamp>,
}

/// The configured providers, with what they said last. Bounded by the configuration: one entry for each. Nothing older
/// than an hour is used: without the provider nobody could sign in anyway.
#[derive(Default)]
pub struct Oidc {
    web: reqwest::Client,
    known: Mutex<HashMap<String, Known>>,
}

fn is_fresh(at: Timestamp, now: Timestamp, life: SignedDuration) -> bool {
    now.duration_since(at) < life
}

impl Oidc {
    /// Through this client, which must not follow redirects.
    pub fn new(web: reqwest::Client) -> Self {
        Self {
            web,
            known: Mutex::default(),
        }
    }

    /// What the provider says about itself.
    ///
    /// # Errors
    /// `Upstream` when it does not answer, calls itself by another name, or names addresses that are not safe.
    pub async fn metadata(&self, provider: &ProviderConfig, now: Timestamp) -> Result<Arc<Metadata>> {
        let mut all = self.known.lock().await;
        let known = all.entry(provider.issuer.clone()).or_default();
        if let Some((at, metadata)) = &known.metadata
            && is_fresh(*at, now, CACHE_LIFE)
        {
            return Ok(Arc::clone(metadata));
        }
        let fetched = self.discover(provider).await;
        let metadata = Arc::new(fetched.map_err(|why| unreachable(provider, "discovery", &why))?);
        known.metadata = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    async fn discover(&self, provider: &ProviderConfig) -> Result<Metadata, Failure> {
        let base = provider.issuer.trim_end_matches('/');
        let metadata: Metadata = get(&self.web, &format!("{base}/.well-known/openid-configuration")).await?;
        if metadata.issuer != provider.issuer {
            return Err(Failure::Shape("the metadata is another issuer's".into()));
        }
        let addresses = [
            &metadata.issuer,
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        if !addresses.into_iter().all(|address| is_safe(address)) {
            return Err(Failure::Shape("an address in the metadata is not https".into()));
        }
        Ok(metadata)
    }

    /// The published keys with this id. An id that is not known makes us ask again, at most once a minute.
    ///
    /// # Errors
    /// `Upstream` when the keys cannot be had.
    pub async fn keys(
        &self,
        provider: &ProviderConfig,
        metadata: &Metadata,
        kid: &str,
        now: Timestamp,
    ) -> Result<Vec<Jwk>> {
        let named = |keys: &[Jwk]| -> Vec<Jwk> {
            keys.iter()
                .filter(|k| k.kid.as_deref() == Some(kid))
                .cloned()
                .collect()
        };
        let mut all = self.known.lock().await;
        let known = all.entry(provider.issuer.clone()).or_default();
        if let Some((at, keys)) = &known.keys
            && is_fresh(*at, now, CACHE_LIFE)
        {
            let found = named(keys);
            let sought_lately = known.sought.is_some_and(|at| is_fresh(at, now, SEEK_INTERVAL));
            if !found.is_empty() || sought_lately {
                return Ok(found);
            }
            known.sought = Some(now);
        }
        let fetched = self.published(&metadata.jwks_uri).await;
        let keys = fetched.map_err(|why| unreachable(provider, "keys", &why))?;
        let found = named(&keys);
        known.keys = Some((now, keys));
        Ok(found)
    }

    async fn published(&self, jwks_uri: &str) -> Result<Vec<Jwk>, Failure> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = get(&self.web, jwks_uri).await?;
        // One odd key does not spoil the others (RFC 7517 §5).
        Ok(set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect())
    }
}
