//! AES-256-GCM (NIST SP 800-38D), the one cipher of what is stored encrypted. aws-lc is linked anyway: TLS uses it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::error::{Error, Result};
use crate::random;

/// A key.
pub type Key = [u8; 32];

fn cipher(key: &Key) -> Result<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::internal("no AES-256 key"))?;
    Ok(LessSafeKey::new(key))
}

/// Nonce, ciphertext and tag. `about` is not in it, but opening needs the same: what was sealed for one place does not
/// open in another. Nonces are random, which is good for 2³² messages under one key.
///
/// # Errors
/// `Internal` when the message is too long for the cipher.
pub fn seal(key: &Key, about: &str, message: &[u8]) -> Result<Vec<u8>> {
    let nonce = random::bytes::<NONCE_LEN>();
    let mut body = message.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(about.as_bytes()),
            &mut body,
        )
        .map_err(|_| Error::internal("a message cannot be sealed"))?;
    Ok([nonce.as_slice(), &body].concat())
}

/// The message, if this key sealed it about the same.
pub fn open(key: &Key, about: &str, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut body = body.to_vec();
    let message = cipher(key)
        .ok()?
        .open_in_place(nonce, Aad::from(about.as_bytes()), &mut body)
        .ok()?;
    Some(message.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_opens_with_its_key_about_its_place_and_unchanged() -> Result<()> {
        let key = random::bytes();
        let sealed = seal(&key, "here", b"secret")?;
        assert_eq!(open(&key, "here", &sealed).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(open(&key, "there", &sealed), None);
        assert_eq!(open(&random::bytes(), "here", &sealed), None);
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(open(&key, "here", &changed), None, "byte {n}");
        }
        assert_eq!(open(&key, "here", &sealed[..7]), None);
        assert_ne!(
            sealed,
            seal(&key, "here", b"secret")?,
            "a nonce of its own each time"
        );
        Ok(())
    }
}
