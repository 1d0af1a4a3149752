//! What a cbT is worth: the deployment decides it, each bill names it.

use std::num::NonZeroU32;

use crate::error::{Error, Result};
use crate::money::Cbt;

/// The usual worth: 1 cbT is USD 0.0005 of the providers' list prices.
const USUAL: NonZeroU32 = match NonZeroU32::new(500) {
    Some(usual) => usual,
    None => NonZeroU32::MIN,
};

/// The most that a cbT may be worth, as a slip of the point would be dear: a dollar.
const MOST: u32 = 1_000_000;

/// The longest name of a price.
const LONGEST: usize = 32;

/// What a cbT is worth of the providers' list prices; more than nothing, so that no call is free for its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CbtPrice {
    pico_usd: NonZeroU32,
    name: Option<String>,
}

impl Default for CbtPrice {
    fn default() -> Self {
        Self {
            pico_usd: USUAL,
            name: None,
        }
    }
}

impl CbtPrice {
    /// The price of so many dollars a cbT, a decimal with up to six places, under this name. Absent is usual.
    ///
    /// # Errors
    /// `Internal`, naming the setting: a price that is none, or one other than usual without a name, as bills of two
    /// prices could then not be told apart.
    pub fn parse(usd: Option<&str>, name: Option<&str>) -> Result<Self> {
        let bad = |why: &str| Error::internal(format!("USD_PER_CBT {why}"));
        let pico_usd = match usd {
            None => USUAL,
            Some(text) => {
                // Six places of a dollar a cbT are whole pico-dollars a micro-cbT.
                let price = text.parse::<Cbt>().ok().map(Cbt::as_micro);
                let price = price.and_then(|p| u32::try_from(p).ok()).filter(|p| *p <= MOST);
                price
                    .and_then(NonZeroU32::new)
                    .ok_or_else(|| bad("must be a decimal of at most six places, above 0 and at most 1"))?
            }
        };
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
        match name {
            None if pico_usd != USUAL => Err(bad("other than usual needs a CBT_PRICE_VERSION")),
            Some(name) if name.is_empty() || name.len() > LONGEST || !name.bytes().all(plain) => {
                let must =
                    format!("CBT_PRICE_VERSION must be 1 to {LONGEST} letters, digits, dots and hyphens");
                Err(Error::internal(must))
            }
            _ => Ok(Self {
                pico_usd,
                name: name.map(str::to_owned),
            }),
        }
    }

    /// Pico-USD (10⁻¹² USD) of list price in one micro-cbT.
    pub fn pico_usd(&self) -> u128 {
        self.pico_usd.get().into()
    }

    /// What bills made with this price and that list of prices say: the list's version and, where it has one, the price's.
    pub fn version(&self, list: &str) -> String {
        match &self.name {
            None => list.to_owned(),
            Some(name) => format!("{list}+{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_read_exactly_and_named_in_bills() {
        let usual = CbtPrice::parse(None, None).unwrap();
        assert_eq!(usual, CbtPrice::default());
        assert_eq!((usual.pico_usd(), usual.version("2025").as_str()), (500, "2025"));
        assert_eq!(CbtPrice::parse(Some("0.0005"), None).unwrap(), usual);
        let other = CbtPrice::parse(Some("0.000001"), Some("spring-2")).unwrap();
        assert_eq!(
            (other.pico_usd(), other.version("2025").as_str()),
            (1, "2025+spring-2")
        );
        assert_eq!(
            CbtPrice::parse(Some("1"), Some("x")).unwrap().pico_usd(),
            1_000_000
        );
        assert_eq!(
            CbtPrice::parse(None, Some("x")).unwrap().version("2025"),
            "2025+x"
        );
    }

    #[test]
    fn what_is_no_price_or_has_no_name_of_its_own_is_refused() {
        for usd in [
            "0",
            "0.0",
            "-0.0005",
            "0.0000001",
            "1.000001",
            "5e-4",
            "free",
            "0,0005",
        ] {
            let refused = CbtPrice::parse(Some(usd), Some("x"));
            assert!(refused.is_err(), "{usd}: {refused:?}");
        }
        assert!(CbtPrice::parse(Some("0.0006"), None).is_err());
        for name in ["", "a b", "a+b", &"x".repeat(33)] {
            assert!(CbtPrice::parse(Some("0.0006"), Some(name)).is_err(), "{name}");
        }
    }
}
