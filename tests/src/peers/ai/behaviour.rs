//! What the peer can be told to do with the next call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How the next call is answered. The queue holds one per call; an empty queue means [`Behaviour::default`].
///
/// As JSON (`POST /_peer/behaviours`) a variant is named by `kind`: `{"kind":"status","code":429,"retry_after":2}`.
///
/// "After n chunks" counts content deltas; an n beyond the end of the answer means after its last delta. A call that did
/// not ask for a stream gets the nearest equivalent, which each variant states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// A whole answer.
    Normal {
        /// Said instead of the composed paragraph; `max_tokens` still cuts it.
        #[serde(default)]
        text: Option<String>,
        /// Reported instead of what the counting rule gives.
        #[serde(default)]
        usage: Option<Usage>,
    },
    /// An error before any answer.
    Status {
        /// HTTP status. The provider's usual error body comes with it.
        code: u16,
        /// The `retry-after` header, seconds.
        #[serde(default)]
        retry_after: Option<u32>,
        /// Sent as it is instead of the provider's error body, so that gateways' HTML pages can be played.
        #[serde(default)]
        body: Option<String>,
    },
    /// Silence before the response's head, then a whole answer.
    StallBeforeHeaders {
        /// Milliseconds.
        ms: u64,
    },
    /// Silence in the middle, then the rest. Plain JSON: between the two halves of the body.
    StallAfter {
        /// Deltas sent before.
        chunks: usize,
        /// Milliseconds.
        ms: u64,
    },
    /// The connection breaks without the body's proper end. Plain JSON: in the middle of the body.
    CutAfter {
        /// Deltas sent before.
        chunks: usize,
    },
    /// The connection breaks when the whole text has come, but not the final usage. Plain JSON: as [`Self::CutAfter`].
    CutBeforeUsage,
    /// The provider's own error event inside a stream, which then ends. Plain JSON: status 500.
    ErrorEventAfter {
        /// Deltas sent before.
        chunks: usize,
    },
    /// An event whose data is not JSON; the stream then goes on as if nothing had been. Plain JSON: half of the body,
    /// properly ended.
    MalformedEventAfter {
        /// Deltas sent before.
        chunks: usize,
    },
    /// A whole answer that never says what it used.
    NoUsage,
    /// Deltas without regard to `max_tokens`, without finish reason or usage. Plain JSON: an answer of that size.
    Endless {
        /// The body ends after this many bytes, at the next border of an event.
        max_bytes: usize,
    },
    /// The whole text in one event, without regard to `max_tokens`.
    HugeEvent {
        /// Bytes of text in that event.
        bytes: usize,
    },
    /// The body is written in pieces of this size, across the borders of events and of UTF-8 sequences, without delay.
    SplitBytes {
        /// Bytes a piece; 0 counts as 1.
        n: usize,
    },
    /// Another pace.
    Slow {
        /// Milliseconds between deltas.
        chunk_delay_ms: u64,
    },
    /// Several at once, e.g. a text, a pace and a cut. Of two that exclude each other the later one counts.
    All {
        /// Applied in order.
        of: Vec<Behaviour>,
    },
}

impl Default for Behaviour {
    fn default() -> Self {
        Self::Normal {
            text: None,
            usage: None,
        }
    }
}

impl Behaviour {
    /// A whole answer that says `text`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Normal {
            text: Some(text.into()),
            usage: None,
        }
    }

    /// The provider's usual error with this status.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            retry_after: None,
            body: None,
        }
    }
}

/// Tokens that a call is reported to have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// All tokens read, the cached ones among them (OpenAI's `prompt_tokens`; Anthropic's `input_tokens` leaves them out).
    pub input: u64,
    /// Of these, read from the prompt cache. Never more than `input`.
    #[serde(default)]
    pub cached: u64,
    /// Tokens written.
    pub output: u64,
}

/// A behaviour resolved into what the planner needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    pub(crate) text: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) before_headers: Duration,
    pub(crate) chunk_delay: Duration,
    pub(crate) stall: Option<(usize, Duration)>,
    pub(crate) split: Option<usize>,
    pub(crate) fault: Option<Fault>,
}

