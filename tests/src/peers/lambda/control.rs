//! Orders and answers of `runtime-peer`: a JSON object per line, one order at a time. Times are microseconds; those of
//! an answer count from the moment at which the event was handed out, those of a start from before the process was.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{LambdaPeer, Mode, Process, Recorder, Reply, Span};

/// How long an order may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be ordered.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Starts a function, in place of one that runs. Answers when it has asked for work and, where an event is given,
    /// answered it: the event waits for it, as at a cold start.
    Start {
        /// The program and its arguments.
        command: Vec<String>,
        /// All of its environment, but the Runtime API's address.
        env: HashMap<String, String>,
        /// Where its output goes.
        log: PathBuf,
        /// The first event.
        event: Option<Value>,
        /// A text in the answer's body whose arrival is to be told.
        mark: Option<String>,
    },
    /// Gives an event to the function that runs; answers when it asks for more.
    Invoke {
        /// The event.
        event: Value,
        /// As above.
        mark: Option<String>,
    },
    /// Any HTTP request, measured by the same clock.
    Call {
        /// HTTP method.
        method: String,
        /// Address.
        url: String,
        /// Headers.
        headers: HashMap<String, String>,
        /// Body.
        body: Option<String>,
        /// As above.
        mark: Option<String>,
    },
    /// Puts a stopover in front of `to`; answers its address. Answers to events then tell what went through it.
    Record {
        /// Address of the AWS services.
        to: String,
    },
    /// Ends the function.
    Stop,
}

/// The function that runs.
struct Function {
    process: Process,
    peer: LambdaPeer,
}

/// Carries out orders.
pub struct Control {
    client: reqwest::Client,
    function: Option<Function>,
    recorder: Option<Recorder>,
}

type Outcome = Result<Value, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn micros(since: Instant, at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX)
}

/// The answer to a reply, with times since `zero`.
fn told(reply: &Reply, zero: Instant, mark: Option<&str>) -> Value {
    let since = |at: Option<Instant>| at.map(|at| micros(zero, at));
    let prelude = reply
        .prelude()
        .and_then(|p| serde_json::from_slice::<Value>(p).ok());
    json!({
        "mode": reply.mode,
        "prelude": prelude,
        "body": String::from_utf8_lossy(reply.body()),
        "first_us": since(reply.first_byte()),
        "mark_us": since(mark.and_then(|m| reply.found(m.as_bytes()))),
        "end_us": micros(zero, reply.ended),
    })
}

fn told_span(span: &Span, zero: Instant) -> Value {
    json!({"target": span.target, "from_us": micros(zero, span.from), "till_us": micros(zero, span.till)})
}

impl Control {
    /// With nothing running.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new() -> Result<Self, String> {
        Ok(Self {
            client: camarad::ports::web::client().map_err(text)?,
            function: None,
            recorder: None,
        })
    }

    /// Carries out the order that a line holds; answers a line, with `error` when it failed.
    pub async fn line(&mut self, line: &str) -> String {
        let done = match serde_json::from_str(line) {
            Ok(order) => within(self.order(order)).await,
            Err(error) => Err(text(error)),
        };
        done.unwrap_or_else(|error| json!({ "error": error })).to_string()
    }

    async fn order(&mut self, order: Order) -> Outcome {
        match order {
            Order::Start {
                command,
                env,
                log,
                event,
                mark,
            } => {
                self.function = None;
                let peer = LambdaPeer::start().await.map_err(text)?;
                let mut env = env;
                env.insert("AWS_LAMBDA_RUNTIME_API".into(), peer.address());
                let reply = event.map(|event| peer.offer(event));
                let process = Process::start(&command, &env, &log).map_err(text)?;
                let function = self.function.insert(Function { process, peer });
                let (pid, zero) = (function.process.id(), function.process.spawned);
                let polled = function.polled(0).await?;
                let mut told_start = json!({"pid": pid, "polled_us": micros(zero, polled)});
                if let Some(reply) = reply {
                    let reply = reply.await.map_err(|_| "the first event was not answered")?;
                    function.polled(1).await?;
                    told_start["reply"] = told(&reply, zero, mark.as_deref());
                }
                Ok(told_start)
            }
            Order::Invoke { event, mark } => self.invoke(event, mark.as_deref()).await,
            Order::Call {
                method,
                url,
                headers,
                body,
                mark,
            } => {
                let method = method.parse().map_err(text)?;
                let mut request = self.client.request(method, url);
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                call(request.body(body.unwrap_or_default()), mark.as_deref()).await
            }
            Order::Record { to } => {
                let recorder = Recorder::start(&to, self.client.clone()).await.map_err(text)?;
                let url = recorder.url().to_owned();
                self.recorder = Some(recorder);
                Ok(json!({ "url": url }))
            }
            Order::Stop => {
                self.function = None;
                Ok(json!({}))
            }
        }
    }

    async fn invoke(&mut self, event: Value, mark: Option<&str>) -> Outcome {
        let function = self.function.as_mut().ok_or("no function runs")?;
        if let Some(recorder) = &self.recorder {
            recorder.take();
        }
        let polls = function.peer.polls();
        let reply = function.peer.offer(event);
        let idle = function.polled(polls).await?;
        let reply = reply.await.map_err(|_| "the event was not answered")?;
        let zero = reply.handed;
        let mut told = told(&reply, zero, mark);
        told["idle_us"] = micros(zero, idle).into();
        if let Some(recorder) = &self.recorder {
            let spans = recorder.take();
            told["spans"] = spans.iter().map(|span| told_span(span, zero)).collect();
        }
        Ok(told)
    }
}

impl Function {
    /// When it asks for work the `n`-th time, unless it ends before.
    async fn polled(&mut self, n: usize) -> Result<Instant, String> {
        tokio::select! {
            biased;
            at = self.peer.poll(n) => Ok(at),
            status = self.process.end() => Err(format!("the function ended ({status})")),
            said = self.peer.failure() => Err(format!("the function cannot start: {said}")),
        }
    }
}

async fn call(request: reqwest::RequestBuilder, mark: Option<&str>) -> Outcome {
    let zero = Instant::now();
    let response = request.send().await.map_err(text)?;
    let status = response.status().as_u16();
    let mut reply = Reply::new(Mode::Buffered, zero);
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        reply.add(Instant::now(), &chunk.map_err(text)?);
    }
    reply.ended = Instant::now();
    let mut told = told(&reply, zero, mark);
    told["status"] = status.into();
    Ok(told)
}

async fn within(work: impl Future<Output = Outcome>) -> Outcome {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("nothing within {} s", PATIENCE.as_secs())),
    }
}
