//! The environment is read here, once, at start. Secrets are not config: they come from Secrets Manager through
//! `ports::secrets`, so that a rotation needs no deployment.

use serde::Deserialize;

use crate::cbt_price::CbtPrice;
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
    /// Identity providers, in the order in which they are offered.
    pub providers: Vec<ProviderConfig>,
    /// Where the signing keys of access tokens are.
    pub signing_keys_secret: Option<String>,
    /// After how many days a new key signs access tokens; zero is the usual thirty.
    pub signing_key_days: u16,
    /// Where the master keys are of what is stored sealed.
    pub vault_secret: Option<String>,
    /// Where the client secrets of the identity providers are.
    pub auth_secrets_secret: Option<String>,
    /// Where the AI providers' base URLs and keys are.
    pub ai_providers_secret: Option<String>,
    /// The queue that usage events go to.
    pub metering_queue_url: Option<String>,
    /// The queue that mails go out through.
    pub mail_queue_url: Option<String>,
    /// The address that mail comes from. Without one no mail is sent, and nobody signs in with a mailed link.
    pub mail_from: Option<String>,
    /// The state machine of onboarding.
    pub onboarding_machine: Option<String>,
    /// The queue that orders to seal audit records go to.
    pub audit_queue_url: Option<String>,
    /// Where Stripe is; its own address unless told.
    pub stripe_api_url: Option<String>,
    /// Where the keys of Stripe are.
    pub stripe_secret: Option<String>,
    /// The queue that orders to look at a Stripe customer go to.
    pub billing_queue_url: Option<String>,
    /// Where the seed of the key is that signs statements about audit chains.
    pub audit_key_secret: Option<String>,
    /// What a cbT is worth.
    pub cbt_price: CbtPrice,
}

/// One identity provider, as the AUTH_PROVIDERS parameter (JSON list) describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProviderConfig {
    /// Short name in paths: `google`.
    pub id: String,
    /// Name on a button: `Google`.
    pub name: String,
    /// The protocol.
    #[serde(default)]
    pub kind: ProviderKind,
    /// OpenID Connect: the issuer, exactly as its ID tokens say it; discovery starts here. GitHub: the site,
    /// `https://github.com` unless told.
    #[serde(default)]
    pub issuer: String,
    /// Our client id there.
    pub client_id: String,
    /// GitHub: its REST API, `https://api.github.com` unless told.
    #[serde(default)]
    pub api_url: Option<String>,
    /// Whose addresses it may vouch for: these mail domains, in lower case, and no others. Of an empty list see
    /// `trusts_email`.
    #[serde(default)]
    pub domains: Vec<String>,
    /// Whether its word is enough to make an account of an address; unless told, only Google's and GitHub's is. Who comes
    /// with another address confirms it by mail first, and links the provider then.
    #[serde(default)]
    pub trusts_email: Option<bool>,
    /// Whether operators may sign in with it, beside Google, GitHub and a mailed link.
    #[serde(default)]
    pub operators: bool,
}

/// Google's issuer. <https://developers.google.com/identity/openid-connect/openid-connect>
const GOOGLE: &str = "https://accounts.google.com";

impl ProviderConfig {
    /// Whether it is one of those that everybody can have an account at, and that mail a code before they call an address
    /// verified: no customer of theirs says what is verified. A GitHub on a server of its own is none of them.
    fn is_well_known(&self) -> bool {
        let is = |set: &str, usual: &str| set.is_empty() || set.trim_end_matches('/') == usual;
        match self.kind {
            ProviderKind::Oidc => self.issuer == GOOGLE,
            ProviderKind::Github => {
                is(&self.issuer, "https://github.com")
                    && is(
                        self.api_url.as_deref().unwrap_or_default(),
                        "https://api.github.com",
                    )
            }
        }
    }

