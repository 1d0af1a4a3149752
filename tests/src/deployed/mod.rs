//! `Deployed`: template.yaml in MiniStack, IAM enforced. The functions are processes of their own under their own roles,
//! behind API Gateway, the queue, the stream and the schedule; the identity and AI providers are the local peers.
//!
//! The first test that asks starts it for all tests of the process, so each works with people and workspaces of its own:
//!
//! ```ignore
//! let d = deployed::shared().await;
//! let ann = d.sign_in("ann").await;                     // through the OpenID provider
//! let workspace = ann.post("/api/workspaces", json!({"name": "Home", "type": "personal"})).await.json(201);
//! ```

pub mod binaries;
mod iam;
pub mod lambda;
mod signin;
mod till;
pub mod wire;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use camarad::app::{App, Builder};
use camarad::clock::{Clock, Stopwatch};
use camarad::config::Config;
use camarad::store::Db;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::app::stack::{self, Stack, repository, tool};
use crate::app::{MAIL_FROM, OPERATOR, ORIGIN, PUBLIC_URL};
use crate::peers::ai::AiPeer;
use crate::peers::oidc::OidcPeer;
use crate::peers::stripe::{StripeAccount, StripePeer};
use crate::visitor::{Visitor, http};

use self::wire::Wire;

/// The provider's id in paths.
pub const PROVIDER: &str = "peer";
/// Stream and queue are looked into every second or so, and another test may be compiling.
const PATIENCE: Duration = Duration::from_secs(30);
const STACK: &str = "camarad-tests";

static DEPLOYED: OnceLock<Result<Deployed, String>> = OnceLock::new();
/// Held for writing by a test that changes what all the others stand on.
static CALM: RwLock<()> = RwLock::const_new(());

/// A client of the deployed stack's account.
macro_rules! client {
    ($service:ident, $deployed:expr) => {
        $service::Client::from_conf(
            $service::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new($deployed.output("Region").to_owned()))
                .endpoint_url($deployed.endpoint())
                .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
                .build(),
        )
    };
}

/// The deployed stack, with the peers around it.
pub struct Deployed {
    /// The AI provider.
    pub ai: AiPeer,
    /// The identity provider, whose only client this is.
    pub oidc: Arc<OidcPeer>,
    /// The wire between the tasks of onboarding and AWS.
    wire: OnceLock<Arc<Wire>>,
    stripe: StripeAccount,
    _stripe: StripePeer,
    outputs: BTreeMap<String, String>,
    /// Where the peers live; a test's own runtime ends with the test.
    runtime: Handle,
    stack: Stack,
}

/// The deployed stack, undisturbed.
pub async fn shared() -> Held<RwLockReadGuard<'static, ()>> {
    Held(deployed(), CALM.read().await)
}

/// The deployed stack for one test alone, which leaves it as it was.
pub async fn alone() -> Held<RwLockWriteGuard<'static, ()>> {
    Held(deployed(), CALM.write().await)
}

/// The deployed stack, for as long as a test holds this.
pub struct Held<G>(
    &'static Deployed,
    #[allow(unused, reason = "held for its drop")] G,
);

impl<G> Deref for Held<G> {
    type Target = Deployed;
    fn deref(&self) -> &Deployed {
        self.0
    }
}

fn deployed() -> &'static Deployed {
    let started = DEPLOYED.get_or_init(|| {
        let (tell, told) = mpsc::channel();
        let home = std::thread::spawn(move || live(&tell));
        told.recv().map_err(|_| reason(home.join()))
    });
    started.as_ref().unwrap_or_else(|why| panic!("{why}"))
}

/// Why a thread has panicked.
fn reason(end: std::thread::Result<()>) -> String {
    let Err(panic) = end else { return "it ended".into() };
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "the deployed stack does not start".into())
}

/// The thread that the peers live on, for as long as the process.
fn live(tell: &mpsc::Sender<Deployed>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let _ = tell.send(start().await);
        std::future::pending::<()>().await;
    });
}

/// A line for the person who waits. The test harness would keep what is printed by the usual macros to itself.
pub fn progress(text: &str) {
    let _ = writeln!(std::io::stderr(), "     {text}");
}

