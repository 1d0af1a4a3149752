//! Where the providers are and what opens them: the secret that AI_PROVIDERS_SECRET names.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::Provider;
use crate::error::{Error, Result};

/// One provider's address, key and patience.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Without a slash at its end.
    pub base_url: String,
    /// The API key.
    pub api_key: SecretString,
    /// Until the answer's head.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub gap: Duration,
}

/// The providers that this deployment has keys for.
#[derive(Debug, Clone, Default)]
pub struct Providers(HashMap<Provider, Endpoint>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Raw {
    base_url: Option<String>,
    api_key: String,
    first_byte_ms: Option<u64>,
    gap_ms: Option<u64>,
}

/// Long enough for a slow model's first word, short enough that a dead connection is noticed.
const PATIENCE: Duration = Duration::from_secs(60);

impl Providers {
    /// From the secret's JSON: `{"openai": {"apiKey": "…", "baseUrl": "…"}, "anthropic": {…}}`. A provider that is left
    /// out, or whose key is empty, is not used; `baseUrl`, `firstByteMs` and `gapMs` have defaults.
    ///
    /// # Errors
    /// `Internal` when the text is something else. The text itself is not in the error.
    pub fn parse(secret: &str) -> Result<Self> {
        let raw: HashMap<Provider, Raw> = serde_json::from_str(secret).map_err(|e| {
            Error::internal(format!(
                "the AI providers' secret: line {}: {:?}",
                e.line(),
                e.classify()
            ))
        })?;
        let usable = raw.into_iter().filter(|(_, raw)| !raw.api_key.trim().is_empty());
        Ok(Self(
            usable
                .map(|(provider, raw)| (provider, endpoint(provider, raw)))
                .collect(),
        ))
    }

    /// A provider's endpoint, if there is a key for it.
    pub fn get(&self, provider: Provider) -> Option<&Endpoint> {
        self.0.get(&provider)
    }

    /// Whether there is a key for it.
    pub fn has(&self, provider: Provider) -> bool {
        self.0.contains_key(&provider)
    }
}

fn endpoint(provider: Provider, raw: Raw) -> Endpoint {
    let usual = match provider {
        Provider::OpenAi => "https://api.openai.com/v1",
        Provider::Anthropic => "https://api.anthropic.com",
    };
    Endpoint {
        base_url: raw
            .base_url
            .as_deref()
            .unwrap_or(usual)
            .trim_end_matches('/')
            .to_owned(),
        api_key: SecretString::from(raw.api_key),
        first_byte: raw.first_byte_ms.map_or(PATIENCE, Duration::from_millis),
        gap: raw.gap_ms.map_or(PATIENCE, Duration::from_millis),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_the_usual_value() {
        let providers = Providers::parse(r#"{"openai":{"apiKey":"k"},"anthropic":{"apiKey":" "}}"#).unwrap();
        let openai = providers.get(Provider::OpenAi).unwrap();
        assert_eq!(openai.base_url, "https://api.openai.com/v1");
        assert_eq!((openai.first_byte, openai.gap), (PATIENCE, PATIENCE));
        assert!(!providers.has(Provider::Anthropic), "an empty key is no key");
        assert!(!Providers::parse("{}").unwrap().has(Provider::OpenAi));
    }

    #[test]
    fn a_bad_secret_is_not_quoted_in_its_error() {
        for secret in [
            r#"{"openai":{"apiKey":"sk-123""#,
            r#"{"openai":{"key":"sk-123"}}"#,
            r#"{"sk-123":{"apiKey":"x"}}"#,
        ] {
            let error = Providers::parse(secret).unwrap_err();
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(!cause.contains("sk-123"), "{cause}");
        }
    }
}
