//! Every fault as steps, in both formats.

use std::time::Duration;

use serde_json::{Value, json};

use super::behaviour::{Behaviour, Script, Usage};
use super::call::{Call, Wire};
use super::count_tokens;
use super::frames::Stamp;
use super::plan::{Plan, Step, plan};

const BOTH: [Wire; 2] = [Wire::OpenAi, Wire::Anthropic];
const STAMP: Stamp = Stamp {
    order: 1,
    created: 1_700_000_000,
};

fn call(wire: Wire, extra: Value) -> Call {
    let mut body = json!({"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "How do I début?"}]});
    if wire == Wire::OpenAi && extra["stream"] == json!(true) {
        body["stream_options"] = json!({"include_usage": true});
    }
    for (name, value) in extra.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    Call::parse(wire, &body).expect("a valid call")
}

fn streamed(wire: Wire, behaviour: Behaviour) -> Plan {
    plan(
        &call(wire, json!({"stream": true})),
        &Script::new(behaviour, Duration::ZERO),
        STAMP,
    )
}

fn whole(wire: Wire, behaviour: Behaviour) -> Plan {
    plan(
        &call(wire, json!({})),
        &Script::new(behaviour, Duration::ZERO),
        STAMP,
    )
}

fn bytes(plan: &Plan) -> Vec<u8> {
    let sent = |step: &Step| match step {
        Step::Send(bytes) => bytes.to_vec(),
        Step::Repeat { bytes, times, .. } => bytes.repeat(*times),
        Step::Sleep(_) | Step::Abort => Vec::new(),
    };
    plan.steps.iter().flat_map(sent).collect()
}

fn text(plan: &Plan) -> String {
    String::from_utf8(bytes(plan)).expect("UTF-8")
}

fn content_deltas(text: &str) -> usize {
    text.matches("\"delta\":{\"content\":\"").count() - text.matches("\"content\":\"\"").count()
        + text.matches("\"text_delta\"").count()
}

#[test]
fn answers_as_they_go_over_the_wire() {
    for (name, wire) in [("openai", Wire::OpenAi), ("anthropic", Wire::Anthropic)] {
        let usage = Some(Usage {
            input: 20,
            cached: 5,
            output: 3,
        });
        let behaviour = Behaviour::Normal {
            text: Some("Say “oui” twice.".into()),
            usage,
        };
        insta::assert_snapshot!(format!("{name}_stream"), text(&streamed(wire, behaviour.clone())));
        let body: Value = serde_json::from_slice(&bytes(&whole(wire, behaviour))).expect("JSON");
        insta::assert_json_snapshot!(format!("{name}_whole"), body);
    }
}

#[test]
fn the_composed_answer_reads_well() {
    let body = json!({"model": "m", "messages": [
        {"role": "system", "content": "You are the Finance Advisor of a small household. Be kind."},
        {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "How much should I put aside each month if I want to buy a house in six years?"}]});
    let call = Call::parse(Wire::OpenAi, &body).expect("a valid call");
    insta::assert_snapshot!("composed", super::compose(&call));
}

#[test]
fn usage_only_if_asked_for_in_openai() {
    let quiet = call(Wire::OpenAi, json!({"stream": true, "stream_options": null}));
    let plan = plan(&quiet, &Script::new(Behaviour::default(), Duration::ZERO), STAMP);
    assert!(!text(&plan).contains("usage"));
    assert!(text(&plan).ends_with("data: [DONE]\n\n"));
}

#[test]
fn max_tokens_cuts_and_is_billed_exactly() {
    for (wire, reason) in [
        (Wire::OpenAi, "\"finish_reason\":\"length\""),
        (Wire::Anthropic, "\"stop_reason\":\"max_tokens\""),
    ] {
        for stream in [true, false] {
            let call = call(wire, json!({"stream": stream, "max_tokens": 7}));
            let text = text(&plan(
                &call,
                &Script::new(Behaviour::default(), Duration::ZERO),
                STAMP,
            ));
            assert!(text.contains(reason), "{text}");
            assert!(text.contains("_tokens\":7"), "{text}");
        }
    }
}

#[test]
fn cuts_break_where_they_should() {
    for wire in BOTH {
        let cut = streamed(wire, Behaviour::CutAfter { chunks: 3 });
        assert_eq!(cut.steps.last(), Some(&Step::Abort));
        assert_eq!(content_deltas(&text(&cut)), 3);
        let before_usage = streamed(wire, Behaviour::CutBeforeUsage);
        let normal = text(&streamed(wire, Behaviour::default()));
        assert_eq!(before_usage.steps.last(), Some(&Step::Abort));
        assert_eq!(content_deltas(&text(&before_usage)), content_deltas(&normal));
        assert!(normal.starts_with(&text(&before_usage)));
        assert!(!text(&before_usage).contains("\"completion_tokens\""));
        assert!(!text(&before_usage).contains("message_delta"));
        let body = whole(wire, Behaviour::CutAfter { chunks: 3 });
        assert_eq!(body.steps.last(), Some(&Step::Abort));
        assert!(serde_json::from_slice::<Value>(&bytes(&body)).is_err());
    }
}

#[test]
fn errors_in_a_stream_end_it_and_malformed_events_do_not() {
    for wire in BOTH {
        let error = text(&streamed(wire, Behaviour::ErrorEventAfter { chunks: 2 }));
        assert_eq!(content_deltas(&error), 2);
        assert!(
            error
                .lines()
                .rev()
                .find(|line| !line.is_empty())
                .is_some_and(|line| line.contains("\"error\":{")),
            "{error}"
        );
        assert_eq!(whole(wire, Behaviour::ErrorEventAfter { chunks: 2 }).status, 500);

        let malformed = text(&streamed(wire, Behaviour::MalformedEventAfter { chunks: 2 }));
        let normal = text(&streamed(wire, Behaviour::default()));
        assert_eq!(content_deltas(&malformed), content_deltas(&normal));
        let broken = malformed
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]" && serde_json::from_str::<Value>(data).is_err());
        assert_eq!(broken.count(), 1);
    }
}

#[test]
fn statuses_have_the_providers_shapes() {
    let types = |wire, code| -> (u16, Value) {
        let behaviour = Behaviour::Status {
            code,
            retry_after: Some(3),
            body: None,
        };
        let plan = streamed(wire, behaviour);
        assert_eq!(
            (plan.retry_after, plan.content_type),
            (Some(3), "application/json")
        );
        let body: Value = serde_json::from_slice(&bytes(&plan)).expect("JSON");
        (plan.status, body["error"]["type"].clone())
    };
    assert_eq!(types(Wire::OpenAi, 429), (429, json!("requests")));
    assert_eq!(types(Wire::OpenAi, 500), (500, json!("server_error")));
    assert_eq!(types(Wire::Anthropic, 429), (429, json!("rate_limit_error")));
    assert_eq!(types(Wire::Anthropic, 529), (529, json!("overloaded_error")));
    let page = Behaviour::Status {
        code: 502,
        retry_after: None,
        body: Some("<h1>Bad gateway</h1>".into()),
    };
    let plan = streamed(Wire::OpenAi, page);
    assert_eq!(
        (plan.status, plan.content_type, text(&plan).as_str()),
        (502, "text/html; charset=utf-8", "<h1>Bad gateway</h1>")
    );
}

#[test]
fn no_usage_means_none_anywhere() {
    for wire in BOTH {
        for plan in [
            streamed(wire, Behaviour::NoUsage),
            whole(wire, Behaviour::NoUsage),
        ] {
            assert!(!text(&plan).contains("_tokens\""), "{}", text(&plan));
            assert_ne!(plan.steps.last(), Some(&Step::Abort));
        }
    }
}

#[test]
fn sizes_are_as_ordered() {
    for wire in BOTH {
        let endless = bytes(&streamed(wire, Behaviour::Endless { max_bytes: 100_000 })).len();
        assert!((100_000..101_000).contains(&endless), "{endless}");
        let huge = streamed(wire, Behaviour::HugeEvent { bytes: 50_000 });
        let longest = text(&huge).lines().map(str::len).max();
        assert!(longest.is_some_and(|longest| (50_000..51_000).contains(&longest)));
        assert!(text(&huge).contains(&format!("_tokens\":{}", count_tokens(&"x".repeat(50_000)))));
    }
}

#[test]
fn split_pieces_have_the_size_and_change_nothing() {
    for wire in BOTH {
        for n in [1, 3, 7, 1000] {
            let split = streamed(wire, Behaviour::SplitBytes { n });
            let sizes: Vec<usize> = split
                .steps
                .iter()
                .map(|step| match step {
                    Step::Send(bytes) => bytes.len(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == n));
            assert_eq!(text(&split), text(&streamed(wire, Behaviour::default())));
        }
    }
}

#[test]
fn time_passes_where_it_should() {
    let sleeps = |plan: &Plan| {
        plan.steps
            .iter()
            .filter(|step| matches!(step, Step::Sleep(_)))
            .count()
    };
    for wire in BOTH {
        let slow = streamed(wire, Behaviour::Slow { chunk_delay_ms: 9 });
        assert_eq!(sleeps(&slow), content_deltas(&text(&slow)) - 1);
        assert!(slow.steps.contains(&Step::Sleep(Duration::from_millis(9))));
        let stalled = streamed(wire, Behaviour::StallAfter { chunks: 1, ms: 40 });
        assert_eq!(sleeps(&stalled), 1);
        assert_eq!(text(&stalled), text(&streamed(wire, Behaviour::default())));
        let late = streamed(wire, Behaviour::StallBeforeHeaders { ms: 50 });
        assert_eq!(
            (late.before_headers, sleeps(&late)),
            (Duration::from_millis(50), 0)
        );
        assert_eq!(
            sleeps(&whole(wire, Behaviour::StallAfter { chunks: 1, ms: 40 })),
            1
        );
    }
}

#[test]
fn an_after_beyond_the_end_means_after_the_last_delta() {
    for wire in BOTH {
        let cut = streamed(wire, Behaviour::CutAfter { chunks: 100_000 });
        assert_eq!(cut.steps.last(), Some(&Step::Abort));
        assert_eq!(
            content_deltas(&text(&cut)),
            content_deltas(&text(&streamed(wire, Behaviour::default())))
        );
    }
}
