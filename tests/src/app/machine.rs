//! State machines, played in the test's own process: the states are those of infra/statemachine, the tasks those of the
//! function, and `Retry` and `Catch` go by the errors' names as in Step Functions, but without waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;
use camarad::app::App;
use camarad::error::Result;
use camarad::lambda::task::Failure;
use camarad::ports::workflow::Workflow;
use serde_json::{Map, Value, json};

use super::stack::repository;

/// How an execution went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// Whether it came to `Succeed`.
    pub succeeded: bool,
    /// The states that it came through; one that was tried again is there again.
    pub path: Vec<String>,
    /// The names of the errors on the way.
    pub errors: Vec<String>,
}

/// The definition of the onboarding machine.
pub fn definition() -> Value {
    let path = repository().join("infra/statemachine/onboarding.asl.json");
    let text = std::fs::read_to_string(path).expect("the state machine");
    serde_json::from_str(&text).expect("the state machine is JSON")
}

/// Plays an execution of the onboarding machine.
pub async fn play(app: &App, input: Value) -> Played {
    let machine = definition();
    let mut played = Played {
        succeeded: false,
        path: Vec::new(),
        errors: Vec::new(),
    };
    let (mut at, mut data) = (text(&machine["StartAt"]), input);
    loop {
        let state = &machine["States"][&at];
        played.path.push(at.clone());
        at = match state["Type"].as_str() {
            Some("Succeed") => {
                played.succeeded = true;
                return played;
            }
            Some("Fail") => return played,
            Some("Choice") => choice(state, &data),
            Some("Task") => match task(app, state, &mut data, (&at, &mut played)).await {
                Some(next) => next,
                None => return played,
            },
            other => panic!("a state of the type {other:?}"),
        };
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// The state after a task; `None` when its error is caught by nobody.
async fn task(
    app: &App,
    state: &Value,
    data: &mut Value,
    (at, played): (&str, &mut Played),
) -> Option<String> {
    let mut tries = BTreeMap::<usize, u64>::new();
    loop {
        let payload = resolve(&state["Parameters"]["Payload"], data);
        let task = serde_json::from_value(payload).expect("a task");
        let failure = match onboarding_tasks::handle(app.clone(), task).await {
            Ok(done) => {
                let result = json!({"Payload": done, "StatusCode": 200});
                place(state, &result, data);
                return Some(text(&state["Next"]));
            }
            Err(error) => json!({"Error": Failure::from(error).name(), "Cause": "…"}),
        };
        let name = text(&failure["Error"]);
        played.errors.push(name.clone());
        let matching = |kind: &str| {
            let all = state[kind].as_array().cloned().unwrap_or_default();
            all.into_iter().enumerate().find(|(_, rule)| {
                let names = rule["ErrorEquals"].as_array().expect("names");
                names.iter().any(|n| *n == name.as_str() || *n == "States.ALL")
            })
        };
        if let Some((n, rule)) = matching("Retry") {
            let used = tries.entry(n).or_default();
            *used += 1;
            if *used <= rule["MaxAttempts"].as_u64().unwrap_or(3) {
                played.path.push(at.to_owned());
                continue;
            }
        }
        let (_, rule) = matching("Catch")?;
        data[text(&rule["ResultPath"]).trim_start_matches("$.")] = failure;
        return Some(text(&rule["Next"]));
    }
}

/// Puts a task's result where the state says.
fn place(state: &Value, result: &Value, data: &mut Value) {
    let Some(path) = state["ResultPath"].as_str() else {
        return; // null: it is dropped
    };
    let selected = match state.get("ResultSelector") {
        Some(selector) => resolve(selector, result),
        None => result.clone(),
    };
    data[path.trim_start_matches("$.")] = selected;
}

/// A template with its references (`"name.$": "$.path"`) resolved.
fn resolve(template: &Value, data: &Value) -> Value {
    let Value::Object(members) = template else {
        return template.clone();
    };
    let resolved = members.iter().map(|(name, value)| match name.strip_suffix(".$") {
        Some(name) => (name.to_owned(), found(&text(value), data)),
        None => (name.clone(), resolve(value, data)),
    });
    Value::Object(resolved.collect::<Map<_, _>>())
}

/// What a path leads to; in Step Functions too, one that leads nowhere ends the execution.
fn found(path: &str, data: &Value) -> Value {
    let pointer = path.trim_start_matches('$').replace('.', "/");
    data.pointer(&pointer)
        .unwrap_or_else(|| panic!("nothing at {path}: {data}"))
        .clone()
}

fn choice(state: &Value, data: &Value) -> String {
    let rules = state["Choices"].as_array().expect("choices");
    let holds = |rule: &&Value| found(&text(&rule["Variable"]), data) == rule["StringEquals"];
    rules
        .iter()
        .find(holds)
        .map_or_else(|| text(&state["Default"]), |rule| text(&rule["Next"]))
}

/// The executions that were started. Each is played at once, unless they are held.
#[derive(Default)]
pub struct Executions {
    started: Mutex<BTreeMap<String, Value>>,
    home: OnceLock<App>,
    held: AtomicBool,
    failing: AtomicBool,
}

impl Executions {
    /// Where their tasks run.
    pub(super) fn live_in(&self, app: &App) {
        let _ = self.home.set(app.clone());
    }

    /// From now on an execution is noted, and not played.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    /// From now on no execution can be started.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }

    /// The inputs of all executions, in the order of their names.
    pub fn inputs(&self) -> Vec<Value> {
        let started = self.started.lock().expect("no panic holds it");
        started.values().cloned().collect()
    }
}

#[async_trait]
impl Workflow for Executions {
    async fn start(&self, machine: &str, name: &str, input: &str) -> Result<()> {
        assert_eq!(machine, super::MACHINE);
        if self.failing.load(Ordering::SeqCst) {
            return Err(camarad::error::Error::Unavailable("no executions today".into()));
        }
        let input: Value = serde_json::from_str(input).expect("JSON");
        let mut started = self.started.lock().expect("no panic holds it");
        if started.insert(name.to_owned(), input.clone()).is_none()
            && !self.held.load(Ordering::SeqCst)
            && let Some(app) = self.home.get().cloned()
        {
            tokio::spawn(async move { play(&app, input).await });
        }
        Ok(())
    }
}
