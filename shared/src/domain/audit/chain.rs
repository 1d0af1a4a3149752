//! Chains: heads, seals, statements.

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::canonical;
use crate::config::Config;
use crate::domain::auth::tokens::Jwk;
use crate::error::{Error, Result};
use crate::ids::AuditId;
use crate::store::keys::{self, Index, Key};
use crate::store::{Doc, Entity};

/// What every hashed or signed text begins with.
const DOMAIN: &str = "camarad/audit/v1";

fn hashed(lines: &[&str]) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(lines.join("\n")))
}

/// What comes before the first record of a chain.
pub fn genesis(scope: &str) -> String {
    hashed(&[DOMAIN, scope, "0"])
}

/// The hash of a record as it is stored.
///
/// # Errors
/// `Internal` when the item has no form in JSON.
pub fn record_hash(record: &Doc) -> Result<String> {
    Ok(canonical::digest(&record.content()?))
}

/// A record's place in its chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seal {
    /// Whose chain.
    pub scope: String,
    /// The number, from 1 on without gap.
    pub seq: u64,
    /// The record.
    pub id: AuditId,
    /// Its time, which with the id makes its key.
    pub at: Timestamp,
    /// Until when the record is kept.
    pub expires_at: Timestamp,
    /// `record_hash` of it.
    pub record_hash: String,
    /// The chain's hash with it.
    pub hash: String,
    /// Until when the seal is kept, Unix seconds: longer than any record before it.
    pub kept_until: i64,
}

impl Seal {
    /// The seal of what comes after `before`.
    pub fn new(scope: &str, (seq, before): (u64, &str), record: Sealable, kept_until: i64) -> Self {
        let hash = Self::link(scope, seq, before, &record.hash, record.expires_at);
        Self {
            scope: scope.to_owned(),
            seq,
            id: record.id,
            at: record.at,
            expires_at: record.expires_at,
            record_hash: record.hash,
            hash,
            kept_until,
        }
    }

    /// Whether it comes right after the seal with this number and hash.
    pub fn follows(&self, (seq, before): (u64, &str)) -> bool {
        let (scope, hash) = (&self.scope, &self.record_hash);
        self.seq == seq + 1 && self.hash == Self::link(scope, self.seq, before, hash, self.expires_at)
    }

    fn link(scope: &str, seq: u64, before: &str, record: &str, expires_at: Timestamp) -> String {
        let (seq, expires_at) = (seq.to_string(), expires_at.to_string());
        hashed(&[DOMAIN, scope, &seq, before, record, &expires_at])
    }

    /// The key of its record.
    pub fn record(&self) -> Key {
        keys::audit(&self.scope, self.at, self.id)
    }
}

impl Entity for Seal {
    const KIND: &'static str = "auditSeal";
    fn key(&self) -> Key {
        keys::seal(&self.scope, self.seq)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.kept_until)
    }
}

/// What a seal is made of.
#[derive(Debug, Clone)]
pub struct Sealable {
    /// The record.
    pub id: AuditId,
    /// Its time.
    pub at: Timestamp,
    /// Its end of life.
    pub expires_at: Timestamp,
    /// `record_hash` of it.
    pub hash: String,
}

/// The mark that a record is in its chain. It lives longer than the record, so no record is sealed twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// Whose chain.
    pub scope: String,
    /// The record.
    pub id: AuditId,
    /// Its time.
    pub at: Timestamp,
    /// Its number in the chain.
    pub seq: u64,
    /// Until when the mark is kept, Unix seconds.
    pub kept_until: i64,
}

impl Entity for Mark {
    const KIND: &'static str = "auditMark";
    fn key(&self) -> Key {
        keys::sealed(&self.scope, self.at, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.kept_until)
    }
}

/// What a statement states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The chain ends here, at that time.
    Head,
    /// Every record up to this one had lived to its end by that time.
    Checkpoint,
}

/// A signed statement about a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// What it states.
    pub kind: Kind,
    /// Of which chain.
    pub scope: String,
    /// The number of a record.
    pub seq: u64,
    /// The chain's hash with it.
    pub hash: String,
    /// When it was made.
    pub at: Timestamp,
    /// The Ed25519 public key (RFC 8032), base64url.
    pub key: String,
    /// The signature of `Statement::text`, base64url.
    pub signature: String,
}

/// The head of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// Whose.
    pub scope: String,
    /// The number of the last record; 0 before the first.
    pub seq: u64,
    /// The hash with it.
    pub hash: String,
    /// The end of the longest life of all records in it, Unix seconds.
    pub longest: i64,
    /// The same, signed; absent before the first record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Statement>,
    /// Where the chain begins, once records have lived to their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Statement>,
}

