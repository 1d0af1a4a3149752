//! The public halves of the keys that sign access tokens: one item of the table. Whoever checks a token reads it, and
//! nobody but `signing` needs the private halves.
//!
//! A key signs only once it has been published for longer than any reader's cache lives, and stays published until
//! the last token that it signed is over. Both follow from when each key was published, so there is no state that a
//! crash could leave half changed.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::tokens::ACCESS_LIFE;
use crate::error::{Error, Result};
use crate::store::keys::{self, Key};
use crate::store::{Cond, Db, Entity};

/// How long a function uses the keys that it has read.
pub const CACHE_LIFE: SignedDuration = SignedDuration::from_mins(5);

/// How often unknown key ids may make a function read again, however many come.
pub const REREAD: SignedDuration = SignedDuration::from_mins(1);

/// How long a key is published before it signs: the cache of a function, after that of the published document, and as
/// much again.
pub const LEAD: SignedDuration = SignedDuration::from_mins(20);

/// How long a key stays published after its successor began to sign: a signer that has not heard of that (its caches),
/// and the life of what it signs, with room.
const STAYS: SignedDuration = SignedDuration::from_secs(4 * ACCESS_LIFE.as_secs());

/// How often a change of the item is tried again after somebody else changed it.
const TRIES: usize = 8;

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

impl Jwk {
    /// An Ed25519 key, by its base64url text.
    pub fn ed25519(x: String) -> Self {
        // RFC 7638, with the members that RFC 8037 requires, in lexicographic order.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        Self {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x,
            kid: BASE64URL_NOPAD.encode(&thumbprint),
            alg: "EdDSA".into(),
            purpose: "sig".into(),
        }
    }
}

/// A key that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Its public half.
    pub jwk: Jwk,
    /// Since when.
    pub published_at: Timestamp,
}

/// All of them, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeySet {
    /// The keys.
    pub keys: Vec<Published>,
    /// Grows by one with every change.
    pub version: u64,
    /// Until when somebody is making a new key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_until: Option<Timestamp>,
}

impl Entity for KeySet {
    const KIND: &'static str = "jwks";
    fn key(&self) -> Key {
        keys::jwks()
    }
}

impl KeySet {
    /// As it is in the table now.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer.
    pub async fn read(db: &Db) -> Result<Self> {
        Ok(db.get(&keys::jwks()).await?.unwrap_or_default())
    }

    /// The key with this id.
    pub fn find(&self, kid: &str) -> Option<&Published> {
        self.keys.iter().find(|key| key.jwk.kid == kid)
    }

    /// Which of `held` signs at `now`: the newest that everybody knows, or else the oldest that is published at all.
    pub fn signer<'a>(&self, held: &[&'a str], now: Timestamp) -> Option<&'a str> {
        let of = |key: &Published| held.iter().copied().find(|kid| *kid == key.jwk.kid);
        let mut known = self.keys.iter().rev().filter(|key| key.is_known(now));
        known.find_map(of).or_else(|| self.keys.iter().find_map(of))
    }

    /// Those of `held`, oldest first, that are still to be published: what comes after the newest that is. One that
    /// was taken back does not come again.
    pub fn unpublished<'a>(&self, held: &[&'a Jwk]) -> Vec<&'a Jwk> {
        let newest = held.iter().rposition(|jwk| self.find(&jwk.kid).is_some());
        held.iter().skip(newest.map_or(0, |at| at + 1)).copied().collect()
    }

    /// Without the keys whose last token is over: those before one of `held` that has signed for long enough.
    fn swept(&self, held: &[&Jwk], now: Timestamp) -> Vec<Published> {
        let has_signed_long = |key: &Published| {
            now.duration_since(key.published_at) >= LEAD + STAYS
                && held.iter().any(|jwk| jwk.kid == key.jwk.kid)
        };
        let over = self.keys.iter().rposition(has_signed_long).unwrap_or(0);
        self.keys.iter().skip(over).cloned().collect()
    }

    /// Writes `next` in place of `self`; false when somebody else changed the item since.
    async fn replace(&self, db: &Db, next: &Self) -> Result<bool> {
        let unchanged = match self.version {
            0 => Cond::item_absent(),
            version => Cond::eq("version", version)?,
        };
        db.put(next, Some(&unchanged)).await
    }

    /// Publishes those of `held` that are not yet, takes back those that are over, and answers what is published then.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer, or the item kept changing.
    pub async fn publish(db: &Db, held: &[&Jwk], now: Timestamp) -> Result<Self> {
        for _ in 0..TRIES {
            let current = Self::read(db).await?;
            let mut wanted = current.swept(held, now);
            wanted.extend(current.unpublished(held).into_iter().map(|jwk| Published {
                jwk: jwk.clone(),
                published_at: now,
            }));
            if wanted == current.keys {
                return Ok(current);
            }
            let next = Self {
                keys: wanted,
                version: current.version + 1,
                busy_until: None,
            };
            if current.replace(db, &next).await? {
                return Ok(next);
            }
        }
        Err(Error::Unavailable("the published keys kept changing".into()))
    }

    /// Keeps others from making a new key until `until`; `None` when another does so at `now`.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer.
    pub async fn reserve(&self, db: &Db, now: Timestamp, until: Timestamp) -> Result<Option<Self>> {
        if self.busy_until.is_some_and(|busy| now < busy) {
            return Ok(None);
        }
        let next = Self {
            keys: self.keys.clone(),
            version: self.version + 1,
            busy_until: Some(until),
        };
        Ok(self.replace(db, &next).await?.then_some(next))
    }
}

