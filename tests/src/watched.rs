//! `Watched`: the functions as a developer runs them, in `cargo lambda watch`, over the table, queue and secrets of a
//! `TestApp`. It is slow to start and answers one event after the other, so only what needs real HTTP is tried with it.

use std::process::Child;
use std::time::Duration;

use camarad::clock::Stopwatch;

use crate::app::stack::{self, free_port, repository, tethered, tool};
use crate::app::{REGION, TestApp};
use crate::deployed::{binaries, progress};
use crate::visitor::{Visitor, http};

/// A function is compiled at its first call, if it is not yet, and others may be compiling too.
const PATIENCE: Duration = Duration::from_secs(300);

/// The running `cargo lambda watch`.
pub struct Watched {
    base: String,
    log: std::path::PathBuf,
    _child: Child, // its standard input is the tether
}

impl Watched {
    /// Starts it on a free port. The build folder is free by now: cargo gives it up before it runs a test.
    pub fn start(t: &TestApp) -> Self {
        binaries::check();
        let port = free_port();
        let folder = repository().join(format!("target/test-stack/watch-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder for the functions' log");
        let log = folder.join("watch.log");
        let target = binaries::folder()
            .parent()
            .expect("target/debug lies in target")
            .to_owned();
        let child = tethered(&folder.join("tmp"), &tool("cargo-lambda"), &log)
            .args(["lambda", "watch", "-A", "127.0.0.1", "-P", &port.to_string()])
            // Without reloading, and with CORS answered by the function as in the cloud.
            .args(["--ignore-changes", "--disable-cors", "--color", "never"])
            .env("CARGO_TARGET_DIR", target)
            .envs(environment(t))
            .current_dir(repository())
            .spawn()
            .expect("python3 starts");
        Self {
            base: format!("http://127.0.0.1:{port}"),
            log,
            _child: child,
        }
    }

    /// Somebody who has not signed in.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(&self.base)
    }

    /// Waits until the function behind a public path is built, and answers.
    pub async fn await_function(&self, path: &str) {
        let watch = Stopwatch::start();
        let mut told = 0;
        loop {
            let answer = http().get(format!("{}{path}", self.base)).send().await;
            if answer.is_ok_and(|a| a.status() != 502 && a.status() != 503) {
                return;
            }
            assert!(
                watch.elapsed() < PATIENCE,
                "{path} does not answer: see {}",
                self.log.display()
            );
            if watch.elapsed().as_secs() >= told + 5 {
                told = watch.elapsed().as_secs();
                progress(&format!(
                    "cargo lambda watch builds the function of {path} ({told} s) …"
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What template.yaml gives to functions. There is one environment for all of them.
fn environment(t: &TestApp) -> Vec<(&'static str, String)> {
    let config = t.app.config();
    let set = |value: &Option<String>| value.clone().expect("TestApp sets it");
    vec![
        ("STAGE", config.stage.clone()),
        ("TABLE_NAME", config.table.clone()),
        ("PUBLIC_URL", config.public_url.clone()),
        ("FRONTEND_ORIGINS", config.frontend_origins.join(",")),
        ("PLATFORM_OPERATORS", config.operators.join(",")),
        ("SIGNING_KEYS_SECRET", set(&config.signing_keys_secret)),
        ("VAULT_SECRET", set(&config.vault_secret)),
        ("AUTH_SECRETS_SECRET", set(&config.auth_secrets_secret)),
        ("AI_PROVIDERS_SECRET", set(&config.ai_providers_secret)),
        ("METERING_QUEUE_URL", set(&config.metering_queue_url)),
        ("AUDIT_QUEUE_URL", set(&config.audit_queue_url)),
        ("AUDIT_KEY_SECRET", set(&config.audit_key_secret)),
        ("BILLING_QUEUE_URL", set(&config.billing_queue_url)),
        ("STRIPE_SECRET", set(&config.stripe_secret)),
        ("AWS_LAMBDA_HTTP_IGNORE_STAGE_IN_PATH", "true".into()),
        ("AWS_ENDPOINT_URL", stack::stack().endpoint.clone()),
        ("AWS_REGION", REGION.into()),
        ("AWS_ACCESS_KEY_ID", t.account.clone()),
        ("AWS_SECRET_ACCESS_KEY", "secret".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
    ]
}
