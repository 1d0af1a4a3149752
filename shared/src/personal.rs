//! Personal fields of audit records: readable with a key that belongs to one person, and with nothing once that key is
//! destroyed. The record itself never changes, so its hash stays true.
//!
//! The key lies in an item of its own and in the person's sessions, which a write reads anyway. It keeps nobody out who
//! can read the table; it is there to be destroyed. Backups hold it for as long as they are kept (35 days for
//! point-in-time recovery).

use std::net::IpAddr;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};
use crate::{aead, canonical, random};

/// A person's key. It does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct PersonKey(aead::Key);

impl std::fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonKey")
    }
}

impl Serialize for PersonKey {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PersonKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(serde::de::Error::custom)?;
        let key = bytes
            .try_into()
            .map_err(|_| serde::de::Error::custom("not 32 bytes"))?;
        Ok(Self(key))
    }
}

/// What a record tells of the person beyond who they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Personal {
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Keeps the digest from being guessed from the few addresses that there are.
    pub salt: String,
}

/// The same as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sealed {
    /// Nonce, ciphertext and tag (`aead`), base64url.
    pub sealed: String,
    /// SHA-256 of `Personal`'s canonical text, so that whoever was shown the fields can check them without the key.
    pub digest: String,
}

impl PersonKey {
    /// A new one.
    pub fn fresh() -> Self {
        Self(random::bytes())
    }

    /// Seals the fields of the record `about`; `None` when there is nothing to seal.
    ///
    /// # Errors
    /// `Internal` when the cipher fails.
    pub fn seal(&self, about: &str, ip: Option<&str>, user_agent: Option<&str>) -> Result<Option<Sealed>> {
        if ip.is_none() && user_agent.is_none() {
            return Ok(None);
        }
        let personal = Personal {
            ip: ip.map(str::to_owned),
            user_agent: user_agent.map(str::to_owned),
            salt: BASE64URL_NOPAD.encode(&random::bytes::<16>()),
        };
        let value = serde_json::to_value(&personal).map_err(Error::internal)?;
        let sealed = aead::seal(&self.0, about, canonical::canonical(&value).as_bytes())?;
        Ok(Some(Sealed {
            sealed: BASE64URL_NOPAD.encode(&sealed),
            digest: canonical::digest(&value),
        }))
    }

    /// The fields, if this key sealed them.
    pub fn open(&self, about: &str, sealed: &Sealed) -> Option<Personal> {
        let bytes = BASE64URL_NOPAD.decode(sealed.sealed.as_bytes()).ok()?;
        serde_json::from_slice(&aead::open(&self.0, about, &bytes)?).ok()
    }
}

/// The network of an address, for those who have no key: a /24 of IPv4, a /48 of IPv6, which is what one customer of a
/// provider is given.
pub fn network(ip: &str) -> Option<String> {
    Some(match ip.parse().ok()? {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => return network(&v4.to_string()),
            None => {
                let [a, b, c, ..] = v6.segments();
                format!("{}/48", std::net::Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
            }
        },
    })
}

/// What one client can come from: an IPv4 address, and of IPv6 a /64, within which a machine chooses its own.
pub fn place(ip: &str) -> String {
    match ip.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(IpAddr::V6(v6)) => v6
            .to_ipv4_mapped()
            .map_or_else(|| ip.to_owned(), |v4| v4.to_string()),
        _ => ip.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_open_with_the_persons_key_for_their_record_only() -> Result<()> {
        let key = PersonKey::fresh();
        let sealed = key.seal("aud_1", Some("203.0.113.7"), Some("Firefox"))?;
        let sealed = sealed.ok_or_else(|| Error::internal("nothing"))?;
        let open = key.open("aud_1", &sealed);
        assert_eq!(open.as_ref().and_then(|p| p.ip.as_deref()), Some("203.0.113.7"));
        let value = serde_json::to_value(&open).map_err(Error::internal)?;
        assert_eq!(canonical::digest(&value), sealed.digest);
        assert_eq!(key.open("aud_2", &sealed), None);
        assert_eq!(PersonKey::fresh().open("aud_1", &sealed), None);
        assert_eq!(key.seal("aud_1", None, None)?, None);
        Ok(())
    }

    #[test]
    fn a_key_survives_its_text_form_and_does_not_print_itself() -> Result<()> {
        let key = PersonKey::fresh();
        let text = serde_json::to_string(&key).map_err(Error::internal)?;
        assert_eq!(serde_json::from_str::<PersonKey>(&text).ok(), Some(key.clone()));
        assert_eq!(format!("{key:?}"), "PersonKey");
        assert!(serde_json::from_str::<PersonKey>("\"short\"").is_err());
        Ok(())
    }

    #[test]
    fn a_network_names_nobody() {
        assert_eq!(network("203.0.113.7").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("::ffff:203.0.113.7").as_deref(), Some("203.0.113.0/24"));
        assert_eq!(network("2001:db8:1:2::9").as_deref(), Some("2001:db8:1::/48"));
        assert_eq!(network("no address"), None);
    }

    #[test]
    fn a_machine_has_one_place_whatever_address_it_chooses() {
        assert_eq!(place("203.0.113.7"), "203.0.113.7");
        assert_eq!(place("::ffff:203.0.113.7"), "203.0.113.7");
        assert_eq!(place("2001:db8:1:2::9"), "2001:db8:1:2::/64");
        assert_eq!(place("2001:db8:1:2:ffff::1"), place("2001:db8:1:2::9"));
        assert_ne!(place("2001:db8:1:3::9"), place("2001:db8:1:2::9"));
    }
}
