//! Whether a webhook comes from Stripe: the header `Stripe-Signature`, over the body as it came.
//! <https://docs.stripe.com/webhooks#verify-manually>

use hmac::{Hmac, Mac};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// How far the signature's time may be from ours, either way.
pub const TOLERANCE_S: u64 = 300;

/// More than Stripe ever sends: one per secret while secrets are rotated.
const MAX_SIGNATURES: usize = 16;

/// Why a webhook is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// No `t`, no `v1`, or something that is neither.
    #[error("the signature header does not parse")]
    Malformed,
    /// None of the signatures is one of any secret.
    #[error("no signature fits")]
    Forged,
    /// It was signed too long ago, or is from the future.
    #[error("the signature is not of this time")]
    Stale,
}

struct Header {
    t: String,
    at: i64,
    v1: Vec<Vec<u8>>,
}

/// `t=<seconds>,v1=<hex>[,v1=<hex>…]`; schemes other than `v1` are ignored, so that `v0` alone is none.
fn parse(header: &str) -> Result<Header, Unsigned> {
    let mut t = None;
    let mut v1 = Vec::new();
    for part in header.split(',') {
        let (scheme, value) = part.trim().split_once('=').ok_or(Unsigned::Malformed)?;
        match scheme {
            "t" if t.is_none() => t = Some(value.to_owned()),
            "t" => return Err(Unsigned::Malformed),
            "v1" => {
                let decoded = data_encoding::HEXLOWER_PERMISSIVE.decode(value.as_bytes());
                v1.push(decoded.map_err(|_| Unsigned::Malformed)?);
            }
            _ => {}
        }
    }
    let t = t.ok_or(Unsigned::Malformed)?;
    let at = t.parse().map_err(|_| Unsigned::Malformed)?;
    match v1.len() {
        1..=MAX_SIGNATURES => Ok(Header { t, at, v1 }),
        _ => Err(Unsigned::Malformed),
    }
}

/// Checks the header over the body. Every signature is compared with every secret, in the same time whatever fits.
///
/// # Errors
/// Which of them is for the log; the sender hears one answer.
pub fn check(header: &str, body: &[u8], secrets: &[SecretString], now: Timestamp) -> Result<(), Unsigned> {
    let header = parse(header)?;
    let mut fits = Choice::from(0);
    for secret in secrets {
        let expected = sign(secret, &header.t, body);
        for signature in &header.v1 {
            fits |= expected.as_slice().ct_eq(signature.as_slice());
        }
    }
    if !bool::from(fits) {
        return Err(Unsigned::Forged);
    }
    match now.as_second().abs_diff(header.at) {
        0..=TOLERANCE_S => Ok(()),
        _ => Err(Unsigned::Stale),
    }
}

fn sign(secret: &SecretString, t: &str, body: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return Vec::new();
    };
    mac.update(t.as_bytes());
    mac.update(b".");
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

/// The header that Stripe would send.
pub fn header(secret: &SecretString, body: &[u8], at: Timestamp) -> String {
    let t = at.as_second().to_string();
    let v1 = data_encoding::HEXLOWER.encode(&sign(secret, &t, body));
    format!("t={t},v1={v1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn secret(n: u8) -> SecretString {
        SecretString::from(format!("whsec_{n}"))
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn v1(n: u8, t: i64) -> String {
        let header = header(&secret(n), BODY, at(t));
        header.split_once(',').unwrap().1.to_owned()
    }

    fn checked(header: &str, now: i64) -> Result<(), Unsigned> {
        check(header, BODY, &[secret(1), secret(2)], at(now))
    }

    #[test]
    fn the_example_of_an_independent_implementation_fits() {
        // printf '1492774577.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_1
        let expected = "t=1492774577,v1=1644e67d202eea75d7d05a5e601956c6e8d2c6e1115f215738f2b19c70fa8a73";
        assert_eq!(header(&secret(1), BODY, at(1_492_774_577)), expected);
    }

    #[test]
    fn one_good_signature_among_several_and_any_secret_will_do() {
        let t = 1_700_000_000;
        for header in [
            format!("t={t},{}", v1(1, t)),
            format!("t={t},{}", v1(2, t)),
            format!("t={t},v1={},{}", "00".repeat(32), v1(2, t)),
            format!("{}, t={t}, v0=abc", v1(1, t)),
        ] {
            assert_eq!(checked(&header, t), Ok(()), "{header}");
        }
    }

    #[test]
    fn five_minutes_either_way_are_let_pass_and_no_second_more() {
        let t = 1_700_000_000;
        let header = format!("t={t},{}", v1(1, t));
        for now in [t - 300, t + 300] {
            assert_eq!(checked(&header, now), Ok(()));
        }
        for now in [t - 301, t + 301] {
            assert_eq!(checked(&header, now), Err(Unsigned::Stale));
        }
    }

    #[test]
    fn what_is_not_signed_so_is_refused() {
        let t = 1_700_000_000;
        let hex = v1(1, t).split_off(3);
        for header in [
            format!("t={t},v0={hex}"),
            format!("v1={hex}"),
            format!("t={t}"),
            format!("t={t},t={t},v1={hex}"),
            format!("t=now,v1={hex}"),
            format!("t={t},v1=xyz"),
            format!("t={t}{}", format!(",v1={hex}").repeat(17)),
            String::new(),
        ] {
            assert_eq!(checked(&header, t), Err(Unsigned::Malformed), "{header}");
        }
        for header in [
            format!("t={},v1={hex}", t + 1),
            format!("t={t},v1={}", &hex[..62]),
            format!("t={t},v1={}", "0".repeat(64)),
            format!("t={t},{}", v1(3, t)),
        ] {
            assert_eq!(checked(&header, t), Err(Unsigned::Forged), "{header}");
        }
        assert_eq!(
            check(&format!("t={t},v1={hex}"), BODY, &[], at(t)),
            Err(Unsigned::Forged)
        );
    }
}
