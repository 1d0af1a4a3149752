//! What a function holds while it lives: its configuration and the clients it uses, and only those.

use std::sync::Arc;

use secrecy::SecretString;

use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::context::Context;
use crate::domain::audit::refusal::Seen;
use crate::domain::auth::api_keys::Uses;
use crate::domain::auth::tokens::Tokens;
use crate::error::{Error, Result};
use crate::ports::mail::{Mailer, Ses};
use crate::ports::oidc::Oidc;
use crate::ports::queue::{Queue, Sqs};
use crate::ports::secrets::{CachedSecrets, Secrets, SecretsManager};
use crate::ports::stripe::{Stripe, StripeApi};
use crate::ports::vault::Vault;
use crate::ports::web;
use crate::ports::workflow::{StepFunctions, Workflow};
use crate::store::limits::Limits;
use crate::store::{Db, Tx};

/// How often a call to AWS is sent before it counts as failed. With one answer in ten lost, three times would let one
/// request in a thousand fail, five one in a hundred thousand.
pub const ATTEMPTS: u32 = 5;

/// Cheap to clone; handlers get it as their state.
#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    config: Config,
    clock: Arc<dyn Clock>,
    db: Db,
    secrets: Option<Arc<CachedSecrets>>,
    stripe: Option<Arc<dyn Stripe>>,
    tokens: Tokens,
    limits: Limits,
    key_uses: Uses,
    refusals: Seen,
    queue: Option<Arc<dyn Queue>>,
    mail: Option<Arc<dyn Mailer>>,
    workflow: Option<Arc<dyn Workflow>>,
    web: Option<reqwest::Client>,
    oidc: Option<Oidc>,
}

/// Puts an `App` together.
pub struct Builder {
    config: Config,
    clock: Arc<dyn Clock>,
    db: Db,
    secrets: Option<Arc<dyn Secrets>>,
    queue: Option<Arc<dyn Queue>>,
    mail: Option<Arc<dyn Mailer>>,
    workflow: Option<Arc<dyn Workflow>>,
    web: Option<reqwest::Client>,
    stripe: Option<Arc<dyn Stripe>>,
}

impl Builder {
    /// With the table alone.
    pub fn new(config: Config, db: Db, clock: Arc<dyn Clock>) -> Self {
        Self {
            config,
            clock,
            db,
            secrets: None,
            queue: None,
            mail: None,
            workflow: None,
            web: None,
            stripe: None,
        }
    }

    /// Also with secrets.
    pub fn secrets(mut self, secrets: Arc<dyn Secrets>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Also with queues.
    pub fn queue(mut self, queue: Arc<dyn Queue>) -> Self {
        self.queue = Some(queue);
        self
    }

    /// Also with mail.
    pub fn mail(mut self, mail: Arc<dyn Mailer>) -> Self {
        self.mail = Some(mail);
        self
    }

    /// Also with workflows.
    pub fn workflow(mut self, workflow: Arc<dyn Workflow>) -> Self {
        self.workflow = Some(workflow);
        self
    }

    /// Also with an HTTP client for providers.
    pub fn web(mut self, web: reqwest::Client) -> Self {
        self.web = Some(web);
        self
    }

    /// Also with this as Stripe, instead of the one that the settings, secrets and HTTP client lead to.
    pub fn stripe(mut self, stripe: Arc<dyn Stripe>) -> Self {
        self.stripe = Some(stripe);
        self
    }

    /// The app.
    pub fn build(self) -> App {
        let secrets = self
            .secrets
            .map(|s| Arc::new(CachedSecrets::new(s, Arc::clone(&self.clock))));
        let api = |web: &reqwest::Client, secret: &String, secrets: &Arc<CachedSecrets>| -> Arc<dyn Stripe> {
            let base = self.config.stripe_api_url.as_deref();
            Arc::new(StripeApi::new(web.clone(), base, secret, Arc::clone(secrets)))
        };
        let stripe = self.stripe.or_else(|| {
            Some(api(
                self.web.as_ref()?,
                self.config.stripe_secret.as_ref()?,
                secrets.as_ref()?,
            ))
        });
        let tokens = Tokens::new(&self.config);
        App(Arc::new(Parts {
            config: self.config,
            clock: self.clock,
            db: self.db,
            secrets,
            stripe,
            tokens,
            limits: Limits::default(),
            key_uses: Uses::default(),
            refusals: Seen::default(),
            queue: self.queue,
            mail: self.mail,
            workflow: self.workflow,
            oidc: self.web.clone().map(Oidc::new),
            web: self.web,
        }))
    }
}

/// A deployed function's environment: the AWS configuration that its clients are made from. Each function names the
/// clients it wants, so that the others are not even linked into it.
pub struct Environment {
    sdk: aws_config::SdkConfig,
    builder: Builder,
}

impl Environment {
    /// Reads the environment.
    ///
    /// # Errors
    /// `Internal` when the environment lacks something.
    pub async fn load() -> Result<Self> {
        let config = Config::from_env()?;
        let timeouts = aws_config::timeout::TimeoutConfig::builder()
            .connect_timeout(std::time::Duration::from_secs(2))
            .operation_attempt_timeout(std::time::Duration::from_secs(4))
            .operation_timeout(std::time::Duration::from_secs(10))
            .build();
        let sdk = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .timeout_config(timeouts)
            .retry_config(aws_config::retry::RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .load()
            .await;
        let db = Db::new(aws_sdk_dynamodb::Client::new(&sdk), &config.table);
        Ok(Self {
            builder: Builder::new(config, db, Arc::new(SystemClock)),
            sdk,
        })
    }

    /// With Secrets Manager.
    pub fn secrets(mut self) -> Self {
        let client = aws_sdk_secretsmanager::Client::new(&self.sdk);
        self.builder = self.builder.secrets(Arc::new(SecretsManager::new(client)));
        self
    }

    /// With SQS.
    pub fn queue(mut self) -> Self {
        let client = aws_sdk_sqs::Client::new(&self.sdk);
        self.builder = self.builder.queue(Arc::new(Sqs::new(client)));
        self
    }

    /// With SES.
    pub fn mail(mut self) -> Self {
        let client = aws_sdk_sesv2::Client::new(&self.sdk);
        self.builder = self.builder.mail(Arc::new(Ses::new(client)));
        self
    }

    /// With Step Functions.
    pub fn workflow(mut self) -> Self {
        let client = aws_sdk_sfn::Client::new(&self.sdk);
        self.builder = self.builder.workflow(Arc::new(StepFunctions::new(client)));
        self
    }

    /// With an HTTP client for providers.
    ///
    /// # Errors
    /// `Internal` when the TLS stack cannot be set up.
    pub fn web(mut self) -> Result<Self> {
        self.builder = self.builder.web(web::client()?);
        Ok(self)
    }

    /// The app, with the connection to the table warmed by reading what the first request needs first, the keys of
    /// access tokens: it then pays neither a TLS handshake nor that read.
    pub async fn ready(self) -> App {
        let app = self.builder.build();
        if let Err(error) = app.tokens().warm(app.db(), app.clock().now()).await {
            tracing::warn!(error = %error, "the table did not answer at start");
        }
        app
    }
}

impl App {
    /// The deployment's settings.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        self.0.clock.as_ref()
    }

