//! Somebody who calls the API over HTTP, wherever it runs.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use camarad::store::cost::Cost;
use serde_json::Value;

use crate::app::Answer;

/// More than any answer takes; a compiler may be busy beside it.
const PATIENCE: Duration = Duration::from_secs(60);

/// No connection is kept: it would belong to the runtime of the test that opened it.
static HTTP: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // An error only says that somebody installed one before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .timeout(PATIENCE)
        .build()
        .expect("an HTTP client")
});

/// The HTTP client of the tests: follows nothing, keeps nothing.
pub fn http() -> &'static reqwest::Client {
    &HTTP
}

/// Somebody with or without an access token.
#[derive(Debug, Clone)]
pub struct Visitor {
    base: String,
    /// The access token.
    pub token: Option<String>,
    headers: BTreeMap<String, String>,
}

impl Visitor {
    /// Of the API at `base`, not signed in.
    pub fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            token: None,
            headers: BTreeMap::new(),
        }
    }

    /// The same one with an access token.
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same one, sending one more header.
    pub fn header(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.headers.insert(name.to_owned(), value.to_owned());
        with
    }

    /// GET
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None).await
    }

    /// POST with a JSON body and a fresh Idempotency-Key.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(&body)).await
    }

    /// PATCH with a JSON body and a fresh Idempotency-Key.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, Some(&body)).await
    }

    /// DELETE with a fresh Idempotency-Key.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None).await
    }

    /// Any request, read to its end.
    pub async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let response = self.open(method, path, body).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.expect("the body ends well");
        Answer {
            status,
            headers,
            body,
            cost: Cost::default(),
        }
    }

    /// Any request, with the answer's body still to come.
    pub async fn open(&self, method: &str, path: &str, body: Option<&Value>) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let mut request = http().request(method, format!("{}{path}", self.base));
        for (name, value) in self.headers(body.is_some()) {
            request = request.header(name, value);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        request.send().await.expect("an answer")
    }

    /// What is sent along, a fresh Idempotency-Key too unless there is one.
    pub fn headers(&self, with_body: bool) -> BTreeMap<String, String> {
        let mut headers = self.headers.clone();
        if let Some(token) = &self.token {
            headers.insert("authorization".into(), format!("Bearer {token}"));
        }
        if with_body {
            let json = || "application/json".to_owned();
            headers.entry("content-type".into()).or_insert_with(json);
        }
        let key = || format!("key-{:016x}", camarad::random::below(u64::MAX));
        headers.entry("idempotency-key".into()).or_insert_with(key);
        headers
    }
}
