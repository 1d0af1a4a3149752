//! Faults that no local engine produces, put between the SDK's client and an engine: answers that get lost after the
//! commit, requests that arrive long after their sender gave up, throttling, conflicts, keys left unprocessed.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::config::http::{HttpRequest, HttpResponse};
use aws_sdk_dynamodb::config::{HttpClient, RuntimeComponents, SharedHttpClient};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::dice::Dice;

/// What can go wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It never arrives.
    Unsent,
    /// The engine does it, and the answer is lost.
    AnswerLost,
    /// The sender gives up, and the engine does it later.
    Late,
    /// The engine does it, and says that it failed.
    InternalError,
    /// The engine refuses for want of capacity.
    Throttled,
    /// The engine refuses because of a transaction on the item.
    Conflict,
    /// The engine answers only a part of a batch: none of it.
    Unprocessed,
    /// The engine says that the caller may not, and names what (`PLANTED`). Never by chance.
    Denied,
}

/// What a `Denied` tells of the inside.
pub const PLANTED: [&str; 3] = ["planted-table-1A2B", "planted-role", "123456789012"];

impl Fault {
    /// Every fault that passes.
    pub const ALL: [Self; 7] = [
        Self::Unsent,
        Self::AnswerLost,
        Self::Late,
        Self::InternalError,
        Self::Throttled,
        Self::Conflict,
        Self::Unprocessed,
    ];
}

#[derive(Debug)]
struct State {
    dice: Mutex<Dice>,
    per_mille: AtomicU32,
    next: Mutex<Option<(&'static str, Fault)>>,
    whenever: Mutex<Option<(String, Fault)>>,
    fatal: Mutex<Option<(u32, bool)>>,
    fatal_at: Mutex<Option<(&'static str, String, bool)>>,
    kinds: Mutex<Vec<Fault>>,
    dead: Notify,
    late: AtomicU32,
    made: AtomicU32,
}

/// A source of faults; clones share it.
#[derive(Debug, Clone)]
pub struct Faults(Arc<State>);

impl Faults {
    /// None at first.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(State {
            dice: Mutex::new(Dice::new(seed)),
            per_mille: AtomicU32::new(0),
            next: Mutex::new(None),
            whenever: Mutex::new(None),
            fatal: Mutex::new(None),
            fatal_at: Mutex::new(None),
            kinds: Mutex::new(Fault::ALL.to_vec()),
            dead: Notify::new(),
            late: AtomicU32::new(0),
            made: AtomicU32::new(0),
        }))
    }

    /// From now on, so many of a thousand requests meet a fault.
    pub fn rate(&self, per_mille: u32) {
        self.0.per_mille.store(per_mille, Ordering::SeqCst);
    }

    /// The next request for this operation (`UpdateItem`) meets this fault.
    pub fn next(&self, operation: &'static str, fault: Fault) {
        *self.0.next.lock().expect("no panic holds it") = Some((operation, fault));
    }

    /// From now on, every request with this text in its body meets this fault; `None` ends it.
    pub fn whenever(&self, told: Option<(&str, Fault)>) {
        *self.0.whenever.lock().expect("no panic holds it") =
            told.map(|(text, fault)| (text.to_owned(), fault));
    }

    fn of_body(&self, request: &HttpRequest) -> Option<Fault> {
        let whenever = self.0.whenever.lock().expect("no panic holds it");
        let (text, fault) = whenever.as_ref()?;
        let body = request.body().bytes().unwrap_or_default();
        let here = body.windows(text.len()).any(|w| w == text.as_bytes());
        self.0.made.fetch_add(u32::from(here), Ordering::SeqCst);
        here.then_some(*fault)
    }

    /// The function dies at the request after `after` others: before it is sent or, if `done`, after the engine did it.
    /// Whoever sends it never hears of it again; `dead` tells when, to drop what ran there.
    pub fn die(&self, after: u32, done: bool) {
        *self.0.fatal.lock().expect("no panic holds it") = Some((after, done));
    }

    /// The function dies at the next request for this operation with this text in its body: before it is sent or, if
    /// `done`, after the engine did it.
    pub fn die_at(&self, operation: &'static str, text: &str, done: bool) {
        *self.0.fatal_at.lock().expect("no panic holds it") = Some((operation, text.to_owned(), done));
    }

    /// From now on, chance makes only faults of these kinds.
    pub fn only(&self, kinds: &[Fault]) {
        *self.0.kinds.lock().expect("no panic holds it") = kinds.to_vec();
    }

    fn fatal_for(&self, operation: &str, request: &HttpRequest) -> Option<bool> {
        let mut fatal = self.0.fatal_at.lock().expect("no panic holds it");
        let (wanted, text, done) = fatal.as_ref()?;
        let body = request.body().bytes().unwrap_or_default();
        let here = *wanted == operation && body.windows(text.len()).any(|w| w == text.as_bytes());
        let done = here.then_some(*done)?;
        *fatal = None;
        Some(done)
    }

    /// It does not die any more; true if it had not yet.
    pub fn live(&self) -> bool {
        if self
            .0
            .fatal_at
            .lock()
            .expect("no panic holds it")
            .take()
            .is_some()
        {
            return true;
        }
        self.0.fatal.lock().expect("no panic holds it").take().is_some()
    }

    /// Comes to its end when the function died.
    pub async fn dead(&self) {
        self.0.dead.notified().await;
    }

    fn fatal(&self) -> Option<bool> {
        let mut fatal = self.0.fatal.lock().expect("no panic holds it");
        match *fatal {
            Some((0, done)) => {
                *fatal = None;
                Some(done)
            }
            Some((more, done)) => {
                *fatal = Some((more - 1, done));
                None
            }
            None => None,
        }
    }

    /// How many faults there were.
    pub fn made(&self) -> u32 {
        self.0.made.load(Ordering::SeqCst)
    }

    /// Waits until every late request has arrived.
    pub async fn settle(&self) {
        while self.0.late.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// An HTTP client with these faults in it.
    pub fn http_client(&self) -> impl HttpClient + 'static {
        Client {
            inner: aws_smithy_http_client::Builder::new().build_http(),
            faults: self.clone(),
        }
    }

    fn draw(&self, operation: &str) -> Option<Fault> {
        let mut next = self.0.next.lock().expect("no panic holds it");
        let fault = match *next {
            Some((wanted, fault)) if wanted == operation => {
                *next = None;
                Some(fault)
            }
            _ => self.by_chance().filter(|fault| fault.concerns(operation)),
        };
        self.0
            .made
            .fetch_add(u32::from(fault.is_some()), Ordering::SeqCst);
        fault
    }

    fn by_chance(&self) -> Option<Fault> {
        let mut dice = self.0.dice.lock().expect("no panic holds it");
        if dice.below(1_000) >= u64::from(self.0.per_mille.load(Ordering::SeqCst)) {
            return None;
        }
        let kinds = self.0.kinds.lock().expect("no panic holds it");
        Some(*dice.pick(&kinds))
    }

    fn delay(&self) -> Duration {
        let more = self.0.dice.lock().expect("no panic holds it").below(150);
        // Long enough for the call to end and its ledger to be flushed meanwhile.
        Duration::from_millis(50 + more)
    }
}

