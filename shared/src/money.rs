//! cbT (CoolBits Token), Camarad's unit of account, in whole micro-cbT. Never floats: on the wire a decimal
//! string with up to six places, in the table a whole number of micro-cbT.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

/// Micro-cbT in one cbT.
pub const MICRO: i64 = 1_000_000;

/// The largest amount one movement may carry: 10^12 cbT, so that sums of many stay far from `i64`'s end.
const MAX_MICRO: i64 = 1_000_000_000_000 * MICRO;

/// A signed number of micro-cbT: a delta or a balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cbt(i64);

/// The text or number is no amount of cbT of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAmount {
    /// Not `-?digits[.1 to 6 digits]`.
    #[error("an amount of cbT is a decimal string with at most six places, such as \"12.5\"")]
    Format,
    /// Beyond 10^12 cbT.
    #[error("the amount is beyond 1,000,000,000,000 cbT")]
    Range,
    /// Zero or below where only a positive amount makes sense.
    #[error("the amount must be greater than zero")]
    NotPositive,
}

impl Cbt {
    /// Nothing.
    pub const ZERO: Cbt = Cbt(0);

    /// That many micro-cbT.
    pub const fn micro(micro: i64) -> Self {
        Self(micro)
    }

    /// That many whole cbT.
    pub const fn whole(cbt: i64) -> Self {
        Self(cbt * MICRO)
    }

    /// In micro-cbT.
    pub const fn as_micro(self) -> i64 {
        self.0
    }

    /// The sum, or `None` beyond 64 bits.
    pub fn checked_add(self, other: Cbt) -> Option<Cbt> {
        self.0.checked_add(other.0).map(Cbt)
    }

    /// The difference, or `None` beyond 64 bits.
    pub fn checked_sub(self, other: Cbt) -> Option<Cbt> {
        self.0.checked_sub(other.0).map(Cbt)
    }
}

impl std::ops::Neg for Cbt {
    type Output = Cbt;
    fn neg(self) -> Cbt {
        Cbt(-self.0)
    }
}

impl fmt::Display for Cbt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (
            self.0.unsigned_abs() / 1_000_000,
            self.0.unsigned_abs() % 1_000_000,
        );
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let places = format!("{part:06}");
        write!(f, "{sign}{whole}.{}", places.trim_end_matches('0'))
    }
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

impl FromStr for Cbt {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, InvalidAmount> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, part) = match digits.split_once('.') {
            None => (digits, "0"),
            Some((whole, part)) => (whole, part),
        };
        if !all_digits(whole) || !all_digits(part) || part.len() > 6 {
            return Err(InvalidAmount::Format);
        }
        let whole: i64 = whole.parse().map_err(|_| InvalidAmount::Range)?;
        let part: i64 = format!("{part:0<6}").parse().map_err(|_| InvalidAmount::Format)?;
        let micro = whole
            .checked_mul(MICRO)
            .and_then(|w| w.checked_add(part))
            .ok_or(InvalidAmount::Range)?;
        if micro > MAX_MICRO {
            return Err(InvalidAmount::Range);
        }
        Ok(Cbt(if negative { -micro } else { micro }))
    }
}

impl Serialize for Cbt {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cbt {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for Cbt {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some(
                "An amount of cbT as a decimal string with at most six places.",
            ))
            .pattern(Some(r"^-?[0-9]+(\.[0-9]{1,6})?$"))
            .examples([serde_json::Value::String("12.5".into())])
            .build()
            .into()
    }
}

impl utoipa::ToSchema for Cbt {}

/// An amount of at least zero, at most 10^12 cbT: a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(Cbt);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(Cbt::ZERO);

    /// The amount, if it is not below zero and not beyond the bound.
    pub fn new(cbt: Cbt) -> Result<Self, InvalidAmount> {
        match cbt.0 {
            n if n < 0 => Err(InvalidAmount::NotPositive),
            n if n > MAX_MICRO => Err(InvalidAmount::Range),
            _ => Ok(Self(cbt)),
        }
    }

    /// As a signed number.
    pub fn cbt(self) -> Cbt {
        self.0
    }
}

