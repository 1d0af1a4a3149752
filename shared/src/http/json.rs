//! What JSON must be before its meaning is asked: well-formed (RFC 8259), nested no deeper than anything here needs, and
//! with each name once in an object (I-JSON, RFC 7493 §2.3), as parsers disagree about which of two counts.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::bounds::shown;
use crate::error::{Error, Result};

/// How deep objects and lists may be nested.
pub const MAX_DEPTH: usize = 32;

/// Checks a body.
///
/// # Errors
/// `Malformed` for what is no JSON or too deep, `Invalid` for a name that appears twice.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let twice = Cell::new(None);
    let value = Strict {
        depth: 0,
        twice: &twice,
    };
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = de::DeserializeSeed::deserialize(value, &mut json).and_then(|()| json.end());
    match (read, twice.into_inner()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(name)) => Err(Error::field(shown(&name), "appears twice")),
        (Err(error), None) => Err(Error::Malformed(error.to_string())),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    twice: &'a Cell<Option<String>>,
}

impl Strict<'_> {
    fn inside<E: de::Error>(self) -> std::result::Result<Self, E> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(Self { depth, ..self })
    }
}

impl<'de> de::DeserializeSeed<'de> for Strict<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let inner = self.inside()?;
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if names.contains(&name) {
                self.twice.set(Some(name));
                return Err(de::Error::custom("a name appears twice"));
            }
            names.insert(name);
            map.next_value_seed(inner)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        let inner = self.inside()?;
        while list.next_element_seed(inner)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> std::result::Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> std::result::Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> std::result::Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> std::result::Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> &'static str {
        check(body.as_bytes()).map_or_else(|e| e.code(), |()| "fine")
    }

    #[test]
    fn nesting_ends_at_its_bound() {
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert_eq!(code(&nested(MAX_DEPTH)), "fine");
        assert_eq!(code(&nested(MAX_DEPTH + 1)), "malformed");
        let objects = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert_eq!(code(&objects(MAX_DEPTH)), "fine");
        assert_eq!(code(&objects(MAX_DEPTH + 1)), "malformed");
        assert_eq!(code(&"[".repeat(100_000)), "malformed");
    }

    #[test]
    fn a_name_appears_once_however_it_is_written() {
        assert_eq!(code(r#"{"a":1,"b":{"a":2}}"#), "fine");
        assert_eq!(code(r#"{"a":1,"a":1}"#), "invalid");
        assert_eq!(code(r#"{"a":1,"\u0061":1}"#), "invalid");
        assert_eq!(code(r#"[{"x":{"a":1,"a":1}}]"#), "invalid");
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        for body in [
            "",
            "{",
            "[1,]",
            "{'a':1}",
            "NaN",
            "1e999",
            "\"\\ud800\"",
            "\u{feff}{}",
            "{} {}",
            "\"\u{1}\"",
        ] {
            assert_eq!(code(body), "malformed", "{body:?}");
        }
        assert_eq!(check(b"\"\xff\"").map_err(|e| e.code()), Err("malformed"));
    }
}
