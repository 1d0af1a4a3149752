//! The models that agents may use, with their bounds and list prices. A price change is a new entry under a new version:
//! bills carry the version that they were made with, and are never priced again.
//!
//! Only models that report every token they write are listed: without that, a call that is cut could not be billed from
//! what was seen of it (hidden reasoning tokens are charged and not shown).

use crate::ports::ai::{Provider, Providers};

/// The version of the prices below.
pub const PRICE_VERSION: &str = "2025-11-24";

/// List prices in pico-USD (10⁻¹² USD) per token, all above zero: USD 1 per million tokens is 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    input: u64,
    cached: u64,
    output: u64,
}

impl Price {
    const fn new(input: u64, cached: u64, output: u64) -> Self {
        assert!(
            input > 0 && cached > 0 && output > 0,
            "a price of zero would give the model away"
        );
        assert!(cached <= input, "what was cached costs no more than what was not");
        Self {
            input,
            cached,
            output,
        }
    }

    /// Per token read.
    pub fn input(&self) -> u64 {
        self.input
    }

    /// Per token read from the provider's prompt cache.
    pub fn cached(&self) -> u64 {
        self.cached
    }

    /// Per token written.
    pub fn output(&self) -> u64 {
        self.output
    }
}

/// A model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The provider's name of it, and ours.
    pub id: &'static str,
    /// Through whose API it is called.
    pub provider: Provider,
    /// Tokens of prompt and answer together.
    pub context_window: u32,
    /// Tokens of an answer.
    pub max_output: u32,
    /// What it costs.
    pub price: Price,
}

const fn openai(id: &'static str, context_window: u32, max_output: u32, price: Price) -> Model {
    Model {
        id,
        provider: Provider::OpenAi,
        context_window,
        max_output,
        price,
    }
}

const fn anthropic(id: &'static str, context_window: u32, max_output: u32, price: Price) -> Model {
    Model {
        id,
        provider: Provider::Anthropic,
        context_window,
        max_output,
        price,
    }
}

/// Every model. Sources: <https://platform.openai.com/docs/pricing>, <https://docs.claude.com/en/docs/about-claude/pricing>.
pub static MODELS: [Model; 9] = [
    openai(
        "gpt-4o-mini",
        128_000,
        16_384,
        Price::new(150_000, 75_000, 600_000),
    ),
    openai(
        "gpt-4o",
        128_000,
        16_384,
        Price::new(2_500_000, 1_250_000, 10_000_000),
    ),
    openai(
        "gpt-4.1",
        1_047_576,
        32_768,
        Price::new(2_000_000, 500_000, 8_000_000),
    ),
    openai(
        "gpt-4.1-mini",
        1_047_576,
        32_768,
        Price::new(400_000, 100_000, 1_600_000),
    ),
    openai(
        "gpt-4.1-nano",
        1_047_576,
        32_768,
        Price::new(100_000, 25_000, 400_000),
    ),
    anthropic(
        "claude-haiku-4-5",
        200_000,
        64_000,
        Price::new(1_000_000, 100_000, 5_000_000),
    ),
    anthropic(
        "claude-sonnet-4-5",
        200_000,
        64_000,
        Price::new(3_000_000, 300_000, 15_000_000),
    ),
    anthropic(
        "claude-opus-4-5",
        200_000,
        64_000,
        Price::new(5_000_000, 500_000, 25_000_000),
    ),
    anthropic(
        "claude-opus-4-1",
        200_000,
        32_000,
        Price::new(15_000_000, 1_500_000, 75_000_000),
    ),
];

/// What an agent uses when nobody chose: the first whose provider is configured.
const DEFAULTS: [&str; 2] = ["gpt-4o-mini", "claude-haiku-4-5"];

/// The model with this id. What is not here has no price and is refused.
pub fn find(id: &str) -> Option<&'static Model> {
    MODELS.iter().find(|m| m.id == id)
}

/// The default model where these providers are configured.
pub fn default_for(providers: &Providers) -> Option<&'static Model> {
    DEFAULTS
        .iter()
        .filter_map(|id| find(id))
        .find(|m| providers.has(m.provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_an_answer_fits_its_window() {
        for (n, model) in MODELS.iter().enumerate() {
            assert!(
                MODELS.iter().skip(n + 1).all(|other| other.id != model.id),
                "{}",
                model.id
            );
            assert!(model.max_output < model.context_window, "{}", model.id);
        }
    }

    #[test]
    fn the_default_follows_the_configured_providers() {
        let with = |secret: &str| default_for(&Providers::parse(secret).unwrap()).map(|m| m.id);
        assert_eq!(
            with(r#"{"openai":{"apiKey":"a"},"anthropic":{"apiKey":"b"}}"#),
            Some("gpt-4o-mini")
        );
        assert_eq!(with(r#"{"anthropic":{"apiKey":"b"}}"#), Some("claude-haiku-4-5"));
        assert_eq!(with("{}"), None);
    }
}