    /// Whether its word is enough that an address, in lower case, is somebody's.
    pub fn vouches_for(&self, email: &str) -> bool {
        let domain = email.rsplit('@').next().unwrap_or_default();
        match self.trusts_email {
            Some(false) => false,
            _ if !self.domains.is_empty() => self.domains.iter().any(|d| d == domain),
            Some(true) => true,
            None => self.is_well_known(),
        }
    }
}

/// How a provider proves who signed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenID Connect Core 1.0.
    #[default]
    Oidc,
    /// GitHub's OAuth 2: no ID token, its REST API says who signed in.
    Github,
}

/// Stands where a provider's id stands, for who signs in with a link that was mailed.
pub const EMAIL_PROVIDER: &str = "email";

/// Ids that paths or sessions use for something else.
const RESERVED: [&str; 2] = [EMAIL_PROVIDER, "magic-link"];

/// The providers of the AUTH_PROVIDERS parameter.
fn providers(json: &str) -> Result<Vec<ProviderConfig>> {
    let all: Vec<ProviderConfig> =
        serde_json::from_str(json).map_err(|e| Error::internal(format!("AUTH_PROVIDERS: {e}")))?;
    for (n, provider) in all.iter().enumerate() {
        let id = provider.id.as_str();
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        let fault = if id.is_empty() || id.len() > 32 || !id.bytes().all(plain) {
            "an id is 1 to 32 of a-z, 0-9 and -"
        } else if RESERVED.contains(&id) {
            "this id is taken by something else"
        } else if all.iter().take(n).any(|other| other.id == id) {
            "this id is there twice"
        } else if provider.kind == ProviderKind::Oidc && provider.issuer.is_empty() {
            "an OpenID provider has an issuer"
        } else if provider
            .domains
            .iter()
            .any(|d| d.is_empty() || *d != d.to_lowercase() || d.contains('@'))
        {
            "a domain is written in lower case, without an @"
        } else {
            continue;
        };
        return Err(Error::internal(format!("AUTH_PROVIDERS: {id}: {fault}")));
    }
    Ok(all)
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

/// A whole number; zero when the variable is not set.
fn number(text: Option<String>, name: &str) -> Result<u16> {
    text.map_or(Ok(0), |text| text.parse())
        .map_err(|_| Error::internal(format!("{name} is no whole number")))
}

/// The log filter: LOG_LEVEL (`info` unless told), in `tracing`'s syntax.
pub fn log_level() -> String {
    var("LOG_LEVEL").unwrap_or_else(|| "info".into())
}

/// The table's name, if there is one.
pub fn table_name() -> Option<String> {
    var("TABLE_NAME")
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// `Internal`, naming the variable, when TABLE_NAME is missing, or AUTH_PROVIDERS or the price of a cbT does not parse.
    pub fn from_env() -> Result<Self> {
        let providers = match var("AUTH_PROVIDERS") {
            None => Vec::new(),
            Some(json) => providers(&json)?,
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
            signing_key_days: number(var("SIGNING_KEY_DAYS"), "SIGNING_KEY_DAYS")?,
            vault_secret: var("VAULT_SECRET"),
            auth_secrets_secret: var("AUTH_SECRETS_SECRET"),
            ai_providers_secret: var("AI_PROVIDERS_SECRET"),
            metering_queue_url: var("METERING_QUEUE_URL"),
            mail_queue_url: var("MAIL_QUEUE_URL"),
            mail_from: var("MAIL_FROM"),
            onboarding_machine: var("ONBOARDING_MACHINE"),
            audit_queue_url: var("AUDIT_QUEUE_URL"),
            stripe_api_url: var("STRIPE_API_URL"),
            stripe_secret: var("STRIPE_SECRET"),
            billing_queue_url: var("BILLING_QUEUE_URL"),
            audit_key_secret: var("AUDIT_KEY_SECRET"),
            cbt_price: CbtPrice::parse(var("USD_PER_CBT").as_deref(), var("CBT_PRICE_VERSION").as_deref())?,
        })
    }

    /// Whether an operator's address counts as proven by this way to sign in: a mailed link, or a provider that no customer
    /// of ours runs, unless the deployment names it for operators.
    pub fn proves_operators(&self, provider: &str) -> bool {
        let of_operators = |p: &ProviderConfig| p.operators || p.is_well_known();
        provider == EMAIL_PROVIDER || self.providers.iter().any(|p| p.id == provider && of_operators(p))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_are_read_with_what_their_kind_needs() {
        let all = providers(
            r#"[{"id":"google","name":"Google","issuer":"https://accounts.google.com","clientId":"g"},
                {"id":"github","name":"GitHub","kind":"github","clientId":"h"}]"#,
        )
        .unwrap();
        assert_eq!(
            (all[0].kind, all[1].kind),
            (ProviderKind::Oidc, ProviderKind::Github)
        );
        for (id, rest) in [
            ("", r#""issuer":"https://x.example""#),
            ("Google", r#""issuer":"https://x.example""#),
            ("a/b", r#""issuer":"https://x.example""#),
            ("email", r#""issuer":"https://x.example""#),
            ("magic-link", r#""issuer":"https://x.example""#),
            ("x", r#""kind":"oidc""#),
            ("x", r#""issuer":"https://x.example","secret":"s""#),
        ] {
            let json = format!(r#"[{{"id":"{id}","name":"X","clientId":"c",{rest}}}]"#);
            assert!(providers(&json).is_err(), "{json}");
        }
        for domain in ["", "Example.com", "@example.com"] {
            let json = format!(
                r#"[{{"id":"x","name":"X","issuer":"https://x.example","clientId":"c","domains":["{domain}"]}}]"#
            );
            assert!(providers(&json).is_err(), "{json}");
        }
        let twin = r#"{"id":"x","name":"X","kind":"github","clientId":"c"}"#;
        assert!(providers(&format!("[{twin},{twin}]")).is_err());
    }

    #[test]
    fn a_providers_word_on_an_address_counts_as_far_as_it_is_trusted() {
        let of = |rest: &str| {
            let json = format!(r#"[{{"id":"x","name":"X","clientId":"c",{rest}}}]"#);
            providers(&json).unwrap().remove(0)
        };
        let word = |rest: &str| {
            let provider = of(rest);
            (
                provider.vouches_for("ann@corp.example"),
                provider.vouches_for("ann@corp.example.evil.example"),
            )
        };
        let own = r#""issuer":"https://login.corp.example""#;
        for (rest, expected) in [
            (
                r#""issuer":"https://accounts.google.com""#.to_owned(),
                (true, true),
            ),
            (r#""kind":"github""#.to_owned(), (true, true)),
            (
                r#""kind":"github","issuer":"https://git.corp.example""#.to_owned(),
                (false, false),
            ),
            (
                r#""kind":"github","apiUrl":"https://git.corp.example/api/v3""#.to_owned(),
                (false, false),
            ),
            (own.to_owned(), (false, false)),
            (
                r#""issuer":"https://accounts.google.com.evil.example""#.to_owned(),
                (false, false),
            ),
            (format!(r#"{own},"trustsEmail":true"#), (true, true)),
            (format!(r#"{own},"domains":["corp.example"]"#), (true, false)),
            (
                format!(r#"{own},"trustsEmail":true,"domains":["corp.example"]"#),
                (true, false),
            ),
            (
                format!(r#"{own},"trustsEmail":false,"domains":["corp.example"]"#),
                (false, false),
            ),
            (
                r#""kind":"github","trustsEmail":false"#.to_owned(),
                (false, false),
            ),
        ] {
            assert_eq!(word(&rest), expected, "{rest}");
        }
        let config = |rest: &str| Config {
            providers: vec![of(rest)],
            ..Config::default()
        };
        assert!(config(r#""kind":"github""#).proves_operators("x"));
        assert!(!config(&format!(r#"{own},"trustsEmail":true"#)).proves_operators("x"));
        assert!(config(&format!(r#"{own},"operators":true"#)).proves_operators("x"));
        assert!(Config::default().proves_operators("email") && !Config::default().proves_operators("x"));
    }
}
