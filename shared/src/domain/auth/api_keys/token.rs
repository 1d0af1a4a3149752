//! The text of an API key: `cbk_live_` or `cbk_test_`, then 109 characters of Crockford's base32 that hold the owner's
//! id, the key's id, 256 random bits, and a CRC-32 of all that comes before.
//!
//! The fixed prefix and the checksum let a secret scanner tell a key from other text, and let us refuse a mistyped one
//! without asking the table. The ids let its item be read together with whatever else the request needs.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Clock;
use crate::ids::{self, ApiKeyId, UserId};
use crate::random;
use crate::store::keys;

/// Where a key is good: in production, or in any other stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realm {
    /// Production.
    Live,
    /// Every other stage.
    Test,
}

impl Realm {
    /// The realm of a stage.
    pub fn of_stage(stage: &str) -> Self {
        if stage == "prod" { Self::Live } else { Self::Test }
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::Live => "cbk_live_",
            Self::Test => "cbk_test_",
        }
    }
}

/// What every API key starts with, whatever its realm.
pub const PREFIX: &str = "cbk_";

/// An API key as its owner holds it. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyToken {
    realm: Realm,
    /// Whose it says it is.
    pub user: UserId,
    /// Which it says it is.
    pub id: ApiKeyId,
    secret: [u8; 32],
}

impl std::fmt::Debug for ApiKeyToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeyToken({})", self.id)
    }
}

impl ApiKeyToken {
    /// A fresh key of `user`.
    pub fn new(realm: Realm, user: UserId, clock: &dyn Clock) -> Self {
        Self {
            realm,
            user,
            id: ApiKeyId::new(clock),
            secret: random::bytes(),
        }
    }

    /// Reads a key of this realm; `None` for text that was never one.
    pub fn parse(realm: Realm, text: &str) -> Option<Self> {
        let bytes = ids::from_base32(text.strip_prefix(realm.prefix())?)?;
        let (body, sum) = bytes.split_at_checked(64)?;
        if sum != checksum(realm, body).to_be_bytes() {
            return None;
        }
        Some(Self {
            realm,
            user: UserId::from_bytes(body.get(..16)?.try_into().ok()?),
            id: ApiKeyId::from_bytes(body.get(16..32)?.try_into().ok()?),
            secret: body.get(32..)?.try_into().ok()?,
        })
    }

    /// The text that the owner keeps.
    pub fn expose(&self) -> String {
        let mut bytes = self.body();
        bytes.extend_from_slice(&checksum(self.realm, &bytes).to_be_bytes());
        format!("{}{}", self.realm.prefix(), ids::base32(&bytes))
    }

    /// How a list shows it: prefix and last four characters, which are of the checksum.
    pub fn hint(&self) -> String {
        let text = self.expose();
        let end: String = text.chars().skip(text.len().saturating_sub(4)).collect();
        format!("{}…{end}", self.realm.prefix())
    }

    /// What the table holds of it: SHA-256 of the secret. A guess at 256 random bits needs no slower hash.
    pub fn hash(&self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(self.secret))
    }

    /// Whether this is the key that was stored as `hash`.
    pub fn is(&self, hash: &str) -> bool {
        self.hash().as_bytes().ct_eq(hash.as_bytes()).into()
    }

    /// A name for what is counted or remembered of this very key before the table has told whether there is one: a
    /// made-up key with a real one's ids has another.
    pub fn fingerprint(&self) -> String {
        keys::digest(&self.expose())
    }

    fn body(&self) -> Vec<u8> {
        [self.user.as_bytes(), self.id.as_bytes(), &self.secret[..]].concat()
    }
}

fn checksum(realm: Realm, body: &[u8]) -> u32 {
    crc32(realm.prefix().bytes().chain(body.iter().copied()))
}

/// CRC-32 as in IEEE 802.3, gzip and GitHub's own tokens.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    let sum = bytes.fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::clock::ManualClock;

    fn token(realm: Realm) -> ApiKeyToken {
        let clock = ManualClock::at_unix(1_700_000_000);
        ApiKeyToken::new(realm, UserId::new(&clock), &clock)
    }

    #[test]
    fn the_checksum_is_the_crc_32_that_everybody_knows() {
        assert_eq!(crc32("123456789".bytes()), 0xCBF4_3926);
    }

    #[test]
    fn a_key_survives_its_text_form_and_is_good_in_its_realm_alone() {
        for (realm, other, prefix) in [
            (Realm::Live, Realm::Test, "cbk_live_"),
            (Realm::Test, Realm::Live, "cbk_test_"),
        ] {
            let token = token(realm);
            let text = token.expose();
            assert!(
                text.starts_with(prefix) && text.len() == 9 + 109,
                "{}",
                text.len()
            );
            assert!(ApiKeyToken::parse(realm, &text) == Some(token.clone()));
            assert!(ApiKeyToken::parse(other, &text).is_none());
            let moved = text.replace(prefix, other.prefix());
            assert!(ApiKeyToken::parse(other, &moved).is_none());
            assert!(
                token.is(&token.hash()) && !token.is("") && !token.is(&super::tests::token(realm).hash())
            );
        }
    }

    #[test]
    fn every_typo_of_one_character_is_told() {
        let text = token(Realm::Test).expose();
        for at in 9..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'7' { b'8' } else { b'7' };
            assert!(
                ApiKeyToken::parse(Realm::Test, &String::from_utf8(bytes).unwrap()).is_none(),
                "{at}"
            );
        }
        let cut = &text[..text.len() - 1];
        for text in [
            "",
            "cbk_test_",
            cut,
            &format!("{text}0"),
            &text.to_uppercase(),
            &format!("{cut}ü"),
        ] {
            assert!(ApiKeyToken::parse(Realm::Test, text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_key_does_not_print_itself() {
        let token = token(Realm::Live);
        let text = token.expose();
        let shown = format!("{token:?}{}{}{}", token.hint(), token.hash(), token.fingerprint());
        // The secret's own part of the text.
        assert!(!shown.contains(&text[9 + 52..9 + 100]));
        assert!(token.hint().ends_with(&text[text.len() - 4..]));
    }
}
