//! Anthropic Messages: the shapes of answers, events and errors.
//!
//! Rules from Anthropic's API reference: `message_start` tells what was read, `message_delta` the cumulative output tokens
//! and the stop reason; `input_tokens` leaves out what came from the cache; pings may come anywhere; an error inside a
//! stream is an event of its own.

use serde_json::{Value, json};

use super::behaviour::Usage;
use super::call::Call;
use super::frames::{Answer, Frames, Stamp};

/// The events of a streamed answer.
pub(crate) fn frames(call: &Call, answer: &Answer, stamp: Stamp) -> Frames {
    let mut message = message(call, stamp);
    let mut last = json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(answer), "stop_sequence": null}});
    if let Some(usage) = answer.usage {
        // The provider has written its first token when it sends the head.
        message["usage"] = usage_object(Usage {
            output: usage.output.min(1),
            ..usage
        });
        last["usage"] = json!({"output_tokens": usage.output});
    }
    let start =
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta = |text: &String| {
        event(
            &json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        )
    };
    Frames {
        head: vec![
            event(&json!({"type": "message_start", "message": message})),
            event(&start),
            event(&json!({"type": "ping"})),
        ],
        deltas: answer.chunks.iter().map(delta).collect(),
        finish: vec![event(&json!({"type": "content_block_stop", "index": 0}))],
        usage: vec![event(&last)],
        done: vec![event(&json!({"type": "message_stop"}))],
        error: event(&usual_error(529, stamp)),
        malformed:
            "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\n\n"
                .into(),
    }
}

/// An answer that was not asked for as a stream.
pub(crate) fn completion(call: &Call, answer: &Answer, stamp: Stamp) -> Value {
    let mut body = message(call, stamp);
    body["content"] = json!([{"type": "text", "text": answer.text()}]);
    body["stop_reason"] = json!(stop_reason(answer));
    if let Some(usage) = answer.usage {
        body["usage"] = usage_object(usage);
    }
    body
}

/// The body of an error.
pub(crate) fn error(status: u16, message: &str, stamp: Stamp) -> Value {
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": request_id(stamp)})
}

/// The usual error of a status.
pub(crate) fn usual_error(status: u16, stamp: Stamp) -> Value {
    let message = match status {
        401 => "invalid x-api-key",
        429 => "This request would exceed your organization's rate limit. Please try again later.",
        529 => "Overloaded",
        500.. => "Internal server error",
        _ => "The request could not be processed.",
    };
    error(status, message, stamp)
}

/// `GET /v1/models`.
pub(crate) fn models() -> Value {
    let model = |id: &str| json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"});
    let [first, .., last] = super::ANTHROPIC_MODELS;
    json!({"data": super::ANTHROPIC_MODELS.map(model), "has_more": false, "first_id": first, "last_id": last})
}

/// The value of the `request-id` header.
pub(crate) fn request_id(stamp: Stamp) -> String {
    format!("req_peer{:08}", stamp.order)
}

fn message(call: &Call, stamp: Stamp) -> Value {
    json!({
        "id": format!("msg_peer{:08}", stamp.order), "type": "message", "role": "assistant", "model": call.model,
        "content": [], "stop_reason": null, "stop_sequence": null,
    })
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.cut { "max_tokens" } else { "end_turn" }
}

fn usage_object(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "service_tier": "standard",
    })
}

/// One event, named as its data's `type`.
fn event(value: &Value) -> String {
    format!(
        "event: {}\ndata: {value}\n\n",
        value["type"].as_str().unwrap_or_default()
    )
}
