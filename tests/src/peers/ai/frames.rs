//! An answer in the parts that a stream has, whichever provider's it is.

use super::behaviour::Usage;

/// What distinguishes one answer from the next, beside its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The request's number since the peer's start.
    pub(crate) order: u64,
    /// Seconds since 1970, which OpenAI's answers carry.
    pub(crate) created: u64,
}

/// A decided answer, not yet in any format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// The deltas; joined, they are the whole text.
    pub(crate) chunks: Vec<String>,
    /// True if `max_tokens` cut the text.
    pub(crate) cut: bool,
    /// Nothing if it is to be left out.
    pub(crate) usage: Option<Usage>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        self.chunks.concat()
    }
}

/// The events of a stream, each as the bytes of one whole SSE event, in sending order of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    pub(crate) head: Vec<String>,
    /// One for each chunk of the answer.
    pub(crate) deltas: Vec<String>,
    /// The text has ended. For OpenAI this has the finish reason; for Anthropic that comes with the usage.
    pub(crate) finish: Vec<String>,
    pub(crate) usage: Vec<String>,
    pub(crate) done: Vec<String>,
    /// The provider's way to report an error inside a stream.
    pub(crate) error: String,
    /// An event whose data is no JSON.
    pub(crate) malformed: String,
}
