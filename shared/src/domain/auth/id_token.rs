//! What an ID token must be before it is believed: OpenID Connect Core 1.0 §3.1.3.7, RFC 8725.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use sha2::{Digest, Sha256, Sha512};

use super::proven::{About, usable};
use crate::error::SignInRefusal;
use crate::ports::oidc::Jwk;

/// How far the provider's clock and ours may be apart.
pub const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// How old a token that the provider has just handed out may be.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);

/// RFC 7518 §3.3.
const MIN_RSA_BYTES: usize = 2048 / 8;

/// What is wrong with a token, for the log and the audit record; the caller hears the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum Flaw {
    Malformed,
    Algorithm,
    Key,
    Signature,
    Issuer,
    Audience,
    Subject,
    Expired,
    NotYetValid,
    TooOld,
    Nonce,
    AccessTokenHash,
    AuthTime,
}

impl Flaw {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "id_token_malformed",
            Self::Algorithm => "id_token_algorithm",
            Self::Key => "id_token_key",
            Self::Signature => "id_token_signature",
            Self::Issuer => "id_token_issuer",
            Self::Audience => "id_token_audience",
            Self::Subject => "id_token_subject",
            Self::Expired => "id_token_expired",
            Self::NotYetValid => "id_token_not_yet_valid",
            Self::TooOld => "id_token_too_old",
            Self::Nonce => "id_token_nonce",
            Self::AccessTokenHash => "id_token_at_hash",
            Self::AuthTime => "id_token_auth_time",
        }
    }
}

/// What the attempt knows that the token must match.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The issuer, to the letter.
    pub issuer: &'a str,
    /// Our client id there.
    pub client_id: &'a str,
    /// The nonce that this attempt sent.
    pub nonce: &'a str,
    /// The access token that came with it.
    pub access_token: &'a str,
    /// The moment of the check.
    pub now: Timestamp,
    /// Since when the provider must have asked the person who they are, if that was asked for.
    pub asked_since: Option<Timestamp>,
}

/// What a token says, once it is believed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Identity {
    /// Who, at this issuer, for good.
    pub sub: String,
    /// The e-mail address.
    pub email: Option<String>,
    #[serde(default)]
    email_verified: Flag,
    /// The full name.
    pub name: Option<String>,
    /// A picture's address.
    pub picture: Option<String>,
    /// BCP 47, more or less.
    pub locale: Option<String>,
    /// IANA name, more or less.
    pub zoneinfo: Option<String>,
}

impl Identity {
    /// The e-mail address in lower case, if the provider has verified it.
    ///
    /// # Errors
    /// Why there is none.
    pub fn verified_email(&self) -> Result<String, SignInRefusal> {
        let verified = self
            .email
            .as_deref()
            .filter(|_| self.email_verified == Flag(true));
        usable(verified.ok_or(SignInRefusal::EmailUnverified)?)
    }

    /// With what `other` says where this one says nothing. The address and its flag go together.
    pub(super) fn completed_by(self, other: Self) -> Self {
        let (email, email_verified) = match self.email {
            Some(email) => (Some(email), self.email_verified),
            None => (other.email, other.email_verified),
        };
        Self {
            email,
            email_verified,
            sub: self.sub,
            name: self.name.or(other.name),
            picture: self.picture.or(other.picture),
            locale: self.locale.or(other.locale),
            zoneinfo: self.zoneinfo.or(other.zoneinfo),
        }
    }

    pub(super) fn about(self) -> About {
        About {
            name: self.name,
            picture: self.picture,
            locale: self.locale,
            zoneinfo: self.zoneinfo,
        }
    }
}

/// A boolean that some providers send as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "RawFlag")]
struct Flag(bool);

#[derive(Deserialize)]
#[serde(untagged)]
enum RawFlag {
    Bool(bool),
    Text(String),
    Other(serde::de::IgnoredAny),
}

impl From<RawFlag> for Flag {
    fn from(raw: RawFlag) -> Self {
        Self(match raw {
            RawFlag::Bool(value) => value,
            RawFlag::Text(text) => text == "true",
            RawFlag::Other(_) => false,
        })
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    azp: Option<String>,
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    at_hash: Option<String>,
    auth_time: Option<f64>,
    #[serde(flatten)]
    identity: Identity,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn all(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// Which key a token claims to be signed with, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    algorithm: Algorithm,
    /// The key's id.
    pub kid: String,
}

impl Header {
    /// Reads a token's header.
    ///
    /// # Errors
    /// The flaw: an algorithm off the list, `none` included, is one; so is a key that the header brings along (`jwk`,
    /// `jku`, `x5u`, `x5c`: the published keys alone count, RFC 8725 §3.10), and an extension that would have to be
    /// understood (`crit`), `b64` even where it is not said to be critical (RFC 7797 §6).
    pub fn of(token: &str) -> Result<Self, Flaw> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Flaw::Malformed)?;
        if header.crit.is_some() || header.extras.inner().contains_key("b64") {
            return Err(Flaw::Malformed);
        }
        if header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() || header.x5c.is_some() {
            return Err(Flaw::Key);
        }
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(Flaw::Algorithm);
        }
        Ok(Self {
            algorithm: header.alg,
            kid: header.kid.ok_or(Flaw::Key)?,
        })
    }

    /// The key as one of this algorithm, if it is one: a key's type decides what it can verify, never the token.
    fn decoding_key(&self, jwk: &Jwk) -> Option<DecodingKey> {
        let (kty, crv, name) = match self.algorithm {
            Algorithm::RS256 => ("RSA", None, "RS256"),
            Algorithm::ES256 => ("EC", Some("P-256"), "ES256"),
            Algorithm::EdDSA => ("OKP", Some("Ed25519"), "EdDSA"),
            _ => return None,
        };
        let for_this = jwk.alg.as_deref().is_none_or(|alg| alg == name);
        let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        if jwk.kty != kty || (crv.is_some() && jwk.crv.as_deref() != crv) || !for_this || !signs {
            return None;
        }
        match self.algorithm {
            Algorithm::RS256 => {
                let n = jwk.n.as_deref()?;
                let bytes = BASE64URL_NOPAD.decode(n.as_bytes()).ok()?;
                let significant = bytes.iter().skip_while(|b| **b == 0).count();
                (significant >= MIN_RSA_BYTES).then_some(())?;
                DecodingKey::from_rsa_components(n, jwk.e.as_deref()?).ok()
            }
            Algorithm::ES256 => DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?).ok(),
            _ => DecodingKey::from_ed_components(jwk.x.as_deref()?).ok(),
        }
    }
}

