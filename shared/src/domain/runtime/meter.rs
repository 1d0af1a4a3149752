//! What a running call has produced so far, and what that costs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::pricing::Tokens;
use crate::clock::Stopwatch;
use crate::ports::ai::Usage;

/// The longest answer in bytes of UTF-8: with the longest message it fits one item of the table.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

// DynamoDB's bound for an item is 400 KB: the longest message in bytes, the longest answer, and room for the rest.
const _: () = assert!(4 * 32_000 + MAX_ANSWER_BYTES + 8 * 1024 <= 400 * 1024);

/// Shared by the tasks of one call.
#[derive(Debug)]
pub struct Meter {
    watch: Stopwatch,
    state: Mutex<Produced>,
}

/// What was produced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Produced {
    /// The answer's text.
    pub text: String,
    /// What the provider reported, merged.
    pub usage: Usage,
    /// From the call's start to the first text.
    pub first_byte_ms: Option<u64>,
    /// Whether the provider took the call: from then on it works on the prompt, and charges us for that.
    pub accepted: bool,
}

/// Tokens to be billed, and whether they are an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Billable {
    /// By kind.
    pub tokens: Tokens,
    /// Whether the provider left something unsaid.
    pub estimated: bool,
}

impl Produced {
    /// What is billed if the call ends here. What the provider did not report is estimated: the prompt as it was when
    /// the hold was made, the answer as its bytes divided by four.
    pub fn billable(&self, prompt_estimate: u64) -> Billable {
        let said = self.usage;
        let silent = self.text.is_empty() && said.input.is_none() && said.output.is_none();
        if silent && !self.accepted {
            return Billable {
                tokens: Tokens::default(),
                estimated: true,
            };
        }
        let seen = u64::try_from(self.text.len().div_ceil(4)).unwrap_or(u64::MAX);
        let output = match said.output {
            Some(last) if said.complete => last,
            so_far => so_far.unwrap_or(0).max(seen),
        };
        Billable {
            tokens: Tokens {
                input: said.input.unwrap_or(prompt_estimate),
                cached: said.cached.unwrap_or(0),
                output,
            },
            estimated: !said.complete || said.input.is_none(),
        }
    }
}

impl Meter {
    /// Of a call that starts now.
    pub fn start(watch: Stopwatch) -> Self {
        Self {
            watch,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Produced> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider took the call.
    pub fn accept(&self) {
        self.lock().accepted = true;
    }

    /// Adds text; false when the answer is full, and then only what fits was added.
    pub fn push(&self, text: &str) -> bool {
        let mut state = self.lock();
        state.first_byte_ms.get_or_insert_with(|| self.watch.millis());
        let fits = text.floor_char_boundary(MAX_ANSWER_BYTES - state.text.len());
        state.text.push_str(text.get(..fits).unwrap_or_default());
        fits == text.len()
    }

    /// Adds what the provider reported.
    pub fn report(&self, usage: Usage) {
        self.lock().usage.merge(usage);
    }

    /// The answer's text after its first `from` bytes.
    pub fn text_after(&self, from: usize) -> String {
        self.lock().text.get(from..).unwrap_or_default().to_owned()
    }

    /// As it stands.
    pub fn produced(&self) -> Produced {
        self.lock().clone()
    }

    /// What would be billed now, without copying the text.
    pub fn billable(&self, prompt_estimate: u64) -> Billable {
        self.lock().billable(prompt_estimate)
    }

    /// Milliseconds since the call's start.
    pub fn millis(&self) -> u64 {
        self.watch.millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produced(text: &str, input: Option<u64>, output: Option<u64>, complete: bool) -> Produced {
        Produced {
            text: text.into(),
            usage: Usage {
                input,
                cached: None,
                output,
                complete,
            },
            first_byte_ms: None,
            accepted: false,
        }
    }

    fn billed(p: &Produced) -> (u64, u64, bool) {
        let b = p.billable(100);
        (b.tokens.input, b.tokens.output, b.estimated)
    }

    #[test]
    fn what_was_reported_is_billed() {
        assert_eq!(
            billed(&produced("some words", Some(20), Some(3), true)),
            (20, 3, false)
        );
        assert_eq!(
            billed(&produced("some words", Some(0), Some(0), true)),
            (0, 0, false),
            "a reported zero is a figure"
        );
    }

    #[test]
    fn what_was_not_reported_is_estimated() {
        assert_eq!(billed(&produced("nine byte", None, None, false)), (100, 3, true));
        assert_eq!(
            billed(&produced("nine byte", Some(20), Some(1), false)),
            (20, 3, true),
            "the first figure is not the last"
        );
        assert_eq!(
            billed(&produced("nine byte", Some(20), Some(8), false)),
            (20, 8, true),
            "more was reported than seen"
        );
        assert_eq!(
            billed(&produced("nine byte", None, Some(7), true)),
            (100, 7, true)
        );
    }

    #[test]
    fn nothing_produced_is_nothing_billed() {
        assert_eq!(billed(&produced("", None, None, false)), (0, 0, true));
        assert_eq!(
            billed(&produced("", Some(20), Some(0), true)),
            (20, 0, false),
            "the prompt was read"
        );
        let accepted = Produced {
            accepted: true,
            ..produced("", None, None, false)
        };
        assert_eq!(billed(&accepted), (100, 0, true), "the prompt was taken");
    }

    #[test]
    fn an_answer_is_bounded_at_a_characters_border() {
        let meter = Meter::start(Stopwatch::start());
        assert!(meter.push(&"x".repeat(MAX_ANSWER_BYTES - 1)));
        assert!(!meter.push("ü"));
        assert_eq!(meter.produced().text.len(), MAX_ANSWER_BYTES - 1);
        assert!(meter.push("y"));
        assert!(!meter.push("z"));
        assert_eq!(meter.text_after(MAX_ANSWER_BYTES - 1), "y");
    }
}
