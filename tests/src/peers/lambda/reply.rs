//! An answer and the times at which its parts came.

use std::time::Instant;

/// What stands between the head and the body of a streamed HTTP answer
/// (`application/vnd.awslambda.http-integration-response`).
const BORDER: [u8; 8] = [0; 8];

/// The way in which a function answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In one piece.
    Buffered,
    /// As it was written.
    Streaming,
    /// It failed, or broke off.
    Error,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The way.
    pub mode: Mode,
    /// When the event was handed out.
    pub handed: Instant,
    /// When the answer had come.
    pub ended: Instant,
    bytes: Vec<u8>,
    /// Up to which byte there was an answer at which time.
    arrivals: Vec<(usize, Instant)>,
}

impl Reply {
    pub(super) fn new(mode: Mode, handed: Instant) -> Self {
        Self {
            mode,
            handed,
            ended: handed,
            bytes: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Instant, chunk: &[u8]) {
        self.bytes.extend_from_slice(chunk);
        self.arrivals.push((self.bytes.len(), at));
    }

    /// Status, headers and cookies of a streamed HTTP answer, as JSON; nothing for other answers.
    pub fn prelude(&self) -> Option<&[u8]> {
        self.border().map(|at| &self.bytes[..at])
    }

    /// All that is not prelude.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// When the body's first byte was here.
    pub fn first_byte(&self) -> Option<Instant> {
        self.when(self.start() + 1)
    }

    /// When the first `mark` of the body was here, all of it.
    pub fn found(&self, mark: &[u8]) -> Option<Instant> {
        let at = position(self.body(), mark)?;
        self.when(self.start() + at + mark.len())
    }

    fn when(&self, bytes: usize) -> Option<Instant> {
        self.arrivals
            .iter()
            .find(|(end, _)| *end >= bytes)
            .map(|(_, at)| *at)
    }

    fn border(&self) -> Option<usize> {
        if self.mode == Mode::Buffered {
            return None;
        }
        position(&self.bytes, &BORDER)
    }

    fn start(&self) -> usize {
        self.border().map_or(0, |at| at + BORDER.len())
    }
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    text.windows(wanted.len()).position(|part| part == wanted)
}
