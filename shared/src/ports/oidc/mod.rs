//! The wire protocols of identity providers: the authorization code flow; discovery (OpenID Connect Discovery 1.0), the
//! published keys (RFC 7517) and the userinfo endpoint; GitHub's API. What the answers are worth is decided in
//! `domain::auth`.

mod code_flow;
pub mod github;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

pub use code_flow::{Attempt, Endpoints, Exchanged, authorization_url};
use wire::{Failure, get, is_safe, unreachable};

use crate::config::ProviderConfig;
use crate::error::{Error, Result};

/// How long a provider's metadata and keys are used before they are asked for again.
const CACHE_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// How often key ids that nobody published may make us ask for keys: also how soon a rotation is noticed at the latest.
const SEEK_INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// How long a provider that failed is not asked again for what nobody can sign in without.
const PAUSE: SignedDuration = SignedDuration::from_secs(5);

/// What a provider says about itself, as far as it is used here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// Equals the configured issuer, to the letter.
    pub issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    userinfo_endpoint: Option<String>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether every answer to the callback names its issuer (RFC 9207).
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
    #[serde(default)]
    claims_supported: Option<Vec<String>>,
}

impl Metadata {
    /// Whether its ID tokens can say when the person was asked. A provider that lists its claims and leaves this one out
    /// (Google, unless an app is given it) would only send people there and back.
    pub fn tells_auth_time(&self) -> bool {
        self.claims_supported
            .as_ref()
            .is_none_or(|all| all.iter().any(|claim| claim == "auth_time"))
    }

    /// Where and how the code flow takes place. The client secret goes into the header unless only the form is taken
    /// (OpenID Connect Discovery 1.0 §3).
    pub fn endpoints(&self) -> Endpoints {
        let methods = self
            .token_endpoint_auth_methods_supported
            .as_deref()
            .unwrap_or_default();
        let takes = |name: &str| methods.iter().any(|m| m == name);
        Endpoints {
            authorization: self.authorization_endpoint.clone(),
            token: self.token_endpoint.clone(),
            secret_in_body: takes("client_secret_post") && !takes("client_secret_basic"),
            scopes: &["openid", "email", "profile"],
        }
    }
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

/// What one provider said last.
#[derive(Default)]
struct Known {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Vec<Jwk>)>,
    sought: Option<Timestamp>,
    failed: Option<Timestamp>,
}

/// The configured providers, with what they said last. Bounded by the configuration: one entry for each. Nothing older
/// than an hour is used: without the provider nobody could sign in anyway.
#[derive(Default)]
pub struct Oidc {
    web: reqwest::Client,
    /// Each under a lock of its own: a slow provider holds up nobody who signs in with another.
    known: std::sync::Mutex<HashMap<String, Arc<Mutex<Known>>>>,
}

fn is_fresh(at: Timestamp, now: Timestamp, life: SignedDuration) -> bool {
    now.duration_since(at) < life
}

impl Oidc {
    /// Through this client, which must not follow redirects.
    pub fn new(web: reqwest::Client) -> Self {
        Self {
            web,
            known: std::sync::Mutex::default(),
        }
    }

    fn known(&self, provider: &ProviderConfig) -> Arc<Mutex<Known>> {
        let mut all = self
            .known
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(all.entry(provider.issuer.clone()).or_default())
    }

    /// What the provider says about itself.
    ///
    /// # Errors
    /// `Upstream` when it does not answer, calls itself by another name, or names addresses that are not safe; without
    /// asking it while its last failure is seconds old.
    pub async fn metadata(&self, provider: &ProviderConfig, now: Timestamp) -> Result<Arc<Metadata>> {
        self.current(&mut *self.known(provider).lock().await, provider, now)
            .await
    }

