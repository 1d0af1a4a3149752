//! The private halves of the keys that sign access tokens, and their rotation.
//!
//! Keys are derived from seeds in Secrets Manager: `{"seed": …}` as a deployment generates it, so that its first key
//! needs nobody to make it, or `{"keys": [{"seed": …, "createdAt": …}, …]}`, oldest first, after a rotation. When a key
//! signs is decided by when it was published (`key_ring`), never by the secret: so a rotation that dies between secret
//! and table has only made a key that nobody uses until the next run publishes it.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::EncodingKey;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::key_ring::{Jwk, KeySet};
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::random;

/// How many days a key signs, unless the deployment says otherwise.
const USUAL_DAYS: u16 = 30;

/// How long one rotation keeps others away: longer than the job's function may run.
const RESERVED: SignedDuration = SignedDuration::from_mins(2);

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Keys { keys: Vec<Seed> },
    Seed(Seed),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seed {
    seed: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
}

fn seeds(secret: &SecretString) -> Result<Vec<Seed>> {
    let stored: Stored = serde_json::from_str(secret.expose_secret()).map_err(|_| {
        Error::internal("the signing keys' secret is neither {\"seed\": …} nor {\"keys\": […]}")
    })?;
    let seeds = match stored {
        Stored::Keys { keys } => keys,
        Stored::Seed(seed) => vec![seed],
    };
    if seeds.is_empty() || seeds.iter().any(|s| s.seed.len() < 43) {
        return Err(Error::internal(
            "a signing key's seed has less than 256 bits, or there is none",
        ));
    }
    Ok(seeds)
}

/// A key that signs.
pub(super) struct Pair {
    pub(super) jwk: Jwk,
    pub(super) private: EncodingKey,
}

impl Pair {
    fn derive(seed: &Seed) -> Self {
        let seed: [u8; 32] = Sha256::digest(format!("camarad/access-token/ed25519/v1:{}", seed.seed)).into();
        let x = BASE64URL_NOPAD.encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes());
        // RFC 8410: the fixed PKCS#8 prefix of an Ed25519 private key, then its 32 bytes.
        let mut der = vec![
            0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
        ];
        der.extend_from_slice(&seed);
        Self {
            jwk: Jwk::ed25519(x),
            private: EncodingKey::from_ed_der(&der),
        }
    }
}

fn secret_id(app: &App) -> Result<&str> {
    Config::need(&app.config().signing_keys_secret, "SIGNING_KEYS_SECRET")
}

/// All key pairs, oldest first.
async fn pairs(app: &App, age: SignedDuration) -> Result<Vec<Pair>> {
    let secret = app.secrets()?.younger_than(secret_id(app)?, age).await?;
    Ok(seeds(&secret)?.iter().map(Pair::derive).collect())
}

fn jwks(pairs: &[Pair]) -> Vec<&Jwk> {
    pairs.iter().map(|pair| &pair.jwk).collect()
}

/// The key that signs at `now`; published before it does.
///
/// # Errors
/// `Unavailable` when secret or table cannot be had.
pub(super) async fn signer(app: &App, now: Timestamp) -> Result<Pair> {
    let ring = app.tokens().ring();
    let pairs = pairs(app, crate::ports::secrets::CACHE_LIFE).await?;
    let held: Vec<_> = pairs.iter().map(|pair| pair.jwk.kid.as_str()).collect();
    let set = ring.get(app.db(), None, now).await?;
    let chosen = match set.signer(&held, now) {
        Some(kid) => kid.to_owned(),
        None => {
            let set = publish(app, &pairs, now).await?;
            let kid = set
                .signer(&held, now)
                .ok_or_else(|| Error::internal("no published key can sign"))?;
            kid.to_owned()
        }
    };
    let pair = pairs.into_iter().find(|pair| pair.jwk.kid == chosen);
    pair.ok_or_else(|| Error::internal("a chosen key is gone"))
}

async fn publish(app: &App, pairs: &[Pair], now: Timestamp) -> Result<KeySet> {
    let set = KeySet::publish(app.db(), &jwks(pairs), now).await?;
    app.tokens().ring().learn(&set, now).await;
    Ok(set)
}

/// The published keys; in a new deployment, its first one.
///
/// # Errors
/// `Unavailable` when the table, or then the secret, cannot be had.
pub async fn published(app: &App, now: Timestamp) -> Result<KeySet> {
    let set = app.tokens().ring().get(app.db(), None, now).await?;
    if !set.keys.is_empty() {
        return Ok(set);
    }
    publish(app, &pairs(app, crate::ports::secrets::CACHE_LIFE).await?, now).await
}

/// What a run of the rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// The newest key is young enough.
    NotDue,
    /// Another run is at it.
    Elsewhere,
    /// A key that a run before had made is published now.
    Resumed,
    /// There is a new key.
    Made,
}

/// Makes a new key when the newest one is old, and takes back those that are over. May be run at any time, by several at
/// once, and ended anywhere.
///
/// # Errors
/// `Unavailable` when secret or table cannot be had; the next run goes on.
pub async fn rotate(app: &App) -> Result<Rotation> {
    let now = app.clock().now();
    let known = pairs(app, SignedDuration::ZERO).await?;
    let before = KeySet::read(app.db()).await?;
    let set = publish(app, &known, now).await?;
    if !before.unpublished(&jwks(&known)).is_empty() {
        return Ok(Rotation::Resumed);
    }
    if !is_due(app, &set, now) {
        return Ok(Rotation::NotDue);
    }
    let until = now.checked_add(RESERVED).map_err(Error::internal)?;
    if set.reserve(app.db(), now, until).await?.is_none() {
        return Ok(Rotation::Elsewhere);
    }
    make(app, &set, now).await
}

fn is_due(app: &App, set: &KeySet, now: Timestamp) -> bool {
    let days = match app.config().signing_key_days {
        0 => USUAL_DAYS,
        days => days,
    };
    let life = SignedDuration::from_hours(24 * i64::from(days));
    let newest = set.keys.last();
    newest.is_none_or(|key| now.duration_since(key.published_at) >= life)
}

/// The new key: into the secret, then to the public. The secret is read once more, as another run may have come that
/// far and died.
async fn make(app: &App, set: &KeySet, now: Timestamp) -> Result<Rotation> {
    let secrets = app.secrets()?;
    let id = secret_id(app)?;
    let stored = seeds(&secrets.younger_than(id, SignedDuration::ZERO).await?)?;
    let derived: Vec<_> = stored.iter().map(Pair::derive).collect();
    if !set.unpublished(&jwks(&derived)).is_empty() {
        publish(app, &derived, now).await?;
        return Ok(Rotation::Resumed);
    }
    let fresh = Seed {
        seed: random::secret(),
        created_at: Some(now),
    };
    // The one that signs now, and the new one: those before are over.
    let keys: Vec<_> = stored
        .into_iter()
        .next_back()
        .into_iter()
        .chain([fresh])
        .collect();
    let text = serde_json::to_string(&serde_json::json!({ "keys": keys })).map_err(Error::internal)?;
    secrets.replace(id, text.into()).await?;
    let pairs: Vec<_> = keys.iter().map(Pair::derive).collect();
    publish(app, &pairs, now).await?;
    Ok(Rotation::Made)
}