impl Published {
    /// Whether every function has read of it.
    fn is_known(&self, now: Timestamp) -> bool {
        now.duration_since(self.published_at) >= LEAD
    }
}

/// The published keys as one function knows them.
#[derive(Debug, Default)]
pub struct KeyRing(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    set: KeySet,
    asked: Option<Timestamp>,
}

impl KeyRing {
    /// The published keys, read again when those known are old, or lack `kid` and are not of this minute. While the
    /// table does not answer, the last known go on being used.
    ///
    /// # Errors
    /// `Unavailable` when the table does not answer and nothing is known.
    pub async fn get(&self, db: &Db, kid: Option<&str>, now: Timestamp) -> Result<KeySet> {
        let mut known = self.0.lock().await;
        let fits = kid.is_none_or(|kid| known.set.find(kid).is_some());
        let life = if fits { CACHE_LIFE } else { REREAD };
        // Before the first key is published there is no token that could be good, and nothing worth keeping.
        let is_young = known.asked.is_some_and(|at| now.duration_since(at) < life);
        if is_young && !known.set.keys.is_empty() {
            return Ok(known.set.clone());
        }
        match KeySet::read(db).await {
            Ok(set) => known.set = set,
            Err(error) if known.set.keys.is_empty() => return Err(error),
            Err(error) => tracing::warn!(error = %error, "using the last known keys of access tokens"),
        }
        known.asked = Some(now);
        Ok(known.set.clone())
    }

    /// Remembers what was just published.
    pub async fn learn(&self, set: &KeySet, now: Timestamp) {
        let mut known = self.0.lock().await;
        known.set = set.clone();
        known.asked = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, published_at: Timestamp) -> Published {
        let text = String::new;
        let jwk = Jwk {
            kty: text(),
            crv: text(),
            x: text(),
            kid: kid.into(),
            alg: text(),
            purpose: text(),
        };
        Published { jwk, published_at }
    }

    #[test]
    fn a_key_signs_once_everybody_knows_it_and_goes_once_nothing_of_it_is_good() {
        let begin = Timestamp::UNIX_EPOCH;
        let at = |by: SignedDuration| begin + by;
        let next = SignedDuration::from_hours(24);
        let set = KeySet {
            keys: vec![key("old", begin), key("new", at(next))],
            ..KeySet::default()
        };
        let signer = |now| set.signer(&["new", "old"], now);
        let second = SignedDuration::from_secs(1);
        // The first key of a deployment need not wait: nobody has another one.
        assert_eq!(
            KeySet {
                keys: vec![key("old", begin)],
                ..set.clone()
            }
            .signer(&["old"], begin),
            Some("old")
        );
        assert_eq!(signer(at(next + LEAD - second)), Some("old"));
        assert_eq!(signer(at(next + LEAD)), Some("new"));
        // A signer that has not read of the new one, and one that has no other.
        assert_eq!(set.signer(&["old"], at(next + LEAD)), Some("old"));
        assert_eq!(set.signer(&["new"], at(next)), Some("new"));
        assert_eq!(set.signer(&["else"], at(next)), None);
        let (old, new) = (&key("old", begin).jwk, &key("new", begin).jwk);
        let held = [old, new];
        assert_eq!(set.swept(&held, at(next + LEAD + STAYS - second)).len(), 2);
        let swept = set.swept(&held, at(next + LEAD + STAYS));
        assert_eq!(swept, vec![key("new", at(next))]);
        // It stays away, although its seed is still there.
        let after = KeySet {
            keys: swept,
            ..set.clone()
        };
        assert!(after.unpublished(&held).is_empty());
        assert_eq!(KeySet::default().unpublished(&held), held);
        // A new key whose seed was lost signs nothing, and so takes no other away.
        assert_eq!(set.swept(&[old], at(next + LEAD + STAYS)).len(), 2);
        assert!(STAYS >= CACHE_LIFE * 2 + ACCESS_LIFE && LEAD >= CACHE_LIFE * 2);
    }
}