    async fn current(
        &self,
        known: &mut Known,
        provider: &ProviderConfig,
        now: Timestamp,
    ) -> Result<Arc<Metadata>> {
        if let Some((at, metadata)) = &known.metadata
            && is_fresh(*at, now, CACHE_LIFE)
        {
            return Ok(Arc::clone(metadata));
        }
        known.ready(provider, now)?;
        let fetched = self.discover(provider).await;
        let metadata = Arc::new(fetched.map_err(|why| known.failed(provider, "discovery", &why, now))?);
        known.metadata = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    async fn discover(&self, provider: &ProviderConfig) -> Result<Metadata, Failure> {
        let base = provider.issuer.trim_end_matches('/');
        let address = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = get(&self.web, &address, None).await?;
        if metadata.issuer != provider.issuer {
            return Err(Failure::Shape("the metadata is another issuer's".into()));
        }
        let addresses = [
            &metadata.issuer,
            &metadata.authorization_endpoint,
            &metadata.token_endpoint,
            &metadata.jwks_uri,
        ];
        if !addresses
            .into_iter()
            .chain(&metadata.userinfo_endpoint)
            .all(|address| is_safe(address))
        {
            return Err(Failure::Shape("an address in the metadata is not https".into()));
        }
        Ok(metadata)
    }

    /// The published keys with this id. An id that is not known makes us ask again, at most once a minute; then for the
    /// metadata too, as the keys may have moved.
    ///
    /// # Errors
    /// `Upstream` when the keys cannot be had.
    pub async fn keys(&self, provider: &ProviderConfig, kid: &str, now: Timestamp) -> Result<Vec<Jwk>> {
        let known = self.known(provider);
        let mut known = known.lock().await;
        if let Some((at, keys)) = &known.keys
            && is_fresh(*at, now, CACHE_LIFE)
        {
            let found = named(keys, kid);
            let sought_lately = known.sought.is_some_and(|at| is_fresh(at, now, SEEK_INTERVAL));
            if !found.is_empty() || sought_lately {
                return Ok(found);
            }
            known.sought = Some(now);
            if let Ok(metadata) = self.discover(provider).await {
                known.metadata = Some((now, Arc::new(metadata)));
            }
        } else {
            known.ready(provider, now)?;
        }
        let metadata = self.current(&mut known, provider, now).await?;
        let fetched = self.published(&metadata.jwks_uri).await;
        let keys = fetched.map_err(|why| known.failed(provider, "keys", &why, now))?;
        let found = named(&keys, kid);
        known.keys = Some((now, keys));
        Ok(found)
    }

    async fn published(&self, jwks_uri: &str) -> Result<Vec<Jwk>, Failure> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = get(&self.web, jwks_uri, None).await?;
        // One odd key does not spoil the others (RFC 7517 §5).
        Ok(set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value(key).ok())
            .collect())
    }

    /// What the userinfo endpoint says about whose access token this is (OpenID Connect Core 1.0 §5.3); `None` where a
    /// provider has no such endpoint. It is unsigned: whom it is about is still to be compared with the ID token.
    ///
    /// # Errors
    /// `Upstream` when the provider does not answer as it should.
    pub async fn userinfo(
        &self,
        provider: &ProviderConfig,
        metadata: &Metadata,
        access_token: &SecretString,
    ) -> Result<Option<Value>> {
        let Some(address) = &metadata.userinfo_endpoint else {
            return Ok(None);
        };
        let told = get(&self.web, address, Some(access_token)).await;
        told.map(Some)
            .map_err(|why| unreachable(provider, "userinfo", &why))
    }
}

impl Known {
    /// Whether the provider may be asked.
    fn ready(&self, provider: &ProviderConfig, now: Timestamp) -> Result<()> {
        match self.failed {
            Some(at) if is_fresh(at, now, PAUSE) => {
                Err(unreachable(provider, "pause", &"it has just failed"))
            }
            _ => Ok(()),
        }
    }

    fn failed(&mut self, provider: &ProviderConfig, what: &str, why: &Failure, now: Timestamp) -> Error {
        self.failed = Some(now);
        unreachable(provider, what, why)
    }
}

fn named(keys: &[Jwk], kid: &str) -> Vec<Jwk> {
    let has_it = |key: &&Jwk| key.kid.as_deref() == Some(kid);
    keys.iter().filter(has_it).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_lists_its_claims_without_auth_time_cannot_tell_it() {
        let with = |claims: Option<&[&str]>| {
            let mut metadata = serde_json::json!({
                "issuer": "", "authorization_endpoint": "", "token_endpoint": "", "jwks_uri": "",
            });
            if let Some(claims) = claims {
                metadata["claims_supported"] = claims.into();
            }
            let metadata: Metadata = serde_json::from_value(metadata).unwrap();
            metadata.tells_auth_time()
        };
        assert!(with(None) && with(Some(&["sub", "auth_time"])));
        assert!(!with(Some(&["sub", "email"])) && !with(Some(&[])));
    }

    #[test]
    fn the_secret_goes_into_the_header_unless_only_the_body_is_taken() {
        let with = |methods: Option<&[&str]>| {
            let mut metadata = serde_json::json!({
                "issuer": "", "authorization_endpoint": "", "token_endpoint": "", "jwks_uri": "",
            });
            if let Some(methods) = methods {
                metadata["token_endpoint_auth_methods_supported"] = methods.into();
            }
            let metadata: Metadata = serde_json::from_value(metadata).unwrap();
            metadata.endpoints().secret_in_body
        };
        assert!(!with(None));
        assert!(!with(Some(&["client_secret_post", "client_secret_basic"])));
        assert!(with(Some(&["client_secret_post"])));
    }
}