    /// The table.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Signs and checks access tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.0.tokens
    }

    /// Rate limits.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// When API keys were used last.
    pub fn key_uses(&self) -> &Uses {
        &self.0.key_uses
    }

    /// Refusals that are on record.
    pub fn refusals(&self) -> &Seen {
        &self.0.refusals
    }

    /// A transaction caused by `cause`.
    pub fn tx<'a>(&'a self, cause: &'a Context) -> Tx<'a> {
        Tx::new(self.db(), self.clock(), cause)
    }

    /// A secret.
    pub async fn secret(&self, id: &str) -> Result<SecretString> {
        self.secrets()?.get(id).await
    }

    /// The secrets' cache.
    pub fn secrets(&self) -> Result<&CachedSecrets> {
        self.0
            .secrets
            .as_deref()
            .ok_or_else(|| Error::internal("this function was built without secrets"))
    }

    /// What is stored sealed.
    ///
    /// # Errors
    /// `Internal` when this function may not read the vault's keys.
    pub fn vault(&self) -> Result<Vault<'_>> {
        Vault::new(self.secrets()?, &self.config().vault_secret)
    }

    /// The queues.
    pub fn queue(&self) -> Result<&dyn Queue> {
        self.0
            .queue
            .as_deref()
            .ok_or_else(|| Error::internal("this function was built without queues"))
    }

    /// Mail.
    pub fn mail(&self) -> Result<&dyn Mailer> {
        self.0
            .mail
            .as_deref()
            .ok_or_else(|| Error::internal("this function was built without mail"))
    }

    /// Stripe.
    pub fn stripe(&self) -> Result<&dyn Stripe> {
        self.0
            .stripe
            .as_deref()
            .ok_or_else(|| Error::internal("this function was built without Stripe"))
    }

    /// Workflows.
    pub fn workflow(&self) -> Result<&dyn Workflow> {
        self.0
            .workflow
            .as_deref()
            .ok_or_else(|| Error::internal("this function was built without workflows"))
    }

    /// The identity providers.
    pub fn oidc(&self) -> Result<&Oidc> {
        self.0
            .oidc
            .as_ref()
            .ok_or_else(|| Error::internal("this function was built without an HTTP client"))
    }

    /// The HTTP client.
    pub fn web(&self) -> Result<&reqwest::Client> {
        self.0
            .web
            .as_ref()
            .ok_or_else(|| Error::internal("this function was built without an HTTP client"))
    }
}