/// The faults of which an answer can have only one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    Status {
        code: u16,
        retry_after: Option<u32>,
        body: Option<String>,
    },
    CutAfter(usize),
    CutBeforeUsage,
    ErrorEventAfter(usize),
    MalformedEventAfter(usize),
    NoUsage,
    Endless {
        max_bytes: usize,
    },
    HugeEvent {
        bytes: usize,
    },
}

impl Script {
    /// `chunk_delay` is the peer's own pace.
    pub(crate) fn new(behaviour: Behaviour, chunk_delay: Duration) -> Self {
        let mut script = Self {
            text: None,
            usage: None,
            before_headers: Duration::ZERO,
            chunk_delay,
            stall: None,
            split: None,
            fault: None,
        };
        script.apply(behaviour);
        if script.split.is_some() {
            // A pause at every event's border would show the reader where it is.
            script.chunk_delay = Duration::ZERO;
        }
        script
    }

    fn apply(&mut self, behaviour: Behaviour) {
        match behaviour {
            Behaviour::Normal { text, usage } => {
                self.text = text.or(self.text.take());
                self.usage = usage.or(self.usage);
            }
            Behaviour::StallBeforeHeaders { ms } => self.before_headers = Duration::from_millis(ms),
            Behaviour::StallAfter { chunks, ms } => self.stall = Some((chunks, Duration::from_millis(ms))),
            Behaviour::SplitBytes { n } => self.split = Some(n.max(1)),
            Behaviour::Slow { chunk_delay_ms } => self.chunk_delay = Duration::from_millis(chunk_delay_ms),
            Behaviour::All { of } => of.into_iter().for_each(|one| self.apply(one)),
            Behaviour::Status {
                code,
                retry_after,
                body,
            } => {
                self.fault = Some(Fault::Status {
                    code,
                    retry_after,
                    body,
                });
            }
            Behaviour::CutAfter { chunks } => self.fault = Some(Fault::CutAfter(chunks)),
            Behaviour::CutBeforeUsage => self.fault = Some(Fault::CutBeforeUsage),
            Behaviour::ErrorEventAfter { chunks } => self.fault = Some(Fault::ErrorEventAfter(chunks)),
            Behaviour::MalformedEventAfter { chunks } => {
                self.fault = Some(Fault::MalformedEventAfter(chunks))
            }
            Behaviour::NoUsage => self.fault = Some(Fault::NoUsage),
            Behaviour::Endless { max_bytes } => self.fault = Some(Fault::Endless { max_bytes }),
            Behaviour::HugeEvent { bytes } => self.fault = Some(Fault::HugeEvent { bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_a_behaviour_and_refuses_what_it_does_not_know() -> Result<(), serde_json::Error> {
        let status: Behaviour = serde_json::from_str(r#"{"kind":"status","code":429,"retry_after":2}"#)?;
        assert_eq!(
            status,
            Behaviour::Status {
                code: 429,
                retry_after: Some(2),
                body: None
            }
        );
        let normal: Behaviour = serde_json::from_str(r#"{"kind":"normal"}"#)?;
        assert_eq!(normal, Behaviour::default());
        assert!(serde_json::from_str::<Behaviour>(r#"{"kind":"cut_after","chunk":1}"#).is_err());
        assert!(serde_json::from_str::<Behaviour>(r#"{"kind":"normal","txt":"a"}"#).is_err());
        assert!(serde_json::from_str::<Behaviour>(r#"{"kind":"explode"}"#).is_err());
        Ok(())
    }

    #[test]
    fn behaviours_compose() {
        let all = Behaviour::All {
            of: vec![
                Behaviour::text("a b c"),
                Behaviour::Slow { chunk_delay_ms: 7 },
                Behaviour::CutAfter { chunks: 9 },
                Behaviour::CutAfter { chunks: 2 },
            ],
        };
        let script = Script::new(all, Duration::ZERO);
        assert_eq!(script.text.as_deref(), Some("a b c"));
        assert_eq!(script.chunk_delay, Duration::from_millis(7));
        assert_eq!(script.fault, Some(Fault::CutAfter(2)));
    }
}
