//! The one place that asks the operating system for randomness.

use rand::RngCore;
use rand::rngs::OsRng;

/// `N` bytes from the operating system's generator.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// A secret of 256 random bits as 43 characters of base64url: refresh tokens, states, nonces, verifiers.
pub fn secret() -> String {
    data_encoding::BASE64URL_NOPAD.encode(&bytes::<32>())
}

/// A whole number below `bound` (0 for a bound of 0); its bias is far below what jitter and shards can notice.
pub fn below(bound: u64) -> u64 {
    u64::from_le_bytes(bytes()).checked_rem(bound).unwrap_or(0)
}
