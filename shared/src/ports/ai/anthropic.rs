//! Anthropic Messages (<https://docs.anthropic.com/en/api/messages-streaming>).
//!
//! `message_start` tells what was read, `message_delta` the stop reason and the *cumulative* output tokens;
//! `input_tokens` leaves out what was read from or written to the prompt cache; pings and events of new kinds may come
//! anywhere; an error in mid-stream is an event of its own.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use super::sse::Flow;
use super::{Cut, Event, Finish, ModelCall, Usage};

/// The path after the base URL.
pub(super) const PATH: &str = "/v1/messages";

/// The version of the API that this speaks.
pub(super) const VERSION: &str = "2023-06-01";

/// The request's body.
pub(super) fn body(call: &ModelCall) -> Value {
    let said = call
        .messages
        .iter()
        .map(|m| json!({"role": m.speaker.role(), "content": m.text}));
    json!({
        "model": call.model,
        "system": call.system,
        "messages": said.collect::<Vec<_>>(),
        "max_tokens": call.max_tokens,
        "stream": true,
    })
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    MessageStart {
        message: Start,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Option<Ending>,
        usage: Option<Tokens>,
    },
    MessageStop,
    Error,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Start {
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    TextDelta {
        text: String,
    },
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// Reads one event's data.
pub(super) fn read(data: &str, out: &mut VecDeque<Event>) -> Result<Flow, Cut> {
    match serde_json::from_str(data).map_err(|_| Cut::Malformed)? {
        Frame::MessageStart { message } => out.extend(message.usage.map(|t| Event::Usage(usage(&t, false)))),
        Frame::ContentBlockDelta {
            delta: Delta::TextDelta { text },
        } if !text.is_empty() => out.push_back(Event::Text(text)),
        Frame::ContentBlockDelta { .. } | Frame::Unknown => {}
        Frame::MessageDelta { delta, usage: tokens } => {
            let reason = delta.and_then(|d| d.stop_reason);
            let last = reason.is_some();
            out.extend(tokens.map(|t| Event::Usage(usage(&t, last))));
            out.extend(reason.as_deref().map(finish).map(Event::Finish));
        }
        Frame::MessageStop => return Ok(Flow::End),
        Frame::Error => return Err(Cut::Provider),
    }
    Ok(Flow::GoOn)
}

fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "refusal" => Finish::Refused,
        _ => Finish::Other,
    }
}

/// What is written to the cache counts as read at full price; we never ask for that, so there is none.
fn usage(tokens: &Tokens, last: bool) -> Usage {
    let cache = [tokens.cache_creation_input_tokens, tokens.cache_read_input_tokens];
    let cache = cache.into_iter().flatten().fold(0, u64::saturating_add);
    Usage {
        input: tokens.input_tokens.map(|fresh| fresh.saturating_add(cache)),
        cached: tokens.cache_read_input_tokens,
        output: tokens.output_tokens,
        complete: last && tokens.output_tokens.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sse::testing::{collect, every_cut, joined};
    use super::*;

    const STREAM: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":15,\"cache_creation_input_tokens\":2,\"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Sag „Grüß\"}}\r\n\r\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
        "event: of_a_new_kind\ndata: {\"type\":\"of_a_new_kind\",\"x\":[1]}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" Gott“ 👋🏽\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":9}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    fn whole() -> Vec<Result<Event, Cut>> {
        vec![
            Ok(Event::Usage(Usage {
                input: Some(22),
                cached: Some(5),
                output: Some(1),
                complete: false,
            })),
            Ok(Event::Text("Sag „Grüß Gott“ 👋🏽".into())),
            Ok(Event::Usage(Usage {
                output: Some(9),
                complete: true,
                ..Usage::default()
            })),
            Ok(Event::Finish(Finish::Stop)),
        ]
    }

    #[test]
    fn a_stream_reads_the_same_cut_at_every_byte() {
        for pieces in every_cut(STREAM.as_bytes()) {
            assert_eq!(
                joined(collect(pieces.clone(), read)),
                whole(),
                "{:?}",
                pieces.first()
            );
        }
    }

    #[test]
    fn a_stream_that_ends_at_any_byte_is_cut_or_whole_and_never_wrong() {
        let finished_at = STREAM.find("end_turn").unwrap();
        for end in 0..STREAM.len() {
            let events = joined(collect(vec![STREAM.as_bytes()[..end].to_vec()], read));
            let cut = events.iter().position(Result::is_err);
            assert!(
                cut.is_none_or(|at| at + 1 == events.len()),
                "{end}: nothing follows a cut"
            );
            assert!(cut.is_some() || end > finished_at, "{end}: {events:?}");
        }
    }

    proptest! {
        #[test]
        fn a_stream_reads_the_same_however_it_is_split(mut at in proptest::collection::vec(0..STREAM.len(), 0..40)) {
            at.extend([0, STREAM.len()]);
            at.sort_unstable();
            let pieces = at.windows(2).map(|w| STREAM.as_bytes()[w[0]..w[1]].to_vec()).collect();
            prop_assert_eq!(joined(collect(pieces, read)), whole());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..16)) {
            prop_assert!(collect(pieces, read).last().is_some_and(Result::is_err));
        }
    }

    #[test]
    fn errors_and_malformed_events_cut_the_answer() {
        for (event, cut) in [
            (
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
                Cut::Provider,
            ),
            (
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\n\n",
                Cut::Malformed,
            ),
            ("data: {\"type\":\"content_block_delta\"}\n\n", Cut::Malformed),
            ("data: {}\n\n", Cut::Malformed),
        ] {
            assert_eq!(
                collect(vec![event.as_bytes().to_vec()], read),
                [Err(cut)],
                "{event}"
            );
        }
    }

    #[test]
    fn output_that_grows_in_several_deltas_is_cumulative() {
        let delta = |n: u32, reason: &str| {
            format!(
                "data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":{reason}}},\"usage\":{{\"output_tokens\":{n}}}}}\n\n"
            )
        };
        let body = format!(
            "{}{}{}",
            delta(4, "null"),
            delta(9, "\"max_tokens\""),
            "data: {\"type\":\"message_stop\"}\n\n"
        );
        let mut usage = Usage::default();
        for event in collect(vec![body.into_bytes()], read) {
            if let Ok(Event::Usage(more)) = event {
                usage.merge(more);
            }
        }
        assert_eq!(
            usage,
            Usage {
                output: Some(9),
                complete: true,
                ..Usage::default()
            }
        );
    }
}