async fn start() -> Deployed {
    binaries::check();
    let watch = Stopwatch::start();
    // Between its tries a state machine waits for seconds; here, for a fiftieth of them.
    let stack = stack::launch("deployed", &[("AUTH", "true"), ("SFN_WAIT_SCALE", "0.02")]);
    let callback = format!("{PUBLIC_URL}/api/auth/{PROVIDER}/callback");
    let oidc = OidcPeer::start(&[&callback]).await.expect("the OIDC peer starts");
    let ai = AiPeer::start().await.expect("the AI peer starts");
    progress("deploying template.yaml into the local services …");
    let stripe = StripePeer::start().await.expect("the Stripe peer starts");
    let outputs = deploy(&stack.endpoint, &oidc, &stripe);
    let deployed = Deployed {
        ai,
        oidc: Arc::new(oidc),
        wire: OnceLock::new(),
        stripe: stripe.account().expect("an account at Stripe"),
        _stripe: stripe,
        outputs,
        runtime: Handle::current(),
        stack,
    };
    deployed.put_secrets().await;
    deployed.furnish_stripe().await;
    let wire = deployed.wire("onboarding-tasks").await;
    deployed.wire.set(wire).expect("the first one");
    let (took, log) = (watch.elapsed().as_secs_f32(), deployed.log());
    progress(&format!("deployed in {took:.1} s; the functions print to {log}"));
    deployed
}

/// Where this test process deploys from.
fn folder() -> PathBuf {
    repository().join("target/test-deployed")
}

/// Runs infra/local/deploy.py and gives the outputs. Its folder stays, so that a binary which has not changed need not
/// be stripped and packed again; a lock keeps other test processes out of it.
fn deploy(endpoint: &str, oidc: &OidcPeer, stripe: &StripePeer) -> BTreeMap<String, String> {
    let folder = folder();
    std::fs::create_dir_all(&folder).expect("a folder for the deployment");
    let lock = std::fs::File::create(folder.join("lock")).expect("a lock file");
    lock.lock().expect("a lock");
    let provider = json!([{
        "id": PROVIDER, "name": "Peer", "kind": "oidc", "issuer": oidc.issuer, "clientId": oidc.client_id,
        "trustsEmail": true, "operators": true,
    }]);
    let tools = tool("sam").parent().map(PathBuf::from).unwrap_or_default();
    let path = std::env::var("PATH").unwrap_or_default();
    let done = Command::new("python3")
        .arg(repository().join("infra/local/deploy.py"))
        .args(["--endpoint", endpoint, "--mode", "native", "--stack", STACK])
        .arg("--bin-dir")
        .arg(binaries::folder())
        .arg("--dir")
        .arg(&folder)
        .arg(format!("PublicUrl={PUBLIC_URL}"))
        .arg(format!("FrontendOrigins={ORIGIN}"))
        .arg(format!("MailFrom={MAIL_FROM}"))
        .arg(format!("PlatformOperators={OPERATOR}"))
        .arg(format!("AuthProviders={provider}"))
        .arg(format!("StripeApiUrl={}", stripe.base))
        .env("PATH", format!("{}:{path}", tools.display()))
        .output()
        .expect("python3 starts");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "template.yaml could not be deployed: {said}"
    );
    let outputs = std::fs::read_to_string(folder.join("outputs.json")).expect("outputs");
    serde_json::from_str(&outputs).expect("outputs are names and values")
}

impl Deployed {
    /// One of the outputs of template.yaml, or of those that deploy.py adds.
    pub fn output(&self, name: &str) -> &str {
        self.outputs
            .get(name)
            .unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    /// All of them in a file, for the scripts of operators.
    pub fn outputs_file(&self) -> PathBuf {
        let path = folder().join(format!("outputs-{}.json", std::process::id()));
        let text = serde_json::to_string(&self.outputs).expect("names and values");
        std::fs::write(&path, text).expect("the file is written");
        path
    }

    /// The local services' address.
    pub fn endpoint(&self) -> &str {
        self.output("Endpoint")
    }

    /// The wire between the tasks of onboarding and AWS.
    pub fn tasks_wire(&self) -> &Wire {
        self.wire.get().expect("a wire")
    }

    /// Where to read what the functions print.
    pub fn log(&self) -> std::path::Display<'_> {
        self.stack.log.display()
    }

