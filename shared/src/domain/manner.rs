//! How agents speak: the tone and the language that a person or a workspace prefers.

use serde::{Deserialize, Serialize};

/// A tone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// As the role prompt has it.
    #[default]
    Neutral,
    /// Precise, with the terms of the field.
    Technical,
    /// As one talks.
    Conversational,
}

impl Tone {
    /// What a role prompt is told beside itself; nothing for the neutral tone.
    fn instruction(self) -> Option<&'static str> {
        match self {
            Self::Neutral => None,
            Self::Technical => Some(
                "Be precise and technical: use the terms of the field, give figures and name trade-offs.",
            ),
            Self::Conversational => Some(
                "Be conversational: use plain words and short sentences, as one person talks to another.",
            ),
        }
    }
}

/// A role prompt with a preferred manner; as it was where nothing is preferred.
pub fn prompt(role: &str, tone: Option<Tone>, locale: Option<&str>) -> String {
    let language = locale.map(|tag| {
        format!("Answer in the language of the BCP 47 tag {tag}, unless the user writes in another one.")
    });
    let manner: Vec<_> = tone
        .and_then(Tone::instruction)
        .map(str::to_owned)
        .into_iter()
        .chain(language)
        .collect();
    if manner.is_empty() {
        role.to_owned()
    } else {
        format!("{role}\n\n{}", manner.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_preference_the_role_prompt_is_as_it_was() {
        assert_eq!(prompt("You are.", None, None), "You are.");
        assert_eq!(prompt("You are.", Some(Tone::Neutral), None), "You are.");
        let both = prompt("You are.", Some(Tone::Technical), Some("de-AT"));
        assert!(
            both.starts_with("You are.\n\nBe precise") && both.contains("de-AT"),
            "{both}"
        );
    }
}