impl Fault {
    fn concerns(self, operation: &str) -> bool {
        match self {
            Self::Conflict => matches!(
                operation,
                "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems"
            ),
            Self::Unprocessed => operation == "BatchGetItem",
            _ => true,
        }
    }
}

#[derive(Debug)]
struct Client {
    inner: SharedHttpClient,
    faults: Faults,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Connector {
            inner,
            faults: self.faults.clone(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    inner: SharedHttpConnector,
    faults: Faults,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request
            .headers()
            .get("x-amz-target")
            .and_then(|t| t.rsplit('.').next())
            .unwrap_or_default()
            .to_owned();
        let fatal = self
            .faults
            .fatal()
            .or_else(|| self.faults.fatal_for(&operation, &request));
        if let Some(done) = fatal {
            let (inner, faults) = (self.inner.clone(), self.faults.clone());
            return HttpConnectorFuture::new(async move {
                if done {
                    let _ = inner.call(request).await;
                }
                faults.0.dead.notify_one();
                std::future::pending().await
            });
        }
        let fault = self
            .faults
            .of_body(&request)
            .or_else(|| self.faults.draw(&operation));
        let Some(fault) = fault else {
            return self.inner.call(request);
        };
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        HttpConnectorFuture::new(async move {
            match fault {
                Fault::Unsent => Err(ConnectorError::io("the request did not arrive".into())),
                Fault::AnswerLost => {
                    let _ = inner.call(request).await;
                    Err(ConnectorError::timeout("the answer did not arrive".into()))
                }
                Fault::Late => {
                    arrive_later(inner, request, faults);
                    Err(ConnectorError::timeout("the sender gave up".into()))
                }
                Fault::InternalError => {
                    let _ = inner.call(request).await;
                    Ok(answer(500, &error("InternalServerError")))
                }
                Fault::Throttled => Ok(answer(400, &error("ProvisionedThroughputExceededException"))),
                Fault::Conflict => Ok(answer(400, &conflict(&operation, &request))),
                Fault::Denied => Ok(answer(400, &denied(&operation))),
                Fault::Unprocessed => Ok(answer(200, &unprocessed(&request))),
            }
        })
    }
}

fn arrive_later(inner: SharedHttpConnector, request: HttpRequest, faults: Faults) {
    faults.0.late.fetch_add(1, Ordering::SeqCst);
    tokio::spawn(async move {
        tokio::time::sleep(faults.delay()).await;
        let _ = inner.call(request).await;
        faults.0.late.fetch_sub(1, Ordering::SeqCst);
    });
}

fn error(name: &str) -> Value {
    json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "a fault of the tests"})
}

fn denied(operation: &str) -> Value {
    let [table, role, account] = PLANTED;
    let mut denied = error("AccessDeniedException");
    denied["message"] = json!(format!(
        "User: arn:aws:sts::{account}:assumed-role/{role}/f is not authorized to perform: {operation} on resource: \
         arn:aws:dynamodb:eu-central-1:{account}:table/{table}, table {table}"
    ));
    denied
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(request.body().bytes().unwrap_or_default()).unwrap_or_default()
}

fn conflict(operation: &str, request: &HttpRequest) -> Value {
    if operation != "TransactWriteItems" {
        return error("TransactionConflictException");
    }
    let writes = body(request)["TransactItems"].as_array().map_or(1, Vec::len);
    let reasons: Vec<_> = (0..writes)
        .map(|n| json!({"Code": if n == 0 { "TransactionConflict" } else { "None" }}))
        .collect();
    let mut cancelled = error("TransactionCanceledException");
    cancelled["CancellationReasons"] = Value::Array(reasons);
    cancelled
}

fn unprocessed(request: &HttpRequest) -> Value {
    json!({"Responses": {}, "UnprocessedKeys": body(request)["RequestItems"]})
}

fn answer(status: u16, body: &Value) -> HttpResponse {
    let mut response = HttpResponse::new(status.try_into().expect("a status"), body.to_string().into());
    response
        .headers_mut()
        .insert("content-type", "application/x-amz-json-1.0");
    response
}
