//! Names that people give to things: workspaces, agents, themselves.

use std::fmt;

use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

/// The longest name, in characters.
const MAX: usize = 100;

/// 1 to 100 characters after the spaces at both ends are cut off, none of them a control character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned()))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let refusal = "must have 1 to 100 characters, and none that cannot be seen";
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(refusal))
    }
}

impl utoipa::PartialSchema for Name {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .min_length(Some(1))
            .max_length(Some(MAX))
            .examples([serde_json::Value::String("Studio".into())])
            .build()
            .into()
    }
}

impl utoipa::ToSchema for Name {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_person_can_read() {
        assert_eq!(
            Name::parse("  Studio é  ").map(String::from).as_deref(),
            Some("Studio é")
        );
        assert!(Name::parse(&"é".repeat(100)).is_some());
        for bad in ["", "   ", "a\nb", "a\u{0}b", &"x".repeat(101)] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