    /// A function's name, by that of its folder.
    pub fn function(&self, folder: &str) -> String {
        format!("{STACK}-{folder}")
    }

    /// Where a function's configuration is read and set, and what it is now.
    async fn configuration(&self, folder: &str) -> (String, Value) {
        let function = self.function(folder);
        let url = format!(
            "{}/2015-03-31/functions/{function}/configuration",
            self.endpoint()
        );
        let request = http().get(&url).header("authorization", signed("lambda"));
        let answer = request.send().await.expect("Lambda answers");
        (url, answer.json().await.expect("JSON"))
    }

    /// Somebody at the deployed API who has not signed in.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.output("DeployedUrl"))
    }

    /// What the functions hold, here with the rights of the account's owner, and with a clock of the test's own.
    pub fn app(&self, clock: Arc<dyn Clock>) -> App {
        let config = Config {
            table: self.output("TableName").to_owned(),
            public_url: PUBLIC_URL.to_owned(),
            ..Config::default()
        };
        let db = Db::new(client!(aws_sdk_dynamodb, self), &config.table);
        Builder::new(config, db, clock).build()
    }

    /// Every item of the table.
    pub async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let scan = client!(aws_sdk_dynamodb, self).scan();
        let scan = scan.table_name(self.output("TableName")).consistent_read(true);
        let items: Result<_, _> = scan.into_paginator().items().send().collect().await;
        items.expect("the table answers")
    }

    /// What happened in an execution of the onboarding machine, oldest first.
    pub async fn history(&self, execution: &str) -> Vec<Value> {
        let machine = self
            .output("OnboardingMachine")
            .replace(":stateMachine:", ":execution:");
        let order = json!({"executionArn": format!("{machine}:{execution}"), "maxResults": 1_000});
        let request = http()
            .post(self.endpoint())
            .header("x-amz-target", "AWSStepFunctions.GetExecutionHistory")
            .header("content-type", "application/x-amz-json-1.0")
            .header("authorization", signed("states"));
        let answer = request
            .body(order.to_string())
            .send()
            .await
            .expect("Step Functions answers");
        let history: Value = answer.json().await.expect("JSON");
        history["events"]
            .as_array()
            .unwrap_or_else(|| panic!("no history: {history}"))
            .clone()
    }

    /// SQS as the account's owner.
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        client!(aws_sdk_sqs, self)
    }

    /// What an operator fills in by hand after a first deployment.
    async fn put_secrets(&self) {
        let base = self.ai.base_url();
        let ai = json!({
            "openai": {"baseUrl": format!("{base}/v1"), "apiKey": "local"},
            "anthropic": {"baseUrl": base, "apiKey": "local"},
        });
        let auth = json!({PROVIDER: self.oidc.client_secret});
        for (secret, value) in [("AiProvidersSecret", ai), ("AuthSecretsSecret", auth)] {
            self.put_secret(self.output(secret), &value).await;
        }
    }

    /// The mails that SES was handed for this address.
    pub async fn mails_to(&self, address: &str) -> Vec<Value> {
        let url = format!("{}/_ministack/ses/messages", self.endpoint());
        let answer = http().get(url).send().await.expect("SES answers");
        let all: Value = answer.json().await.expect("JSON");
        let accounts = all["messages"].as_object().into_iter().flatten();
        let mails = accounts.flat_map(|(_, mails)| mails.as_array().cloned().unwrap_or_default());
        mails.filter(|mail| mail["To"] == json!([address])).collect()
    }

    async fn put_secret(&self, secret: &str, value: &Value) {
        let client = client!(aws_sdk_secretsmanager, self);
        let put = client
            .put_secret_value()
            .secret_id(secret)
            .secret_string(value.to_string());
        put.send().await.expect("the secret is stored");
    }
}

/// Tries again until there is something, for as long as queue, stream and schedule may take.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = attempt().await {
            return found;
        }
        assert!(
            watch.elapsed() < PATIENCE,
            "after {PATIENCE:?} there is still no {what}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The header of a signed request by the account's owner, for services that no SDK is here for. The local services read
/// the access key out of it, and do not check the signature of this one.
fn signed(service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}
