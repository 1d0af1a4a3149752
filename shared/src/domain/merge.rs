//! JSON merge patch (RFC 7396), typed: what a patch does not name stays, `null` takes a value back, an object is merged
//! member by member. Typed, because a merge of bare JSON would drop an unknown member whose value is `null` unseen.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One member of a merge patch; `#[serde(default)]` makes it `Keep` where the patch does not name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Not named: stays.
    #[default]
    Keep,
    /// `null`: back to the default.
    Reset,
    /// A new value, or changes of members.
    Set(T),
}

impl<T> Patch<T> {
    /// Applies it to a value of which `None` is the default.
    pub fn apply<U: From<T>>(self, to: &mut Option<U>) {
        match self {
            Self::Keep => {}
            Self::Reset => *to = None,
            Self::Set(value) => *to = Some(value.into()),
        }
    }

    /// Applies it to an object; `merge` merges its members.
    pub fn merge<U: Default>(self, to: &mut U, merge: impl FnOnce(T, &mut U)) {
        match self {
            Self::Keep => {}
            Self::Reset => *to = U::default(),
            Self::Set(patch) => merge(patch, to),
        }
    }

    /// The value that it comes to, where there always is one.
    pub fn value<U: From<T>>(self, now: U, default: impl FnOnce() -> U) -> U {
        match self {
            Self::Keep => now,
            Self::Reset => default(),
            Self::Set(value) => value.into(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(d)?.map_or(Self::Reset, Self::Set))
    }
}

/// A JSON object. A struct by itself would also take a list, as the values of its members in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(Members(PhantomData))
    }
}

struct Members<T>(PhantomData<fn() -> T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(members)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        a: Patch<u8>,
        b: Patch<u8>,
        c: Patch<u8>,
    }

    #[test]
    fn null_is_told_from_absent() {
        let patch: Sample = serde_json::from_str(r#"{"b": null, "c": 3}"#).unwrap();
        let expected = Sample {
            a: Patch::Keep,
            b: Patch::Reset,
            c: Patch::Set(3),
        };
        assert_eq!(patch, expected);
        assert!(serde_json::from_str::<Sample>(r#"{"d": null}"#).is_err());
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |text| serde_json::from_str::<Object<Sample>>(text).ok();
        let expected = Sample {
            a: Patch::Set(1),
            ..Sample::default()
        };
        assert_eq!(read(r#"{"a": 1}"#), Some(Object(expected)));
        for text in ["[1]", "[]", "1", "null", r#"{"d": 1}"#] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_patch_keeps_resets_or_sets() {
        let mut value = Some(1_u8);
        Patch::<u8>::Keep.apply(&mut value);
        assert_eq!(value, Some(1));
        Patch::Set(2_u8).apply(&mut value);
        assert_eq!(value, Some(2));
        Patch::<u8>::Reset.apply(&mut value);
        assert_eq!(value, None);
        assert_eq!(Patch::<u8>::Reset.value(1_u8, || 9), 9);
        assert_eq!(Patch::<u8>::Keep.value(1_u8, || 9), 1);
    }
}
