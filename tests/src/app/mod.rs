//! `TestApp`: Camarad in the test's own process over the real local services. Requests are API Gateway REST events
//! that go through the same edge, routers and domain as in Lambda; the table, queues and secrets are MiniStack's.
//!
//! ```ignore
//! #[tokio::test]
//! async fn a_member_cannot_create_agents() {
//!     let t = TestApp::new().await;                 // a table, queue and secrets of its own
//!     let ann = t.sign_up("ann@example.com", Plan::Business).await;
//!     let ws = ann.post("/api/workspaces", json!({"name": "Home", "type": "personal"})).await.json(201);
//!     let before = t.snapshot().await;
//!     ann.post("/api/workspaces/nope/agents", json!({})).await.assert_problem(404, "not_found");
//!     assert_eq!(before, t.snapshot().await);       // no items, no audit, no events
//! }
//! ```

mod client;
pub mod event;
mod fixtures;
pub mod machine;
mod mails;
mod queues;
pub mod routers;
pub mod stack;
pub mod template;
pub mod trial;

use std::sync::Arc;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use camarad::app::{App, Builder};
use camarad::cbt_price::CbtPrice;
use camarad::clock::{Clock, ManualClock, SystemClock};
use camarad::config::{Config, ProviderConfig};
use camarad::http::edge;
use camarad::ports::mail::Ses;
use camarad::ports::queue::Sqs;
use camarad::ports::secrets::SecretsManager;
use camarad::store::Db;

pub use client::{Answer, Client};
pub use machine::Executions;
pub use mails::MAIL_FROM;

use crate::engine;
use crate::faults::Faults;
use crate::peers::ai::AiPeer;

/// Where the API of a test is said to be; also the issuer of its access tokens.
pub const PUBLIC_URL: &str = "https://api.camarad.test";
/// The frontend's origin in tests.
pub const ORIGIN: &str = "https://app.camarad.test";
/// What Stripe's webhooks are signed with in tests.
pub const WEBHOOK_SECRET: &str = "whsec_camarad_tests";
/// An operator's address in tests.
pub const OPERATOR: &str = "operator@camarad.test";

/// The state machine of onboarding in tests.
pub const MACHINE: &str = "arn:aws:states:eu-central-1:000000000000:stateMachine:onboarding";

/// Where the account of a test keeps everything.
pub const REGION: &str = "eu-central-1";

/// What a test starts besides the table.
#[derive(Default)]
pub struct Setup {
    /// An AI provider.
    pub ai: Option<AiPeer>,
    /// Identity providers.
    pub providers: Vec<ProviderConfig>,
    /// Another engine's table instead of MiniStack's.
    pub db: Option<Db>,
    /// A table in this process, with these faults between it and the functions.
    pub faults: Option<Faults>,
    /// Their client secrets: a JSON object by provider id.
    pub provider_secrets: serde_json::Value,
    /// Whom mail comes from; without it there is none.
    pub mail_from: Option<String>,
    /// Where Stripe is.
    pub stripe: Option<String>,
    /// A clock that stands still until it is moved.
    pub still: bool,
}

/// One deployment of Camarad, for one test.
pub struct TestApp {
    /// What the functions hold.
    pub app: App,
    /// The clock that everything in it reads; it starts at the real time and goes on by a millisecond whenever it is read.
    pub clock: Arc<ManualClock>,
    /// The AI provider, if one was asked for.
    pub ai: Option<AiPeer>,
    /// The AWS account, which is also the access key of its owner.
    pub account: String,
    /// The executions of state machines.
    pub executions: Arc<Executions>,
    /// DynamoDB's client in this test's account.
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// SQS's client in this test's account.
    pub sqs: aws_sdk_sqs::Client,
    secrets: aws_sdk_secretsmanager::Client,
    ses: aws_sdk_sesv2::Client,
    service: Router,
}

macro_rules! client {
    ($service:ident, $account:expr) => {
        $service::Client::from_conf(
            $service::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(REGION))
                .endpoint_url(&stack::stack().endpoint)
                .credentials_provider(Credentials::new($account, "secret", None, None, "tests"))
                .build(),
        )
    };
}

