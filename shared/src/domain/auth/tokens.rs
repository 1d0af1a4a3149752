//! Access tokens: JWT (RFC 7519, RFC 9068 `at+jwt`), signed with Ed25519 (RFC 8037), ten minutes.
//!
//! The signing key is derived from a seed in Secrets Manager, so that a deployment's first key needs nobody to make
//! it. A token names its key (`kid`, the RFC 7638 thumbprint); only that one algorithm is ever accepted.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::ports::secrets::CachedSecrets;

/// How long an access token is good for: also how long a revoked session can still read.
pub const ACCESS_LIFE: SignedDuration = SignedDuration::from_mins(10);

/// How far clocks of signer and checker may be apart.
const LEEWAY_S: u64 = 30;

/// How often an unknown key id may make us look for new keys.
const REFETCH: SignedDuration = SignedDuration::from_mins(1);

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

/// The public half of a signing key, as the JWKS shows it (RFC 7517, RFC 8037).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The public key, base64url.
    pub x: String,
    /// Its RFC 7638 thumbprint.
    pub kid: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub purpose: String,
}

/// The published keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwks {
    /// Every key that a valid token may name.
    pub keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Stored {
    seed: String,
}

struct Pair {
    jwk: Jwk,
    private: EncodingKey,
    public: DecodingKey,
}

impl Pair {
    fn derive(stored: &SecretString) -> Result<Self> {
        let stored: Stored = serde_json::from_str(stored.expose_secret())
            .map_err(|_| Error::internal("the signing key secret is not {\"seed\": …}"))?;
        if stored.seed.len() < 43 {
            return Err(Error::internal("the signing key's seed has less than 256 bits"));
        }
        let seed: [u8; 32] =
            Sha256::digest(format!("camarad/access-token/ed25519/v1:{}", stored.seed)).into();
        let x = BASE64URL_NOPAD.encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes());
        // RFC 7638, with the members that RFC 8037 requires, in lexicographic order.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        // RFC 8410: the fixed PKCS#8 prefix of an Ed25519 private key, then its 32 bytes.
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend_from_slice(&seed);
        let public = DecodingKey::from_ed_components(&x).map_err(Error::internal)?;
        let jwk = Jwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x,
            kid: BASE64URL_NOPAD.encode(&thumbprint),
            alg: "EdDSA".into(),
            purpose: "sig".into(),
        };
        Ok(Self {
            jwk,
            private: EncodingKey::from_ed_der(&der),
            public,
        })
    }
}

/// Signs and checks access tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    issuer: String,
    secret: Option<String>,
}

fn unauthenticated() -> Error {
    Error::Unauthenticated("the access token is not valid")
}

impl Tokens {
    /// For this deployment.
    pub fn new(config: &Config) -> Self {
        Self {
            issuer: config.public_url.clone(),
            secret: config.signing_keys_secret.clone(),
        }
    }

    async fn pair(&self, secrets: &CachedSecrets, age: SignedDuration) -> Result<Pair> {
        let id = Config::need(&self.secret, "SIGNING_KEYS_SECRET")?;
        Pair::derive(&secrets.younger_than(id, age).await?)
    }

    /// A token for this session.
    pub async fn sign(
        &self,
        secrets: &CachedSecrets,
        user: UserId,
        session: SessionId,
        authenticated_at: Timestamp,
        now: Timestamp,
    ) -> Result<String> {
        let pair = self.pair(secrets, crate::ports::secrets::CACHE_LIFE).await?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".into());
        header.kid = Some(pair.jwk.kid.clone());
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

    /// What a token says, if it is one of ours and good at `now`.
    ///
    /// # Errors
    /// `Unauthenticated`, whatever is wrong with the token.
    pub async fn check(&self, secrets: &CachedSecrets, token: &str, now: Timestamp) -> Result<Claims> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| unauthenticated())?;
        if header.alg != Algorithm::EdDSA || header.typ.as_deref() != Some("at+jwt") {
            return Err(unauthenticated());
        }
        let mut pair = self.pair(secrets, crate::ports::secrets::CACHE_LIFE).await?;
        if header.kid.as_deref() != Some(&pair.jwk.kid) {
            pair = self.pair(secrets, REFETCH).await?;
        }
        if header.kid.as_deref() != Some(&pair.jwk.kid) {
            return Err(unauthenticated());
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Compared with the injected clock below.
        validation.validate_exp = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &pair.public, &validation)
            .map_err(|_| unauthenticated())?
            .claims;
        let leeway = i64::try_from(LEEWAY_S).unwrap_or(0);
        if now.as_second() >= claims.exp + leeway || now.as_second() < claims.iat - leeway {
            return Err(unauthenticated());
        }
        Ok(claims)
    }

    /// The published keys.
    pub async fn jwks(&self, secrets: &CachedSecrets) -> Result<Jwks> {
        Ok(Jwks {
            keys: vec![self.pair(secrets, crate::ports::secrets::CACHE_LIFE).await?.jwk],
        })
    }
}
