//! From a call and a script to the steps that the server plays. Pure, so every fault can be tested without a socket.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::answer::{chunks, compose, count_tokens, truncate};
use super::behaviour::{Fault, Script, Usage};
use super::call::{Call, Wire};
use super::frames::{Answer, Frames, Stamp};
use super::{anthropic, openai};

/// One thing that the server does with the response's body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Hand these bytes over, and let them reach the socket before the next step.
    Send(Bytes),
    /// The same bytes several times.
    Repeat {
        bytes: Bytes,
        times: usize,
        pause: Duration,
    },
    /// Say nothing.
    Sleep(Duration),
    /// Break the connection; nothing comes after.
    Abort,
}

/// How one call is answered. The body ends properly after the last step, unless that is [`Step::Abort`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) before_headers: Duration,
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) retry_after: Option<u32>,
    pub(crate) steps: Vec<Step>,
}

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// The plan for a call that was read and let in.
pub(crate) fn plan(call: &Call, script: &Script, stamp: Stamp) -> Plan {
    let mut plan = match (&script.fault, call.stream) {
        (
            Some(Fault::Status {
                code,
                retry_after,
                body,
            }),
            _,
        ) => status_plan(call.wire(), *code, *retry_after, body.as_deref(), stamp),
        (Some(Fault::ErrorEventAfter(_)), false) => status_plan(call.wire(), 500, None, None, stamp),
        (_, true) => Plan {
            content_type: EVENTS,
            ..ok(stream_steps(call, script, stamp))
        },
        (_, false) => json_plan(call, script, stamp),
    };
    plan.before_headers += script.before_headers;
    if let Some(size) = script.split {
        plan.steps = split(plan.steps, size);
    }
    plan
}

/// A plan that says no, in the provider's shape.
pub(crate) fn refusal(status: u16, body: &Value) -> Plan {
    Plan {
        status,
        ..ok(vec![send(&body.to_string())])
    }
}

fn ok(steps: Vec<Step>) -> Plan {
    Plan {
        before_headers: Duration::ZERO,
        status: 200,
        content_type: JSON,
        retry_after: None,
        steps,
    }
}

fn status_plan(wire: Wire, code: u16, retry_after: Option<u32>, body: Option<&str>, stamp: Stamp) -> Plan {
    let usual = match wire {
        Wire::OpenAi => openai::usual_error(code),
        Wire::Anthropic => anthropic::usual_error(code, stamp),
    };
    let plan = Plan {
        retry_after,
        ..refusal(code, &usual)
    };
    match body {
        Some(body) => Plan {
            content_type: type_of(body),
            steps: vec![send(body)],
            ..plan
        },
        None => plan,
    }
}

/// A body that was given as it is: JSON if it parses, otherwise a gateway's page.
fn type_of(body: &str) -> &'static str {
    if serde_json::from_str::<Value>(body).is_ok() {
        JSON
    } else {
        "text/html; charset=utf-8"
    }
}

/// The answer that the call gets if nothing breaks.
fn answer(call: &Call, script: &Script) -> Answer {
    let (parts, cut) = match script.fault {
        Some(Fault::HugeEvent { bytes }) => (vec!["x".repeat(bytes)], false),
        _ => {
            let whole = script.text.clone().unwrap_or_else(|| compose(call));
            let (text, cut) = truncate(&whole, call.max_tokens);
            (chunks(text).into_iter().map(str::to_owned).collect(), cut)
        }
    };
    let counted = Usage {
        input: call.input_tokens(),
        cached: 0,
        output: count_tokens(&parts.concat()),
    };
    let usage = (script.fault != Some(Fault::NoUsage)).then_some(script.usage.unwrap_or(counted));
    Answer {
        chunks: parts,
        cut,
        usage,
    }
}

fn stream_steps(call: &Call, script: &Script, stamp: Stamp) -> Vec<Step> {
    let answer = answer(call, script);
    let frames = match call.wire() {
        Wire::OpenAi => openai::frames(call, &answer, stamp),
        Wire::Anthropic => anthropic::frames(call, &answer, stamp),
    };
    if let Some(Fault::Endless { max_bytes }) = script.fault {
        return endless(&frames, max_bytes, script.chunk_delay);
    }
    let mut steps: Vec<Step> = frames.head.iter().map(|event| send(event)).collect();
    if !content_steps(&mut steps, &frames, script) {
        return steps;
    }
    steps.extend(frames.finish.iter().map(|event| send(event)));
    if script.fault == Some(Fault::CutBeforeUsage) {
        steps.push(Step::Abort);
        return steps;
    }
    steps.extend(frames.usage.iter().chain(&frames.done).map(|event| send(event)));
    steps
}

