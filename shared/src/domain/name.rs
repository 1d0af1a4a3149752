//! Names that people give to things: workspaces, agents, themselves.

use std::fmt;

use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

/// The longest name, in characters.
const MAX: usize = 100;

/// 1 to 100 characters after the spaces at both ends are cut off: something that can be seen, no control character, and
/// none that turns the direction of the text around it, by which a name could show as another (Unicode TR 36, 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits = (1..=MAX).contains(&text.chars().count())
            && !text.chars().any(|c| c.is_control() || turns(c))
            && text.chars().any(|c| !c.is_whitespace() && !invisible(c));
        fits.then(|| Self(text.to_owned()))
    }
}

/// Embeddings, overrides and isolates of the bidirectional algorithm (Unicode TR 9).
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What shows nothing by itself: joiners and marks have their place beside letters, and are no name alone.
fn invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
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

    #[test]
    fn a_name_shows_something_and_shows_as_what_it_is() {
        for good in ["נועה", "علي", "👩\u{200d}🔬", "می\u{200c}خواهم", "❤\u{fe0f}"] {
            assert!(Name::parse(good).is_some(), "{good:?}");
        }
        for bad in [
            "\u{200b}",
            "\u{feff} \u{2060}",
            "\u{3164}",
            "\u{202e}nimda",
            "a\u{2066}b",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad:?}");
        }
    }
}
