//! OpenAI Chat Completions (<https://platform.openai.com/docs/api-reference/chat-streaming>).
//!
//! With `stream_options.include_usage` the last chunk has no choices and the whole call's usage; `[DONE]` ends the
//! stream; an error in mid-stream is a data line with an `error` object.

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use super::sse::Flow;
use super::{Cut, Event, Finish, ModelCall, Usage};

/// The path after the base URL.
pub(super) const PATH: &str = "/chat/completions";

/// The request's body.
pub(super) fn body(call: &ModelCall) -> Value {
    let system = json!({"role": "system", "content": call.system});
    let said = call
        .messages
        .iter()
        .map(|m| json!({"role": m.speaker.role(), "content": m.text}));
    json!({
        "model": call.model,
        "messages": std::iter::once(system).chain(said).collect::<Vec<_>>(),
        "max_completion_tokens": call.max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    usage: Option<Tokens>,
    error: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptTokens>,
}

#[derive(Deserialize)]
struct PromptTokens {
    cached_tokens: Option<u64>,
}

/// Reads one event's data.
pub(super) fn read(data: &str, out: &mut VecDeque<Event>) -> Result<Flow, Cut> {
    if data.trim() == "[DONE]" {
        return Ok(Flow::End);
    }
    let chunk: Chunk = serde_json::from_str(data).map_err(|_| Cut::Malformed)?;
    if chunk.error.is_some() {
        return Err(Cut::Provider);
    }
    for choice in chunk.choices.into_iter().flatten().filter(|c| c.index == 0) {
        let delta = choice
            .delta
            .and_then(|d| d.content.filter(|text| !text.is_empty()).or(d.refusal));
        out.extend(delta.filter(|text| !text.is_empty()).map(Event::Text));
        out.extend(choice.finish_reason.as_deref().map(finish).map(Event::Finish));
    }
    out.extend(chunk.usage.map(usage).map(Event::Usage));
    Ok(Flow::GoOn)
}

fn finish(reason: &str) -> Finish {
    match reason {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "content_filter" => Finish::Refused,
        _ => Finish::Other,
    }
}

fn usage(tokens: Tokens) -> Usage {
    Usage {
        input: tokens.prompt_tokens,
        cached: tokens.prompt_tokens_details.and_then(|d| d.cached_tokens),
        output: tokens.completion_tokens,
        complete: tokens.prompt_tokens.is_some() && tokens.completion_tokens.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sse::testing::{collect, every_cut, joined};
    use super::*;

    const STREAM: &str = concat!(
        ": a comment\n\n",
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},\"finish_reason\":null}],\"usage\":null}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Sag „Grüß\"},\"finish_reason\":null}],\"obfuscation\":\"x\"}\r\n\r\n",
        "data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other choice\"}}]}\n\n",
        "event: something.new\ndata: {\"kind\":\"unknown\"}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" Gott“ 👋🏽\"},\"finish_reason\":null}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":3,\"total_tokens\":23,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\n",
        "data: [DONE]\n\n",
    );

    fn whole() -> Vec<Result<Event, Cut>> {
        vec![
            Ok(Event::Text("Sag „Grüß Gott“ 👋🏽".into())),
            Ok(Event::Finish(Finish::Stop)),
            Ok(Event::Usage(Usage {
                input: Some(20),
                cached: Some(5),
                output: Some(3),
                complete: true,
            })),
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
        let finished_at = STREAM.find("\"stop\"").unwrap();
        for end in 0..STREAM.len() {
            let events = joined(collect(vec![STREAM.as_bytes()[..end].to_vec()], read));
            let cut = events.iter().position(Result::is_err);
            assert!(
                cut.is_none_or(|at| at + 1 == events.len()),
                "{end}: nothing follows a cut"
            );
            assert!(cut.is_some() || end > finished_at, "{end}: {events:?}");
            let text: String = events
                .iter()
                .filter_map(|e| {
                    if let Ok(Event::Text(t)) = e {
                        Some(t.as_str())
                    } else {
                        None
                    }
                })
                .collect();
            assert!("Sag „Grüß Gott“ 👋🏽".starts_with(&text), "{end}: {text}");
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
            let events = collect(pieces, read);
            prop_assert!(events.last().is_some_and(Result::is_err));
        }

        #[test]
        fn no_json_makes_the_reader_panic(data in "\\PC{0,200}") {
            let _ = read(&data, &mut VecDeque::new());
        }
    }

    #[test]
    fn errors_and_malformed_events_cut_the_answer() {
        let delta = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        let after = |event: &str| collect(vec![format!("{delta}{event}{delta}").into_bytes()], read);
        let text = || Ok(Event::Text("a".into()));
        assert_eq!(
            after("data: {\"error\":{\"message\":\"no\"}}\n\n"),
            [text(), Err(Cut::Provider)]
        );
        assert_eq!(after("data: {\"choices\":[{\n\n"), [text(), Err(Cut::Malformed)]);
        assert_eq!(after("data: {\"choices\":7}\n\n"), [text(), Err(Cut::Malformed)]);
        assert_eq!(
            after("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-1}}\n\n"),
            [text(), Err(Cut::Malformed)]
        );
    }

    #[test]
    fn usage_may_be_missing_in_parts() {
        let mut out = VecDeque::new();
        read("{\"choices\":null,\"usage\":{\"prompt_tokens\":0}}", &mut out).unwrap();
        assert_eq!(
            out,
            [Event::Usage(Usage {
                input: Some(0),
                ..Usage::default()
            })]
        );
    }
}