/// The deltas with what happens between them. False if a fault ended the stream.
fn content_steps(steps: &mut Vec<Step>, frames: &Frames, script: &Script) -> bool {
    let last = frames.deltas.len();
    let here = |after: usize, sent: usize| after.min(last) == sent;
    for sent in 0..=last {
        match script.stall {
            Some((after, pause)) if here(after, sent) => steps.push(Step::Sleep(pause)),
            _ => {}
        }
        match script.fault {
            Some(Fault::CutAfter(after)) if here(after, sent) => {
                steps.push(Step::Abort);
                return false;
            }
            Some(Fault::ErrorEventAfter(after)) if here(after, sent) => {
                steps.push(send(&frames.error));
                return false;
            }
            Some(Fault::MalformedEventAfter(after)) if here(after, sent) => {
                steps.push(send(&frames.malformed))
            }
            _ => {}
        }
        if let Some(delta) = frames.deltas.get(sent) {
            if sent > 0 && !script.chunk_delay.is_zero() {
                steps.push(Step::Sleep(script.chunk_delay));
            }
            steps.push(send(delta));
        }
    }
    true
}

fn endless(frames: &Frames, max_bytes: usize, pause: Duration) -> Vec<Step> {
    let mut steps: Vec<Step> = frames.head.iter().map(|event| send(event)).collect();
    let head: usize = frames.head.iter().map(String::len).sum();
    if let Some(delta) = frames.deltas.first().filter(|delta| !delta.is_empty()) {
        let times = max_bytes.saturating_sub(head).div_ceil(delta.len());
        steps.push(Step::Repeat {
            bytes: Bytes::copy_from_slice(delta.as_bytes()),
            times,
            pause,
        });
    }
    steps
}

/// A plain answer: the time of all its deltas passes first, as nothing is sent before the whole text is there.
fn json_plan(call: &Call, script: &Script, stamp: Stamp) -> Plan {
    let mut answer = answer(call, script);
    let thinking = script
        .chunk_delay
        .saturating_mul(u32::try_from(answer.chunks.len()).unwrap_or(u32::MAX));
    if let Some(Fault::Endless { max_bytes }) = script.fault {
        answer.chunks = vec!["x".repeat(max_bytes)];
    }
    let body = match call.wire() {
        Wire::OpenAi => openai::completion(call, &answer, stamp),
        Wire::Anthropic => anthropic::completion(call, &answer, stamp),
    };
    let bytes = Bytes::from(body.to_string());
    let half = bytes.len() / 2;
    let (first, second) = (Step::Send(bytes.slice(..half)), Step::Send(bytes.slice(half..)));
    let pause = script.stall.map(|(_, pause)| Step::Sleep(pause));
    let rest = match script.fault {
        Some(Fault::CutAfter(_) | Fault::CutBeforeUsage) => vec![Step::Abort],
        Some(Fault::MalformedEventAfter(_)) => vec![],
        _ => vec![second],
    };
    Plan {
        before_headers: thinking,
        ..ok([first].into_iter().chain(pause).chain(rest).collect())
    }
}

/// Joins what is sent without a pause between and cuts it anew.
fn split(steps: Vec<Step>, size: usize) -> Vec<Step> {
    let mut out = Vec::new();
    let mut run = BytesMut::new();
    for step in steps {
        match step {
            Step::Send(bytes) => run.extend_from_slice(&bytes),
            other => {
                out.extend(pieces(run.split().freeze(), size));
                out.push(other);
            }
        }
    }
    out.extend(pieces(run.freeze(), size));
    out
}

fn pieces(bytes: Bytes, size: usize) -> impl Iterator<Item = Step> {
    let starts = (0..bytes.len()).step_by(size);
    starts.map(move |at| Step::Send(bytes.slice(at..bytes.len().min(at + size))))
}

fn send(text: &str) -> Step {
    Step::Send(Bytes::copy_from_slice(text.as_bytes()))
}
