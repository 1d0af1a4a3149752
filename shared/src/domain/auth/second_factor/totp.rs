//! One-time passwords by time (RFC 6238): HMAC-SHA-1, six digits, thirty seconds, as every authenticator app knows
//! them.

use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};
use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use serde::Deserialize;
use subtle::ConstantTimeEq;
use url::form_urlencoded;

/// Seconds of one step.
const STEP_S: i64 = 30;

/// How many steps a clock may be off, either way (RFC 6238 §5.2).
const DRIFT: i64 = 1;

/// Bytes of a secret: as many as the hash has (RFC 4226 §4 R6).
pub(super) const SECRET_LEN: usize = 20;

/// A password as a person types it: six digits. It does not print itself.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Code(String);

impl TryFrom<String> for Code {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = text.len() == 6 && text.bytes().all(|c| c.is_ascii_digit());
        fits.then_some(Self(text)).ok_or("must be six digits")
    }
}

/// The password of a step (RFC 4226 §5.3).
fn password(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    let offset = hash.last().map_or(0, |byte| usize::from(byte & 0x0f));
    let word = hash.iter().skip(offset).take(4);
    let number = word.fold(0_u32, |number, byte| (number << 8) | u32::from(*byte)) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// The step whose password this is, around `now` and after the step `last`, whose password was used: each is good once
/// (RFC 6238 §5.2).
pub(super) fn step(secret: &[u8], code: &Code, now: Timestamp, last: i64) -> Option<i64> {
    let present = now.as_second().div_euclid(STEP_S);
    (present - DRIFT..=present + DRIFT)
        .filter(|step| *step > last)
        .find(|step| password(secret, *step).as_bytes().ct_eq(code.0.as_bytes()).into())
}

/// The secret as a person types it into an app.
pub(super) fn text(secret: &[u8]) -> String {
    BASE32_NOPAD.encode(secret)
}

/// What an app scans as a QR code (the key URI format of Google Authenticator).
pub(super) fn uri(secret: &[u8], email: &str) -> String {
    let label: String = form_urlencoded::byte_serialize(email.as_bytes()).collect();
    format!(
        "otpauth://totp/Camarad:{label}?secret={}&issuer=Camarad&algorithm=SHA1&digits=6&period={STEP_S}",
        text(secret)
    )
}

/// The password that an authenticator app shows; for tests of what uses it.
#[doc(hidden)]
pub fn shown(secret: &str, now: Timestamp) -> Option<String> {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).ok()?;
    Some(password(&secret, now.as_second().div_euclid(STEP_S)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn code(text: &str) -> Code {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn the_passwords_are_those_of_the_rfc() {
        // RFC 6238, appendix B, SHA-1; six digits are the last six of its eight.
        for (second, eight) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(password(SECRET, second / 30), eight[2..], "{second}");
            assert_eq!(step(SECRET, &code(&eight[2..]), at(second), 0), Some(second / 30));
        }
    }

    #[test]
    fn a_password_is_good_one_step_either_way_and_once() {
        let code = code(&password(SECRET, 100));
        for (second, good) in [
            (2_969, false),
            (2_970, true),
            (3_000, true),
            (3_059, true),
            (3_060, false),
        ] {
            assert_eq!(step(SECRET, &code, at(second), 0).is_some(), good, "{second}");
        }
        assert_eq!(step(SECRET, &code, at(3_000), 99), Some(100));
        assert_eq!(step(SECRET, &code, at(3_000), 100), None);
        for other in ["", "12345", "1234567", "abcdef", "12345٣"] {
            assert!(Code::try_from(other.to_owned()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_app_is_told_whose_account_it_is() {
        let uri = uri(SECRET, "a&b+c@example.com");
        assert!(
            uri.starts_with("otpauth://totp/Camarad:a%26b%2Bc%40example.com?secret=GEZDGNBVGY3TQOJQ"),
            "{uri}"
        );
    }
}