impl Chain {
    /// A chain without records: created with what it is the chain of, so that it is known from the beginning.
    pub fn new(scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            seq: 0,
            hash: genesis(scope),
            longest: 0,
            head: None,
            checkpoint: None,
        }
    }

    /// Number and hash before the first seal that must still be there.
    pub fn start(&self) -> (u64, String) {
        match &self.checkpoint {
            Some(checkpoint) => (checkpoint.seq, checkpoint.hash.clone()),
            None => (0, genesis(&self.scope)),
        }
    }
}

impl Entity for Chain {
    const KIND: &'static str = "auditChain";
    fn key(&self) -> Key {
        keys::chain(&self.scope)
    }
    fn index2(&self) -> Option<Index> {
        Some(keys::chain_place(&self.scope))
    }
}

/// Signs statements.
pub struct Signer(SigningKey);

#[derive(Deserialize)]
struct Stored {
    seed: String,
}

impl Signer {
    /// With the key that is derived from this deployment's seed.
    ///
    /// # Errors
    /// `Internal` when the secret is none; `Unavailable` when it cannot be had.
    pub async fn load(app: &App) -> Result<Self> {
        let id = Config::need(&app.config().audit_key_secret, "AUDIT_KEY_SECRET")?;
        let secret = app.secret(id).await?;
        let stored: Stored = serde_json::from_str(secret.expose_secret())
            .map_err(|_| Error::internal("the audit key's secret is not {\"seed\": …}"))?;
        if stored.seed.len() < 43 {
            return Err(Error::internal("the audit key's seed has less than 256 bits"));
        }
        let seed = Sha256::digest(format!("camarad/audit/ed25519/v1:{}", stored.seed));
        Ok(Self(SigningKey::from_bytes(&seed.into())))
    }

    /// A statement.
    pub fn state(&self, kind: Kind, scope: &str, (seq, hash): (u64, &str), at: Timestamp) -> Statement {
        let key = BASE64URL_NOPAD.encode(self.0.verifying_key().as_bytes());
        let mut statement = Statement {
            kind,
            scope: scope.to_owned(),
            seq,
            hash: hash.to_owned(),
            at,
            key,
            signature: String::new(),
        };
        let signature = self.0.sign(statement.text().as_bytes());
        statement.signature = BASE64URL_NOPAD.encode(&signature.to_bytes());
        statement
    }
}

impl Statement {
    /// What is signed.
    fn text(&self) -> String {
        let kind = match self.kind {
            Kind::Head => "head",
            Kind::Checkpoint => "checkpoint",
        };
        let (seq, at) = (self.seq.to_string(), self.at.to_string());
        [DOMAIN, kind, &self.scope, &seq, &self.hash, &at].join("\n")
    }
}

/// The keys that statements are signed with, as the head of the platform's chain has them, which nobody but the sealer may
/// write; none before its first record.
///
/// # Errors
/// When the table does not answer.
pub async fn published(app: &App) -> Result<Vec<Jwk>> {
    let platform = app.db().get::<Chain>(&keys::chain(keys::PLATFORM)).await?;
    let chain = platform.into_iter();
    let mut keys: Vec<_> = chain
        .flat_map(|chain| chain.head.into_iter().chain(chain.checkpoint))
        .map(|statement| Jwk::ed25519(statement.key))
        .collect();
    keys.dedup();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn sealable(clock: &ManualClock) -> Sealable {
        let at = clock.now();
        Sealable {
            id: AuditId::new(clock),
            at,
            expires_at: at,
            hash: "x".into(),
        }
    }

    #[test]
    fn a_seal_follows_the_one_before_and_no_other() {
        let clock = ManualClock::at_unix(1_700_000_000);
        let first = Seal::new("s", (1, &genesis("s")), sealable(&clock), 0);
        assert!(first.follows((0, &genesis("s"))));
        assert!(!first.follows((0, &genesis("t"))));
        assert!(!first.follows((1, &genesis("s"))));
        let second = Seal::new("s", (2, &first.hash), sealable(&clock), 0);
        assert!(second.follows((1, &first.hash)) && !second.follows((1, &second.hash)));
        let changes: [fn(&mut Seal); 4] = [
            |s| s.scope = "t".into(),
            |s| s.seq = 3,
            |s| s.record_hash = "y".into(),
            |s| s.expires_at = Timestamp::UNIX_EPOCH,
        ];
        for change in changes {
            let mut changed = second.clone();
            change(&mut changed);
            assert!(!changed.follows((1, &first.hash)), "{changed:?}");
        }
    }
}
