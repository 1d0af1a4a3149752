//! The vault: what must be readable again by us, and by nobody who has the table alone, is sealed under a master key
//! from Secrets Manager.
//!
//! The secret is `{"seed": …}`, as a deployment generates it, or `{"keys": [{"id": …, "seed": …}, …]}` once keys were
//! added by hand: the last one seals, all of them open. What was sealed names its key, and is bound to the item that it
//! lies in.

use data_encoding::BASE64URL_NOPAD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::secrets::{CACHE_LIFE, CachedSecrets, REFETCH};
use crate::aead;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::Key;

/// The id of the key that a deployment generates.
const FIRST: &str = "1";

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Keys { keys: Vec<Named> },
    Seed { seed: String },
}

#[derive(Deserialize)]
struct Named {
    id: String,
    seed: String,
}

/// The master keys, oldest first.
struct Keys(Vec<(String, aead::Key)>);

impl Keys {
    fn read(secret: &SecretString) -> Result<Self> {
        let stored: Stored = serde_json::from_str(secret.expose_secret()).map_err(|_| {
            Error::internal("the vault's secret is neither {\"seed\": …} nor {\"keys\": […]}")
        })?;
        let named = match stored {
            Stored::Keys { keys } => keys,
            Stored::Seed { seed } => vec![Named {
                id: FIRST.into(),
                seed,
            }],
        };
        let key = |named: Named| {
            // 43 characters of base64url are 256 bits.
            if named.seed.len() < 43 || named.id.is_empty() || named.id.contains('.') {
                return Err(Error::internal(
                    "a key of the vault is too short, or its id no id",
                ));
            }
            let derived = Sha256::digest(format!("camarad/vault/aes-256-gcm/v1:{}", named.seed));
            Ok((named.id, derived.into()))
        };
        let keys = named.into_iter().map(key).collect::<Result<Vec<_>>>()?;
        if keys.is_empty() {
            return Err(Error::internal("the vault has no keys"));
        }
        Ok(Self(keys))
    }

    fn of(&self, id: &str) -> Option<&aead::Key> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }
}

/// Seals and opens. Made by `App::vault` for each use; the secret is cached there.
#[derive(Clone, Copy)]
pub struct Vault<'a> {
    secrets: &'a CachedSecrets,
    secret: &'a str,
}

impl<'a> Vault<'a> {
    /// Over this secret.
    ///
    /// # Errors
    /// `Internal` when the deployment names none.
    pub fn new(secrets: &'a CachedSecrets, id: &'a Option<String>) -> Result<Self> {
        let secret = Config::need(id, "VAULT_SECRET")?;
        Ok(Self { secrets, secret })
    }

    /// Seals `message`, which will lie in the item `at`: `<key id>.<base64url>`.
    ///
    /// # Errors
    /// `Unavailable` when the secret cannot be had.
    pub async fn seal(&self, at: &Key, message: &[u8]) -> Result<String> {
        let keys = Keys::read(&self.secrets.get(self.secret).await?)?;
        let (id, key) = keys
            .0
            .last()
            .ok_or_else(|| Error::internal("the vault has no keys"))?;
        let sealed = aead::seal(key, &about(at), message)?;
        Ok(format!("{id}.{}", BASE64URL_NOPAD.encode(&sealed)))
    }

    /// Opens what was sealed for the item `at`, under whichever key.
    ///
    /// # Errors
    /// `Internal` when it was not sealed so, or its key is gone.
    pub async fn open(&self, at: &Key, sealed: &str) -> Result<Vec<u8>> {
        let broken = || Error::internal("something sealed does not open");
        let (id, body) = sealed.split_once('.').ok_or_else(broken)?;
        let body = BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|_| broken())?;
        for age in [CACHE_LIFE, REFETCH] {
            let keys = Keys::read(&self.secrets.younger_than(self.secret, age).await?)?;
            if let Some(key) = keys.of(id) {
                return aead::open(key, &about(at), &body).ok_or_else(broken);
            }
        }
        Err(broken())
    }

    /// 256 bits for one purpose, the same at each call: those of the oldest key, which stays when others are added.
    ///
    /// # Errors
    /// `Unavailable` when the secret cannot be had.
    pub async fn derived(&self, purpose: &str) -> Result<[u8; 32]> {
        let keys = Keys::read(&self.secrets.get(self.secret).await?)?;
        let (_, key) = keys
            .0
            .first()
            .ok_or_else(|| Error::internal("the vault has no keys"))?;
        let mut hash = Sha256::new();
        hash.update(b"camarad/vault/derived/v1:");
        hash.update(key);
        hash.update(purpose);
        Ok(hash.finalize().into())
    }
}

