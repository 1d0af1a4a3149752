//! The environment is read here, once, at start. Secrets are not config: they come from Secrets Manager through
//! `ports::secrets`, so that a rotation needs no deployment.

use serde::Deserialize;

use crate::error::{Error, Result};

/// What a deployment decides. Every function reads the same names (see template.yaml); a name that a function does
/// not need may be missing, and using it then is an internal error that names it.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `dev`, `prod`, `local` …
    pub stage: String,
    /// The DynamoDB table.
    pub table: String,
    /// The API's public base URL, without a slash at its end: issuer of access tokens, base of callbacks.
    pub public_url: String,
    /// Origins of the frontend that CORS admits; the first is where a browser returns after sign-in.
    pub frontend_origins: Vec<String>,
    /// E-mail addresses of Camarad's own staff, lower case.
    pub operators: Vec<String>,
    /// OpenID providers, in the order in which they are offered.
    pub providers: Vec<ProviderConfig>,
    /// Where the signing keys of access tokens are.
    pub signing_keys_secret: Option<String>,
    /// Where the client secrets of the OpenID providers are.
    pub auth_secrets_secret: Option<String>,
    /// Where the AI providers' base URLs and keys are.
    pub ai_providers_secret: Option<String>,
    /// The queue that usage events go to.
    pub metering_queue_url: Option<String>,
}

/// One OpenID Connect provider, as the AUTH_PROVIDERS parameter (JSON list) describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// Short name in paths: `google`.
    pub id: String,
    /// Name on a button: `Google`.
    pub name: String,
    /// The protocol. Only OpenID Connect so far.
    #[serde(default)]
    pub kind: ProviderKind,
    /// The issuer, exactly as its ID tokens say it; discovery starts here.
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
}

/// How a provider proves who signed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenID Connect Core 1.0.
    #[default]
    Oidc,
}

#[allow(clippy::disallowed_methods)] // the one home of this call
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn list(text: Option<String>) -> Vec<String> {
    text.unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|s| !s.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The log filter: LOG_LEVEL (`info` unless told), in `tracing`'s syntax.
pub fn log_level() -> String {
    var("LOG_LEVEL").unwrap_or_else(|| "info".into())
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// `Internal`, naming the variable, when TABLE_NAME is missing or AUTH_PROVIDERS does not parse.
    pub fn from_env() -> Result<Self> {
        let providers = match var("AUTH_PROVIDERS") {
            None => Vec::new(),
            Some(json) => {
                serde_json::from_str(&json).map_err(|e| Error::internal(format!("AUTH_PROVIDERS: {e}")))?
            }
        };
        Ok(Self {
            stage: var("STAGE").unwrap_or_else(|| "local".into()),
            table: var("TABLE_NAME").ok_or_else(|| Error::internal("TABLE_NAME is not set"))?,
            public_url: var("PUBLIC_URL")
                .unwrap_or_default()
                .trim_end_matches('/')
                .to_owned(),
            frontend_origins: list(var("FRONTEND_ORIGINS")),
            operators: list(var("PLATFORM_OPERATORS"))
                .iter()
                .map(|e| e.to_lowercase())
                .collect(),
            providers,
            signing_keys_secret: var("SIGNING_KEYS_SECRET"),
            auth_secrets_secret: var("AUTH_SECRETS_SECRET"),
            ai_providers_secret: var("AI_PROVIDERS_SECRET"),
            metering_queue_url: var("METERING_QUEUE_URL"),
        })
    }

    /// A setting that this function needs.
    ///
    /// # Errors
    /// `Internal`, naming the variable.
    pub fn need<'a>(value: &'a Option<String>, name: &str) -> Result<&'a str> {
        value
            .as_deref()
            .ok_or_else(|| Error::internal(format!("{name} is not set")))
    }
}