/// Who the token is about, if everything about it is right. `keys` are the issuer's published keys with the header's
/// id.
///
/// # Errors
/// The first flaw that was found.
pub fn check(token: &str, header: &Header, keys: &[Jwk], expected: Expected<'_>) -> Result<Identity, Flaw> {
    let claims = verified(token, header, keys)?;
    if claims.iss != expected.issuer {
        return Err(Flaw::Issuer);
    }
    audience(&claims, expected.client_id)?;
    times(&claims, expected.now)?;
    asked(&claims, expected.asked_since, expected.now)?;
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(Flaw::Nonce);
    }
    if let Some(hash) = &claims.at_hash
        && *hash != access_token_hash(header.algorithm, expected.access_token)
    {
        return Err(Flaw::AccessTokenHash);
    }
    // OpenID Connect Core 1.0 §2: at most 255 ASCII characters.
    let sub = &claims.identity.sub;
    if sub.is_empty() || sub.len() > 255 || !sub.is_ascii() {
        return Err(Flaw::Subject);
    }
    Ok(claims.identity)
}

fn verified(token: &str, header: &Header, keys: &[Jwk]) -> Result<Claims, Flaw> {
    // The signature alone: jsonwebtoken asks the machine's clock, and tells less about claims than `check` does.
    let mut signature = Validation::new(header.algorithm);
    signature.required_spec_claims.clear();
    signature.validate_exp = false;
    signature.validate_aud = false;
    let keys: Vec<_> = keys.iter().filter_map(|jwk| header.decoding_key(jwk)).collect();
    // RFC 7517 §4.5: ids within a set are distinct. Of twins nobody knows who slipped the second one in.
    let [key] = keys.as_slice() else {
        return Err(Flaw::Key);
    };
    match jsonwebtoken::decode::<Claims>(token, key, &signature) {
        Ok(data) => Ok(data.claims),
        Err(error) if matches!(error.kind(), jsonwebtoken::errors::ErrorKind::Json(_)) => {
            Err(Flaw::Malformed)
        }
        Err(_) => Err(Flaw::Signature),
    }
}

fn audience(claims: &Claims, client_id: &str) -> Result<(), Flaw> {
    let all = claims.aud.all();
    let party = claims.azp.as_deref();
    let is_ours = all.iter().any(|aud| aud == client_id);
    // With several audiences, the authorized party must be named; where it is named, it must be us.
    let is_for_us = party.map_or(all.len() == 1, |azp| azp == client_id);
    if is_ours && is_for_us {
        Ok(())
    } else {
        Err(Flaw::Audience)
    }
}

fn times(claims: &Claims, now: Timestamp) -> Result<(), Flaw> {
    let now = now.as_duration().as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    // JSON has no NaN, so every comparison tells.
    if now >= claims.exp + leeway {
        return Err(Flaw::Expired);
    }
    if claims.iat > now + leeway || claims.nbf.is_some_and(|nbf| nbf > now + leeway) {
        return Err(Flaw::NotYetValid);
    }
    if now - claims.iat > MAX_AGE.as_secs_f64() + leeway {
        return Err(Flaw::TooOld);
    }
    Ok(())
}

/// OpenID Connect Core 1.0 §3.1.2.1 and §3.1.3.7 (13): who asked with `max_age` is told when the person was asked. A
/// provider that goes by its own session tells an earlier time.
fn asked(claims: &Claims, since: Option<Timestamp>, now: Timestamp) -> Result<(), Flaw> {
    let Some(since) = since else { return Ok(()) };
    let at = claims.auth_time.ok_or(Flaw::AuthTime)?;
    let seconds = |time: Timestamp| time.as_duration().as_secs_f64();
    let leeway = LEEWAY.as_secs_f64();
    if at + leeway < seconds(since) || at > seconds(now) + leeway {
        return Err(Flaw::AuthTime);
    }
    Ok(())
}

/// OpenID Connect Core 1.0 §3.1.3.6: the left half of the hash that the signature's algorithm uses.
fn access_token_hash(algorithm: Algorithm, access_token: &str) -> String {
    match algorithm {
        Algorithm::EdDSA => BASE64URL_NOPAD.encode(&Sha512::digest(access_token)[..32]),
        _ => BASE64URL_NOPAD.encode(&Sha256::digest(access_token)[..16]),
    }
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