fn about(at: &Key) -> String {
    format!("{}\n{}", at.pk(), at.sk())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use jiff::SignedDuration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::ports::secrets::Secrets;
    use crate::store::keys;

    /// Secrets Manager with one secret that changes by hand.
    struct Shelf(Mutex<String>);

    #[async_trait]
    impl Secrets for Shelf {
        async fn fetch(&self, _: &str) -> Result<SecretString> {
            Ok(self.0.lock().unwrap().clone().into())
        }
        async fn replace(&self, _: &str, value: &SecretString) -> Result<()> {
            value.expose_secret().clone_into(&mut self.0.lock().unwrap());
            Ok(())
        }
    }

    fn seed(letter: char) -> String {
        letter.to_string().repeat(64)
    }

    struct Scene {
        shelf: Arc<Shelf>,
        clock: Arc<ManualClock>,
        secrets: CachedSecrets,
        id: Option<String>,
    }

    fn scene(secret: String) -> Scene {
        let shelf = Arc::new(Shelf(Mutex::new(secret)));
        let clock = Arc::new(ManualClock::at_unix(1_700_000_000));
        let secrets = CachedSecrets::new(shelf.clone(), clock.clone());
        Scene {
            shelf,
            clock,
            secrets,
            id: Some("vault".into()),
        }
    }

    #[tokio::test]
    async fn what_was_sealed_opens_in_its_item_alone() -> Result<()> {
        let s = scene(format!("{{\"version\":1,\"seed\":\"{}\"}}", seed('a')));
        let vault = Vault::new(&s.secrets, &s.id)?;
        let (here, there) = (keys::auth_state("a"), keys::auth_state("b"));
        let sealed = vault.seal(&here, b"secret").await?;
        assert_eq!(vault.open(&here, &sealed).await?, b"secret");
        assert!(vault.open(&there, &sealed).await.is_err());
        for broken in [
            "",
            "1",
            "1.",
            "2.AAAA",
            &sealed.replacen('1', "2", 1),
            &sealed[..sealed.len() - 2],
        ] {
            assert!(vault.open(&here, broken).await.is_err(), "{broken}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn an_old_key_goes_on_opening_after_a_new_one_was_added() -> Result<()> {
        let s = scene(format!("{{\"seed\":\"{}\"}}", seed('a')));
        let vault = Vault::new(&s.secrets, &s.id)?;
        let here = keys::auth_state("a");
        let (old, pepper) = (vault.seal(&here, b"old").await?, vault.derived("x").await?);
        let keys = [("1", seed('a')), ("2", seed('b'))]
            .map(|(id, seed)| serde_json::json!({"id": id, "seed": seed}));
        *s.shelf.0.lock().unwrap() = serde_json::json!({ "keys": keys }).to_string();
        // A function that has not seen the new key yet, and one that has.
        let other = CachedSecrets::new(s.shelf.clone(), s.clock.clone());
        let new = Vault::new(&other, &s.id)?.seal(&here, b"new").await?;
        assert!(new.starts_with("2."));
        assert!(vault.open(&here, &new).await.is_err(), "asked for a moment ago");
        s.clock.advance(SignedDuration::from_secs(61));
        assert_eq!(vault.open(&here, &new).await?, b"new");
        assert_eq!(vault.open(&here, &old).await?, b"old");
        assert_eq!(vault.derived("x").await?, pepper);
        assert_ne!(vault.derived("y").await?, pepper);
        Ok(())
    }

    #[tokio::test]
    async fn a_secret_that_is_no_key_seals_nothing() -> Result<()> {
        for secret in [
            "",
            "{}",
            "{\"keys\":[]}",
            "{\"seed\":\"short\"}",
            "{\"keys\":[{\"id\":\"a.b\",\"seed\":\"x\"}]}",
        ] {
            let s = scene(secret.to_owned());
            assert!(
                Vault::new(&s.secrets, &s.id)?
                    .seal(&keys::health(), b"x")
                    .await
                    .is_err()
            );
        }
        assert!(Vault::new(&scene(String::new()).secrets, &None).is_err());
        Ok(())
    }
}
