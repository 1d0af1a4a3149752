//! What is sent to the model: the role prompt, as much of the conversation as fits, and the message.

use sha2::{Digest, Sha256};

use super::catalogue::Model;
use super::history::Turn;
use crate::domain::agents::presets::Preset;
use crate::error::{Error, Result};
use crate::ports::ai::{Message, Speaker};

/// An upper estimate of a text's tokens, without a tokenizer: no common text has more than one in three bytes.
pub fn estimate(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(3)).unwrap_or(u64::MAX)
}

/// Which system prompt a call used: the preset, and the beginning of the SHA-256 of the text that came of it.
pub fn version(preset: &Preset, system: &str) -> String {
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(system.as_bytes()));
    format!("{}@{}", preset.id, hash.get(..12).unwrap_or(&hash))
}

/// A prompt that fits its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The system prompt.
    pub system: String,
    /// What was said, oldest first, the new message last.
    pub messages: Vec<Message>,
    /// The estimate of all of it in tokens.
    pub tokens: u64,
    /// How many turns of the conversation are in it.
    pub turns: u32,
}

impl Prompt {
    /// Puts the system prompt, the youngest turns that leave room for an answer of `max_tokens`, and the message together.
    /// `tail` is the conversation's end, newest first. A turn is taken whole or not at all, and none before one that was
    /// left out.
    ///
    /// # Errors
    /// `Invalid` on `message` when it does not fit even alone.
    pub fn fit(model: &Model, system: &str, tail: &[Turn], message: &str, max_tokens: u32) -> Result<Self> {
        let room = u64::from(model.context_window.saturating_sub(max_tokens));
        let mut bytes = system.len() + message.len();
        if estimate(bytes) > room {
            return Err(Error::field(
                "message",
                "is too long for this model's context window",
            ));
        }
        let mut messages = vec![said(Speaker::User, message)];
        let mut turns = 0;
        // A turn that was stopped before its first word has no answer, and providers take no empty ones.
        for turn in tail.iter().filter(|t| !t.answer.is_empty()) {
            let more = turn.message.len() + turn.answer.len();
            if estimate(bytes + more) > room {
                break;
            }
            bytes += more;
            turns += 1;
            messages.push(said(Speaker::Assistant, &turn.answer));
            messages.push(said(Speaker::User, &turn.message));
        }
        messages.reverse();
        Ok(Self {
            system: system.to_owned(),
            messages,
            tokens: estimate(bytes),
            turns,
        })
    }
}

fn said(speaker: Speaker, text: &str) -> Message {
    Message {
        speaker,
        text: text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::catalogue;
    use super::super::history::testing::turn;
    use super::*;

    fn model(window: u32) -> Model {
        Model {
            context_window: window,
            ..*catalogue::find("gpt-4o-mini").unwrap()
        }
    }

    #[test]
    fn turns_come_oldest_first_and_the_message_last() {
        let tail = [turn("q2", "a2"), turn("q1", "a1")];
        let prompt = Prompt::fit(&model(1000), "role", &tail, "q3", 10).unwrap();
        let texts: Vec<_> = prompt
            .messages
            .iter()
            .map(|m| (m.speaker, m.text.as_str()))
            .collect();
        let (user, assistant) = (Speaker::User, Speaker::Assistant);
        assert_eq!(
            texts,
            [
                (user, "q1"),
                (assistant, "a1"),
                (user, "q2"),
                (assistant, "a2"),
                (user, "q3")
            ]
        );
        assert_eq!(
            (prompt.turns, prompt.tokens),
            (2, estimate("roleq1a1q2a2q3".len()))
        );
    }

    #[test]
    fn the_oldest_turns_are_dropped_first_and_none_is_skipped() {
        let tail = [
            turn("q3", "a3"),
            turn(&"long".repeat(100), "a2"),
            turn("q1", "a1"),
        ];
        let prompt = Prompt::fit(&model(100), "role", &tail, "q4", 50).unwrap();
        assert_eq!(prompt.turns, 1);
        assert_eq!(prompt.messages[0].text, "q3");
    }

    #[test]
    fn a_turn_without_an_answer_is_left_out() {
        let prompt = Prompt::fit(&model(100), "role", &[turn("q2", ""), turn("q1", "a1")], "q3", 10).unwrap();
        assert_eq!(prompt.turns, 1);
        assert!(prompt.messages.iter().all(|m| !m.text.is_empty()));
    }

    #[test]
    fn a_message_that_does_not_fit_alone_is_refused() {
        let refused = Prompt::fit(&model(100), "role", &[], &"x".repeat(300), 50);
        assert!(matches!(refused, Err(Error::Invalid(f)) if f[0].field == "message"));
    }

    proptest! {
        #[test]
        fn a_prompt_always_leaves_room_for_the_answer(
            lengths in proptest::collection::vec((1_usize..400, 1_usize..400), 0..30), message in 1_usize..400, window in 200_u32..5000, max in 1_u32..200,
        ) {
            let tail: Vec<_> = lengths.iter().map(|(q, a)| turn(&"q".repeat(*q), &"a".repeat(*a))).collect();
            if let Ok(prompt) = Prompt::fit(&model(window), "role", &tail, &"m".repeat(message), max) {
                prop_assert!(prompt.tokens + u64::from(max) <= u64::from(window));
                prop_assert_eq!(prompt.messages.len(), 2 * usize::try_from(prompt.turns).unwrap() + 1);
            }
        }
    }
}