impl TestApp {
    /// With the table, queue and secrets alone.
    pub async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    /// Over a table that can be told to fail; `dynamodb` meets none of it.
    pub async fn over(faults: &Faults) -> Self {
        Self::with(Setup {
            faults: Some(faults.clone()),
            ..Setup::default()
        })
        .await
    }

    /// With an AI provider.
    pub async fn with_ai() -> Self {
        let ai = AiPeer::start().await.expect("the AI peer starts");
        Self::with(Setup {
            ai: Some(ai),
            ..Setup::default()
        })
        .await
    }

    /// With whatever `setup` names.
    pub async fn with(setup: Setup) -> Self {
        let account = stack::fresh_account();
        let dynamodb = client!(aws_sdk_dynamodb, &account);
        let sqs = client!(aws_sdk_sqs, &account);
        let secrets = client!(aws_sdk_secretsmanager, &account);
        template::create_table(&dynamodb, "camarad", true).await;
        let queue = sqs
            .create_queue()
            .queue_name("metering")
            .send()
            .await
            .expect("the queue is created");
        let mail_queue = sqs.create_queue().queue_name("mail").send().await;
        let mail_queue = mail_queue.expect("the mail queue is created");
        let ses = client!(aws_sdk_sesv2, &account);
        let mail_from = setup.mail_from.clone();
        let audit_queue = sqs
            .create_queue()
            .queue_name("audit.fifo")
            .attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true")
            .send()
            .await
            .expect("the FIFO queue is created");
        let billing_queue = sqs
            .create_queue()
            .queue_name("billing.fifo")
            .attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true")
            .send()
            .await
            .expect("the FIFO queue is created");
        put_secrets(&secrets, &setup).await;

        let config = Config {
            stage: "test".into(),
            table: "camarad".into(),
            public_url: PUBLIC_URL.into(),
            frontend_origins: vec![ORIGIN.into()],
            operators: vec![OPERATOR.into()],
            providers: setup.providers,
            signing_keys_secret: Some("signing-keys".into()),
            signing_key_days: 0,
            vault_secret: Some("vault".into()),
            auth_secrets_secret: Some("auth-secrets".into()),
            ai_providers_secret: Some("ai-providers".into()),
            metering_queue_url: queue.queue_url,
            mail_queue_url: mail_queue.queue_url,
            mail_from: setup.mail_from,
            onboarding_machine: Some(MACHINE.into()),
            audit_queue_url: audit_queue.queue_url,
            audit_key_secret: Some("audit-key".into()),
            stripe_api_url: setup.stripe,
            stripe_secret: Some("stripe".into()),
            billing_queue_url: billing_queue.queue_url,
            cbt_price: CbtPrice::default(),
        };
        let clock = Arc::new(match setup.still {
            true => ManualClock::at(SystemClock.now()),
            false => ManualClock::ticking(SystemClock.now()),
        });
        let (db, dynamodb) = match (setup.faults, setup.db) {
            (Some(faults), _) => engine::faulty_and_raw(&faults).await,
            (None, Some(db)) => (db, dynamodb),
            (None, None) => (Db::new(dynamodb.clone(), "camarad"), dynamodb),
        };
        let executions = Arc::new(Executions::default());
        let app = assemble(config, db, (&clock, &executions), (&secrets, &sqs, &ses));
        executions.live_in(&app);
        let service = serve(&app);
        let test = Self {
            app,
            clock,
            ai: setup.ai,
            account,
            executions,
            dynamodb,
            sqs,
            secrets,
            ses,
            service,
        };
        if let Some(from) = mail_from {
            test.know_sender(&from).await;
        }
        test
    }

    /// Secrets Manager's client in this test's account.
    pub fn secrets(&self) -> &aws_sdk_secretsmanager::Client {
        &self.secrets
    }

    /// Our key at Stripe from now on.
    ///
    /// # Panics
    /// When the secret is not there.
    pub async fn stripe_key(&self, key: &str) {
        let keys = serde_json::json!({"secretKey": key, "webhookSecrets": [WEBHOOK_SECRET]});
        let put = self.secrets.put_secret_value().secret_id("stripe");
        put.secret_string(keys.to_string())
            .send()
            .await
            .expect("replaced");
    }

    /// Another instance of the functions: with a memory of its own, over the same table, clock and secrets.
    pub fn instance(&self) -> App {
        self.instance_with(self.app.config().clone())
    }

