//! OpenAI Chat Completions: the shapes of answers, events and errors.
//!
//! Rules from OpenAI's API reference: with `stream_options.include_usage` every chunk has `usage: null` but the last one,
//! whose `choices` is empty; an error inside a stream is a data line with an `error` object.

use serde_json::{Value, json};

use super::behaviour::Usage;
use super::call::Call;
use super::frames::{Answer, Frames, Stamp};

/// The events of a streamed answer.
pub(crate) fn frames(call: &Call, answer: &Answer, stamp: Stamp) -> Frames {
    let chunk = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": id(stamp), "object": "chat.completion.chunk", "created": stamp.created, "model": call.model,
            "service_tier": "default", "system_fingerprint": "fp_peer", "choices": choices,
        });
        if call.include_usage {
            chunk["usage"] = usage.unwrap_or(Value::Null);
        }
        data(&chunk)
    };
    let choice = |delta: Value, finish: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]),
            None,
        )
    };
    let usage = answer.usage.filter(|_| call.include_usage);
    Frames {
        head: vec![choice(
            json!({"role": "assistant", "content": "", "refusal": null}),
            Value::Null,
        )],
        deltas: answer
            .chunks
            .iter()
            .map(|text| choice(json!({"content": text}), Value::Null))
            .collect(),
        finish: vec![choice(json!({}), json!(finish_reason(answer)))],
        usage: usage
            .map(|usage| chunk(json!([]), Some(usage_object(usage))))
            .into_iter()
            .collect(),
        done: vec!["data: [DONE]\n\n".to_owned()],
        error: data(&error(
            500,
            "The server had an error while processing your request. Sorry about that!",
            None,
        )),
        malformed: format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\n\n",
            id(stamp)
        ),
    }
}

/// An answer that was not asked for as a stream.
pub(crate) fn completion(call: &Call, answer: &Answer, stamp: Stamp) -> Value {
    let mut body = json!({
        "id": id(stamp), "object": "chat.completion", "created": stamp.created, "model": call.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": answer.text(), "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": finish_reason(answer),
        }],
        "service_tier": "default", "system_fingerprint": "fp_peer",
    });
    if let Some(usage) = answer.usage {
        body["usage"] = usage_object(usage);
    }
    body
}

/// The body of an error; `code` only where the provider gives one.
pub(crate) fn error(status: u16, message: &str, code: Option<&str>) -> Value {
    let kind = match status {
        429 => "requests",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The usual error of a status.
pub(crate) fn usual_error(status: u16) -> Value {
    match status {
        401 => error(401, "Incorrect API key provided.", Some("invalid_api_key")),
        404 => error(
            404,
            "The model does not exist or you do not have access to it.",
            Some("model_not_found"),
        ),
        429 => error(
            429,
            "Rate limit reached for requests. Please try again later.",
            Some("rate_limit_exceeded"),
        ),
        503 => error(
            503,
            "The engine is currently overloaded, please try again later.",
            None,
        ),
        500.. => error(
            status,
            "The server had an error while processing your request. Sorry about that!",
            None,
        ),
        _ => error(status, "The request could not be processed.", None),
    }
}

/// `GET /v1/models`.
pub(crate) fn models() -> Value {
    let model =
        |id: &str| json!({"id": id, "object": "model", "created": 1_715_367_049, "owned_by": "system"});
    json!({"object": "list", "data": super::OPENAI_MODELS.map(model)})
}

fn id(stamp: Stamp) -> String {
    format!("chatcmpl-peer{:08}", stamp.order)
}

fn finish_reason(answer: &Answer) -> &'static str {
    if answer.cut { "length" } else { "stop" }
}

fn usage_object(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
        },
    })
}

fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}
