//! Idempotency: what an Idempotency-Key was used for, and what was answered then. The record is committed with the
//! effect, so there is no time in between in which a key is taken and nothing is done. The key itself is not stored,
//! only its hash.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::db::Db;
use super::entity::Entity;
use super::keys::{self, Key};
use crate::aead;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::random;
use crate::reply::Reply;

/// How long an Idempotency-Key is remembered.
pub const ONCE_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// A server's part of the keys that seal answers with secrets: whoever reads the table and knows, or guesses, an
/// Idempotency-Key still opens nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pepper([u8; 32]);

impl Pepper {
    /// Of 256 random bits.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// An Idempotency-Key of a caller with the hash of what it was sent with.
#[derive(Clone, PartialEq, Eq)]
pub struct OnceKey {
    user: UserId,
    key: String,
    input: String,
    pepper: Option<Pepper>,
}

impl fmt::Debug for OnceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnceKey")
            .field("user", &self.user)
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}

impl OnceKey {
    /// The header's value, and the SHA-256 of method, path and body. Keys of different people never meet.
    pub fn new(user: UserId, key: impl Into<String>, input: impl Into<String>) -> Self {
        Self {
            user,
            key: key.into(),
            input: input.into(),
            pepper: None,
        }
    }

    /// The same for an answer that has a secret in it: stored sealed, so that only who sends the key again reads it.
    pub fn sealed(self, pepper: Pepper) -> Self {
        Self {
            pepper: Some(pepper),
            ..self
        }
    }

    /// Whose it is.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// What it was sent with.
    pub fn input(&self) -> &str {
        &self.input
    }

    /// The key's hash, under which it is known in the table.
    pub fn hash(&self) -> String {
        keys::digest(&self.key)
    }

    /// The record of this answer.
    ///
    /// # Errors
    /// `Internal` when it cannot be sealed.
    pub(super) fn record<T>(&self, reply: &Reply<T>, now: Timestamp) -> Result<OnceRecord> {
        let mut record = OnceRecord {
            user: self.user,
            hash: self.hash(),
            input: self.input.clone(),
            status: reply.status,
            body: String::new(),
            sealed: None,
            expires_at: now.checked_add(ONCE_LIFE).map_err(Error::internal)?,
        };
        match &self.pepper {
            None => record.body = reply.body.clone(),
            Some(pepper) => record.sealed = Some(self.seal(pepper, &record.key(), reply.body.as_bytes())?),
        }
        Ok(record)
    }

    /// The first answer under this key, if there is one that still counts.
    ///
    /// # Errors
    /// `KeyReused` when the key came with another request.
    pub async fn first_answer<T>(&self, db: &Db, now: Timestamp) -> Result<Option<Reply<T>>> {
        let place = keys::once(self.user, &self.hash());
        let record = db.get::<OnceRecord>(&place).await?;
        let record = match record.filter(|r| r.expires_at > now) {
            None => return Ok(None),
            Some(r) if r.input != self.input => return Err(Error::KeyReused),
            Some(r) => r,
        };
        let body = match (&record.sealed, &self.pepper) {
            (None, _) => record.body,
            (Some(sealed), Some(pepper)) => self
                .open(pepper, &place, sealed)
                .ok_or_else(|| Error::internal("a stored answer does not open"))?,
            (Some(_), None) => return Err(Error::internal("a sealed answer on a route without secrets")),
        };
        Ok(Some(Reply::stored(record.status, body)))
    }

    fn seal(&self, pepper: &Pepper, place: &Key, body: &[u8]) -> Result<Sealed> {
        let salt = random::bytes::<32>();
        let key = self.derive(pepper, &salt)?;
        Ok(Sealed {
            salt: data_encoding::BASE64.encode(&salt),
            body: data_encoding::BASE64.encode(&aead::seal(&key, place.pk(), body)?),
        })
    }

    fn open(&self, pepper: &Pepper, place: &Key, sealed: &Sealed) -> Option<String> {
        let salt = data_encoding::BASE64.decode(sealed.salt.as_bytes()).ok()?;
        let body = data_encoding::BASE64.decode(sealed.body.as_bytes()).ok()?;
        let key = self.derive(pepper, &salt).ok()?;
        String::from_utf8(aead::open(&key, place.pk(), &body)?).ok()
    }

    /// HKDF-SHA256 (RFC 5869) of the Idempotency-Key and the pepper, which is of fixed length and comes last.
    fn derive(&self, pepper: &Pepper, salt: &[u8]) -> Result<aead::Key> {
        let material = [self.key.as_bytes(), &pepper.0].concat();
        let secret = Salt::new(HKDF_SHA256, salt).extract(&material);
        let mut key = aead::Key::default();
        secret
            .expand(&[b"camarad idempotent answer"], HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut key))
            .map_err(|_| Error::internal("no key could be derived"))?;
        Ok(key)
    }
}

/// An answer that only its Idempotency-Key opens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    salt: String,
    body: String,
}

/// The first answer under an Idempotency-Key, committed with its effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnceRecord {
    /// Whose key.
    pub user: UserId,
    /// The key's SHA-256.
    #[serde(default)]
    pub hash: String,
    /// SHA-256 of method, path and body.
    pub input: String,
    /// The answer's status. Like the body absent while a call that streams has claimed the key (`runtime::claim`).
    #[serde(default)]
    pub status: u16,
    /// The answer's body, unless it is sealed.
    #[serde(default)]
    pub body: String,
    /// The body of an answer with a secret in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// Until when the key is remembered. Compared with the clock, as removal comes late.
    pub expires_at: Timestamp,
}

impl Entity for OnceRecord {
    const KIND: &'static str = "once";
    fn key(&self) -> Key {
        keys::once(self.user, &self.hash)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const SECRET: &str = r#"{"key":"cbk_live_very_secret"}"#;

    fn sealed(key: &str, pepper: u8) -> OnceKey {
        let user = UserId::from_bytes([7; 16]);
        OnceKey::new(user, key, "input").sealed(Pepper::new([pepper; 32]))
    }

    fn record(key: &OnceKey) -> OnceRecord {
        let now = crate::clock::Clock::now(&ManualClock::at_unix(1_700_000_000));
        let reply = Reply::<serde_json::Value>::stored(201, SECRET.into());
        key.record(&reply, now).unwrap()
    }

    #[test]
    fn a_sealed_answer_opens_with_its_key_and_pepper_alone() {
        let key = sealed("k", 1);
        let record = record(&key);
        let open = |key: &OnceKey| {
            let sealed = record.sealed.as_ref().unwrap();
            key.open(&key.pepper.unwrap(), &record.key(), sealed)
        };
        assert_eq!(open(&key).as_deref(), Some(SECRET));
        assert_eq!(open(&sealed("other", 1)), None);
        assert_eq!(open(&sealed("k", 2)), None);
    }

    #[test]
    fn neither_key_nor_secret_is_in_a_record_or_a_log() {
        let key = sealed("my-idempotency-key", 1);
        let stored = serde_json::to_string(&record(&key)).unwrap();
        let logged = format!("{key:?}{:?}", record(&key));
        for text in [&stored, &logged] {
            assert!(
                !text.contains("very_secret") && !text.contains("my-idempotency-key"),
                "{text}"
            );
        }
        assert_ne!(
            record(&key).sealed,
            record(&key).sealed,
            "a salt of its own each time"
        );
    }
}