    /// The same with another configuration.
    pub fn instance_with(&self, config: Config) -> App {
        let db = self.app.db().clone();
        let here = (&self.clock, &self.executions);
        assemble(config, db, here, (&self.secrets, &self.sqs, &self.ses))
    }

    /// The API as another instance of the functions serves it.
    pub fn another_service(&self) -> Router {
        serve(&self.instance())
    }

    /// The API as a service of plain HTTP.
    pub fn service(&self) -> Router {
        self.service.clone()
    }

    /// Somebody who has not signed in, before whom the firewall's limit per address stands.
    pub fn outside(&self) -> Client {
        let service = crate::gateway::in_front_of(self.service.clone(), self.clock.clone());
        Client::new(service, None)
    }

    /// Somebody who has not signed in.
    pub fn anonymous(&self) -> Client {
        Client::new(self.service.clone(), None)
    }

    /// The AI provider.
    pub fn ai(&self) -> &AiPeer {
        self.ai.as_ref().expect("TestApp::with_ai")
    }

    /// Every item of the table but rate counters, as text: two snapshots are equal when nothing was changed.
    pub async fn snapshot(&self) -> Vec<String> {
        let items = engine::items(&self.dynamodb).await.into_iter();
        let mut items: Vec<_> = items
            .filter(|item| !item["PK"].as_s().expect("a key").starts_with("RATE#"))
            .map(|item| canonical(&AttributeValue::M(item)))
            .collect();
        items.sort();
        items
    }
}

fn assemble(
    config: Config,
    db: Db,
    (clock, executions): (&Arc<ManualClock>, &Arc<Executions>),
    (secrets, sqs, ses): (
        &aws_sdk_secretsmanager::Client,
        &aws_sdk_sqs::Client,
        &aws_sdk_sesv2::Client,
    ),
) -> App {
    Builder::new(config, db, clock.clone())
        .secrets(Arc::new(SecretsManager::new(secrets.clone())))
        .queue(Arc::new(Sqs::new(sqs.clone())))
        .mail(Arc::new(Ses::new(ses.clone())))
        .workflow(executions.clone())
        .web(camarad::ports::web::client().expect("an HTTP client"))
        .build()
}

/// All routes behind the edge.
/// The API as this instance serves it.
pub fn serve(app: &App) -> Router {
    edge::service(routers::all(), app.clone(), edge::STREAMING)
}

/// A value as text with the keys of its maps in order: those of `HashMap` come in any.
fn canonical(value: &AttributeValue) -> String {
    match value {
        AttributeValue::M(map) => {
            let mut parts: Vec<_> = map
                .iter()
                .map(|(name, v)| format!("{name:?}: {}", canonical(v)))
                .collect();
            parts.sort();
            format!("{{{}}}", parts.join(", "))
        }
        AttributeValue::L(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(", ")),
        other => format!("{other:?}"),
    }
}

async fn put_secrets(secrets: &aws_sdk_secretsmanager::Client, setup: &Setup) {
    let base = setup
        .ai
        .as_ref()
        .map_or_else(|| "http://127.0.0.1:9".to_owned(), AiPeer::base_url);
    let all = [
        (
            "signing-keys",
            serde_json::json!({"version": 1, "seed": "a seed of tests, which is long enough to be taken as one"}),
        ),
        (
            "vault",
            serde_json::json!({"version": 1, "seed": "a seed of tests for the vault, long enough to be taken as one"}),
        ),
        ("auth-secrets", setup.provider_secrets.clone()),
        (
            "stripe",
            serde_json::json!({"secretKey": "sk_test_nobody", "webhookSecrets": [WEBHOOK_SECRET]}),
        ),
        (
            "audit-key",
            serde_json::json!({"version": 1, "seed": "another seed of tests, which is long enough to be taken as one"}),
        ),
        (
            "ai-providers",
            serde_json::json!({
                "openai": {"baseUrl": format!("{base}/v1"), "apiKey": "local", "firstByteMs": 6000, "gapMs": 6000},
                "anthropic": {"baseUrl": base, "apiKey": "local", "firstByteMs": 6000, "gapMs": 6000},
            }),
        ),
    ];
    for (name, value) in all {
        secrets
            .create_secret()
            .name(name)
            .secret_string(value.to_string())
            .send()
            .await
            .expect("the secret is created");
    }
}
