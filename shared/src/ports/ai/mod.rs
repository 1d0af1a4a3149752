//! AI providers: OpenAI Chat Completions and Anthropic Messages, both streamed and read into one kind of events.
//!
//! What a provider sends is input like any other: events are bounded in size, unknown ones are passed over, and whatever
//! does not fit ends the stream as a [`Cut`] instead of an answer that is wrong.

mod anthropic;
mod client;
mod config;
mod openai;
mod sse;

use std::pin::Pin;

use async_trait::async_trait;
use futures_util::Stream;
use serde::{Deserialize, Serialize};

use crate::error::Error;

pub use client::Upstream;
pub use config::{Endpoint, Providers};

/// Whose API a model is called through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenAI, or whatever speaks its Chat Completions.
    OpenAi,
    /// Anthropic.
    Anthropic,
}

impl Provider {
    /// The name in the catalogue, in the secret and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }
}

/// Who says something in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Speaker {
    fn role(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One thing said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// By whom.
    pub speaker: Speaker,
    /// Never empty: Anthropic refuses that.
    pub text: String,
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCall {
    /// Through whose API.
    pub provider: Provider,
    /// The provider's name of the model.
    pub model: String,
    /// The system prompt.
    pub system: String,
    /// The conversation, oldest first, ending with the user's message.
    pub messages: Vec<Message>,
    /// How many tokens the answer may have at most.
    pub max_tokens: u32,
}

/// Tokens as a provider reports them, each figure the whole call's so far. `None` was not said; zero was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens read, those from the prompt cache among them.
    pub input: Option<u64>,
    /// Of these, read from the prompt cache.
    pub cached: Option<u64>,
    /// Tokens written.
    pub output: Option<u64>,
    /// Whether the figure for the output is the call's last.
    pub complete: bool,
}

impl Usage {
    /// Takes over what `later` says. Figures are cumulative, so a smaller one, which some gateways send in every
    /// chunk, takes nothing back.
    pub fn merge(&mut self, later: Usage) {
        self.input = self.input.max(later.input);
        self.cached = self.cached.max(later.cached);
        self.output = self.output.max(later.output);
        self.complete |= later.complete;
    }
}

/// Why a model stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// It had said everything.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// The provider's own filter, or the model, refused.
    Refused,
    /// Anything else.
    Other,
}

/// One piece of a streamed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// More text; never empty.
    Text(String),
    /// What was used so far.
    Usage(Usage),
    /// The answer is whole. Usage may still follow.
    Finish(Finish),
}

/// Why an answer that had begun did not end properly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cut {
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// The body ended without the answer's end.
    #[error("the stream ended early")]
    Early,
    /// Nothing came for too long.
    #[error("the provider stalled")]
    Stalled,
    /// An event that is not what the provider documents.
    #[error("the provider sent a malformed event")]
    Malformed,
    /// An event or the whole answer is beyond our bound.
    #[error("the provider sent too much")]
    TooLarge,
    /// The provider reported an error of its own.
    #[error("the provider reported an error")]
    Provider,
}

/// Why a call did not begin: nothing of an answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The deployment has no key for this provider.
    #[error("no key for this provider is configured")]
    NotConfigured,
    /// The secret with the keys cannot be read, or the request cannot be built.
    #[error("the call could not be prepared: {0}")]
    Unprepared(String),
    /// No connection.
    #[error("the provider cannot be reached")]
    Unreachable,
    /// No answer within the time to the first byte.
    #[error("the provider did not answer in time")]
    Silent,
    /// An error answer.
    #[error("the provider answered {status}")]
    Status {
        /// Its HTTP status.
        status: u16,
    },
}

impl Refusal {
    /// A fault of ours, with its causes, for the log.
    pub fn unprepared(error: &Error) -> Self {
        let cause = std::error::Error::source(error).map(|c| format!(": {c}"));
        Self::Unprepared(format!("{error}{}", cause.unwrap_or_default()))
    }
}

/// The pieces of an answer, in order. Nothing follows an `Err`; without one, the answer was whole.
pub type Events = Pin<Box<dyn Stream<Item = Result<Event, Cut>> + Send>>;

/// Calls models.
#[async_trait]
pub trait Ai: Send + Sync {
    /// Begins a call: answers once the provider's answer has begun.
    ///
    /// # Errors
    /// When there is no answer to be read. The request has been repeated where that can do no harm.
    async fn open(&self, call: &ModelCall) -> Result<Events, Refusal>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_usage_adds_what_was_not_said_and_takes_nothing_back() {
        let mut usage = Usage {
            input: Some(20),
            cached: Some(5),
            output: Some(1),
            complete: false,
        };
        usage.merge(Usage {
            output: Some(9),
            complete: true,
            ..Usage::default()
        });
        assert_eq!(
            usage,
            Usage {
                input: Some(20),
                cached: Some(5),
                output: Some(9),
                complete: true
            }
        );
        usage.merge(Usage {
            input: Some(0),
            output: Some(0),
            ..Usage::default()
        });
        assert_eq!(
            (usage.input, usage.output, usage.complete),
            (Some(20), Some(9), true)
        );
    }

    #[test]
    fn a_zero_that_was_said_is_not_silence() {
        let mut usage = Usage::default();
        usage.merge(Usage {
            input: Some(0),
            output: Some(0),
            complete: true,
            ..Usage::default()
        });
        assert_eq!(
            usage,
            Usage {
                input: Some(0),
                cached: None,
                output: Some(0),
                complete: true
            }
        );
    }
}
