//! Access tokens: JWT (RFC 7519, RFC 9068 `at+jwt`), signed with Ed25519 (RFC 8037), ten minutes.
//!
//! A token names its key (`kid`, the RFC 7638 thumbprint). `signing` has the private halves, `key_ring` the public
//! ones; only that one algorithm is ever accepted.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

pub use super::key_ring::Jwk;
use super::key_ring::{KeyRing, KeySet};
use super::signing;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::store::Db;

/// How long an access token is good for: also how long a revoked session can still read.
pub const ACCESS_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// How far clocks of signer and checker may be apart.
const LEEWAY_S: i64 = 30;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: the API's public URL.
    pub iss: String,
    /// Audience: the same.
    pub aud: String,
    /// The person.
    pub sub: UserId,
    /// The session.
    pub sid: SessionId,
    /// Issued at, Unix seconds.
    pub iat: i64,
    /// Expires at, Unix seconds.
    pub exp: i64,
    /// When the person proved who they are, Unix seconds.
    pub auth_time: i64,
}

/// The published keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwks {
    /// Every key that a valid token may name.
    pub keys: Vec<Jwk>,
}

/// Signs and checks access tokens.
#[derive(Debug)]
pub struct Tokens {
    issuer: String,
    ring: KeyRing,
}

fn unauthenticated() -> Error {
    Error::Unauthenticated("the access token is not valid")
}

impl Tokens {
    /// For this deployment.
    pub fn new(config: &Config) -> Self {
        Self {
            issuer: config.public_url.clone(),
            ring: KeyRing::default(),
        }
    }

    pub(super) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Reads the published keys, so that the first token need not wait for them.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer.
    pub async fn warm(&self, db: &Db, now: Timestamp) -> Result<()> {
        self.ring.get(db, None, now).await.map(drop)
    }

    /// A token for this session; only for functions that may read the signing keys.
    ///
    /// # Errors
    /// `Unavailable` when the keys cannot be had.
    pub async fn sign(
        &self,
        app: &App,
        (user, session): (UserId, SessionId),
        authenticated_at: Timestamp,
        now: Timestamp,
    ) -> Result<String> {
        let pair = signing::signer(app, now).await?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".into());
        header.kid = Some(pair.jwk.kid);
        let claims = Claims {
            iss: self.issuer.clone(),
            aud: self.issuer.clone(),
            sub: user,
            sid: session,
            iat: now.as_second(),
            exp: now.as_second() + ACCESS_LIFE.as_secs(),
            auth_time: authenticated_at.as_second(),
        };
        jsonwebtoken::encode(&header, &claims, &pair.private).map_err(Error::internal)
    }

    /// What a token says, if it is one of ours and good at `now`. Which key signed it is looked up by its id among those
    /// that we published; what a header brings along (`jwk`, `jku`, `x5c`) is never asked.
    ///
    /// # Errors
    /// `Unauthenticated`, whatever is wrong with the token; `Unavailable` when no key is known and the table does not
    /// answer.
    pub async fn check(&self, db: &Db, token: &str, now: Timestamp) -> Result<Claims> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| unauthenticated())?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some("at+jwt") {
            return Err(unauthenticated());
        }
        let kid = header.kid.as_deref().ok_or_else(unauthenticated)?;
        let set = self.ring.get(db, Some(kid), now).await?;
        let key = set.find(kid).ok_or_else(unauthenticated)?;
        let public = DecodingKey::from_ed_components(&key.jwk.x).map_err(Error::internal)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Compared with the injected clock below.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &public, &validation)
            .map_err(|_| unauthenticated())?
            .claims;
        if now.as_second() >= claims.exp + LEEWAY_S || now.as_second() < claims.iat - LEEWAY_S {
            return Err(unauthenticated());
        }
        Ok(claims)
    }
}

impl From<KeySet> for Jwks {
    fn from(set: KeySet) -> Self {
        Self {
            keys: set.keys.into_iter().map(|key| key.jwk).collect(),
        }
    }
}