/// An amount above zero, at most 10^12 cbT: what grants, holds and refunds carry, so that none can mint a negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Positive(Cbt);

impl Positive {
    /// The amount, if it is above zero and not beyond the bound.
    pub fn new(cbt: Cbt) -> Result<Self, InvalidAmount> {
        if cbt.0 <= 0 {
            return Err(InvalidAmount::NotPositive);
        }
        Amount::new(cbt).map(|a| Self(a.0))
    }

    /// As a signed number.
    pub fn cbt(self) -> Cbt {
        self.0
    }

    /// As an amount that may be zero.
    pub fn amount(self) -> Amount {
        Amount(self.0)
    }
}

/// A whole number of micro-cbT in stored items (`#[serde(with = "money::stored")]`): DynamoDB must be able to add it.
pub mod stored {
    use super::{Cbt, Deserialize, Deserializer, Serializer};

    /// As a number.
    pub fn serialize<S: Serializer>(cbt: &Cbt, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_i64(cbt.0)
    }

    /// From a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Cbt, D::Error> {
        i64::deserialize(d).map(Cbt)
    }
}

/// The same for what may be absent.
pub mod stored_option {
    use super::{Cbt, Deserialize, Deserializer, Serialize, Serializer};

    /// As a number.
    pub fn serialize<S: Serializer>(cbt: &Option<Cbt>, s: S) -> Result<S::Ok, S::Error> {
        cbt.map(Cbt::as_micro).serialize(s)
    }

    /// From a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Cbt>, D::Error> {
        Ok(Option::<i64>::deserialize(d)?.map(Cbt))
    }
}

/// The same for an amount of at least zero.
pub mod stored_amount {
    use super::{Amount, Cbt, Deserialize, Deserializer, Serializer};

    /// As a number.
    pub fn serialize<S: Serializer>(amount: &Amount, s: S) -> Result<S::Ok, S::Error> {
        super::stored::serialize(&amount.0, s)
    }

    /// From a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Amount, D::Error> {
        Amount::new(Cbt(i64::deserialize(d)?)).map_err(serde::de::Error::custom)
    }
}

/// The same for an amount above zero.
pub mod stored_positive {
    use super::{Cbt, Deserialize, Deserializer, Positive, Serializer};

    /// As a number.
    pub fn serialize<S: Serializer>(amount: &Positive, s: S) -> Result<S::Ok, S::Error> {
        super::stored::serialize(&amount.0, s)
    }

    /// From a number.
    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Positive, D::Error> {
        Positive::new(Cbt(i64::deserialize(d)?)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_and_print_alike() {
        for text in ["0", "1", "-1", "12.5", "0.000001", "-0.1", "1000000000000"] {
            assert_eq!(text.parse::<Cbt>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("1.500000".parse::<Cbt>(), Ok(Cbt::micro(1_500_000)));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            "-",
            ".5",
            "1.",
            "1.0000001",
            "1e3",
            "+1",
            " 1",
            "١",
            "1_000",
            "--1",
            "NaN",
        ] {
            assert_eq!(text.parse::<Cbt>(), Err(InvalidAmount::Format), "{text}");
        }
        for text in ["1000000000000.000001", "99999999999999999999"] {
            assert_eq!(text.parse::<Cbt>(), Err(InvalidAmount::Range), "{text}");
        }
    }

    #[test]
    fn a_positive_amount_is_above_zero() {
        assert_eq!(Positive::new(Cbt::ZERO), Err(InvalidAmount::NotPositive));
        assert_eq!(Positive::new(Cbt::micro(-1)), Err(InvalidAmount::NotPositive));
        assert!(Positive::new(Cbt::micro(1)).is_ok());
    }
}
