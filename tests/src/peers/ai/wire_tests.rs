//! The server over real sockets, read with the SSE parser that production uses.

use std::time::Duration;

use camarad::clock::Stopwatch;
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{AiPeer, Behaviour, Call, Wire, compose, count_tokens};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const BOTH: [Wire; 2] = [Wire::OpenAi, Wire::Anthropic];

thread_local! {
    /// Building one reads the machine's certificates. Each test has a thread and a runtime of its own, and a pooled
    /// connection must not outlive its runtime.
    static CLIENT: Client = {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Client::builder().timeout(Duration::from_secs(30)).build().expect("a client")
    };
}

fn client() -> Client {
    CLIENT.with(Client::clone)
}

fn body(wire: Wire, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Où sont les neiges d’antan?"}]);
    match wire {
        Wire::OpenAi if stream => {
            json!({"model": "gpt-4o", "messages": messages, "stream": true, "stream_options": {"include_usage": true}})
        }
        Wire::OpenAi => json!({"model": "gpt-4o", "messages": messages}),
        Wire::Anthropic => {
            json!({"model": "claude", "max_tokens": 500, "messages": messages, "stream": stream})
        }
    }
}

fn request(peer: &AiPeer, wire: Wire, stream: bool) -> RequestBuilder {
    let request = match wire {
        Wire::OpenAi => client()
            .post(format!("{}/v1/chat/completions", peer.base_url()))
            .bearer_auth("sk-test-1234"),
        Wire::Anthropic => client()
            .post(format!("{}/v1/messages", peer.base_url()))
            .header("x-api-key", "sk-ant-1234")
            .header("anthropic-version", "2023-06-01"),
    };
    request.json(&body(wire, stream))
}

/// What a reader makes of a stream.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    output_tokens: Option<u64>,
    unreadable: usize,
    error: bool,
    /// The body ended as it should.
    proper_end: bool,
}

async fn hear(response: Response) -> Heard {
    let mut heard = Heard {
        proper_end: true,
        ..Heard::default()
    };
    let mut events = response.bytes_stream().eventsource();
    while let Some(event) = events.next().await {
        match event {
            Err(_) => {
                heard.proper_end = false;
                break;
            }
            Ok(event) if event.data == "[DONE]" => {}
            Ok(event) => match serde_json::from_str::<Value>(&event.data) {
                Ok(data) => heard.take(&data),
                Err(_) => heard.unreadable += 1,
            },
        }
    }
    heard
}

impl Heard {
    fn take(&mut self, data: &Value) {
        for path in ["/choices/0/delta/content", "/delta/text"] {
            self.text += data.pointer(path).and_then(Value::as_str).unwrap_or_default();
        }
        for path in ["/usage/completion_tokens", "/usage/output_tokens"] {
            self.output_tokens = data.pointer(path).and_then(Value::as_u64).or(self.output_tokens);
        }
        self.error |= data.get("error").is_some();
    }
}

#[tokio::test]
async fn both_formats_stream_the_composed_answer_with_its_bill() -> Outcome {
    let peer = AiPeer::start().await?;
    for wire in BOTH {
        let expected = compose(&Call::parse(wire, &body(wire, true))?);
        let response = request(&peer, wire, true).send().await?;
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream; charset=utf-8"
        );
        assert_heard(&hear(response).await, &expected);
        let whole: Value = request(&peer, wire, false).send().await?.json().await?;
        let said = whole
            .pointer("/choices/0/message/content")
            .or(whole.pointer("/content/0/text"));
        assert_eq!(said, Some(&json!(expected)));
    }
    Ok(())
}

fn assert_heard(heard: &Heard, text: &str) {
    assert_eq!(heard.text, text);
    assert_eq!(heard.output_tokens, Some(count_tokens(text)));
    assert!(
        heard.proper_end && heard.unreadable == 0 && !heard.error,
        "{heard:?}"
    );
}

#[tokio::test]
async fn pieces_of_any_size_are_read_alike() -> Outcome {
    let peer = AiPeer::start().await?;
    for wire in BOTH {
        for n in [1, 2, 5, 64] {
            // Few words: each piece is a write of its own.
            let said = Behaviour::text("Où? “Là-bas” – 雪.");
            peer.push(Behaviour::All {
                of: vec![said, Behaviour::SplitBytes { n }],
            });
            let heard = hear(request(&peer, wire, true).send().await?).await;
            assert_heard(&heard, "Où? “Là-bas” – 雪.");
        }
    }
    Ok(())
}

#[tokio::test]
async fn faults_do_what_they_say() -> Outcome {
    let peer = AiPeer::start().await?;
    for wire in BOTH {
        for cut in [Behaviour::CutAfter { chunks: 2 }, Behaviour::CutBeforeUsage] {
            peer.push(cut);
            let heard = hear(request(&peer, wire, true).send().await?).await;
            assert!(
                !heard.proper_end && heard.text.starts_with("You asked"),
                "{heard:?}"
            );
        }
        peer.push(Behaviour::ErrorEventAfter { chunks: 2 });
        let heard = hear(request(&peer, wire, true).send().await?).await;
        assert!(
            heard.error && heard.proper_end && heard.text == "You asked:",
            "{heard:?}"
        );
        peer.push(Behaviour::MalformedEventAfter { chunks: 2 });
        let heard = hear(request(&peer, wire, true).send().await?).await;
        assert!(
            heard.unreadable == 1 && heard.output_tokens.is_some(),
            "{heard:?}"
        );
        peer.push(Behaviour::NoUsage);
        assert_eq!(
            hear(request(&peer, wire, true).send().await?).await.output_tokens,
            None
        );
        peer.push(Behaviour::HugeEvent { bytes: 300_000 });
        assert_eq!(
            hear(request(&peer, wire, true).send().await?).await.text.len(),
            300_000
        );
        peer.push(Behaviour::Endless { max_bytes: 300_000 });
        let endless = request(&peer, wire, true).send().await?.bytes().await?.len();
        assert!((300_000..301_000).contains(&endless));
        peer.push(Behaviour::CutAfter { chunks: 0 });
        let response = request(&peer, wire, false).send().await?;
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err());
    }
    assert_eq!(peer.queued(), 0);
    Ok(())
}

#[tokio::test]
async fn statuses_and_stalls_arrive() -> Outcome {
    let peer = AiPeer::start().await?;
    peer.push(Behaviour::Status {
        code: 529,
        retry_after: Some(7),
        body: None,
    });
    let response = request(&peer, Wire::Anthropic, true).send().await?;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (529, &"7".parse()?)
    );
    assert_eq!(
        response.json::<Value>().await?["error"]["type"],
        "overloaded_error"
    );

    for stall in [
        Behaviour::StallBeforeHeaders { ms: 120 },
        Behaviour::StallAfter { chunks: 1, ms: 120 },
    ] {
        peer.push(stall);
        let start = Stopwatch::start();
        let heard = hear(request(&peer, Wire::OpenAi, true).send().await?).await;
        assert!(heard.proper_end && start.elapsed() >= Duration::from_millis(120));
    }
    Ok(())
}

#[tokio::test]
async fn keys_are_demanded_and_a_refused_call_uses_no_behaviour() -> Outcome {
    let peer = AiPeer::start().await?;
    peer.push(Behaviour::status(500));
    let openai = format!("{}/v1/chat/completions", peer.base_url());
    let anthropic = format!("{}/v1/messages", peer.base_url());
    let missing = client()
        .post(&openai)
        .json(&body(Wire::OpenAi, false))
        .send()
        .await?;
    assert_eq!(missing.status(), 401);
    assert_eq!(
        missing.json::<Value>().await?["error"]["type"],
        "invalid_request_error"
    );
    let wrong = client()
        .post(&openai)
        .bearer_auth("bad-key-0000")
        .json(&body(Wire::OpenAi, false))
        .send()
        .await?;
    assert_eq!(
        (
            wrong.status().as_u16(),
            &wrong.json::<Value>().await?["error"]["code"]
        ),
        (401, &json!("invalid_api_key"))
    );
    let keyless = client()
        .post(&anthropic)
        .header("anthropic-version", "2023-06-01")
        .body("{}")
        .send()
        .await?;
    assert_eq!(keyless.status(), 401);
    assert_eq!(
        keyless.json::<Value>().await?["error"]["type"],
        "authentication_error"
    );
    let versionless = client()
        .post(&anthropic)
        .header("x-api-key", "k")
        .body("{}")
        .send()
        .await?;
    assert_eq!(versionless.status(), 400);
    let garbage = client()
        .post(&openai)
        .bearer_auth("sk-1")
        .body("{")
        .send()
        .await?;
    assert_eq!(garbage.status(), 400);
    assert_eq!(peer.queued(), 1);
    assert_eq!(request(&peer, Wire::OpenAi, false).send().await?.status(), 500);
    Ok(())
}

#[tokio::test]
async fn the_control_paths_queue_and_tell() -> Outcome {
    let peer = AiPeer::start().await?;
    let control = format!("{}/_peer", peer.base_url());
    let behaviours = json!([{"kind": "status", "code": 429}, {"kind": "normal", "text": "Deux."}]);
    let queued = client()
        .post(format!("{control}/behaviours"))
        .json(&behaviours)
        .send()
        .await?;
    assert_eq!(queued.json::<Value>().await?, json!({"queued": 2}));
    let nonsense = client()
        .post(format!("{control}/behaviours"))
        .json(&json!([{"kind": "explode"}]))
        .send()
        .await?;
    assert_eq!(nonsense.status(), 400);
    assert_eq!(request(&peer, Wire::OpenAi, true).send().await?.status(), 429);
    assert_eq!(
        hear(request(&peer, Wire::OpenAi, true).send().await?).await.text,
        "Deux."
    );

    let requests: Value = client()
        .get(format!("{control}/requests"))
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(requests.as_array().map(Vec::len), Some(2));
    assert_eq!(requests[1]["order"], 2);
    assert_eq!(requests[1]["path"], "/v1/chat/completions");
    assert_eq!(requests[1]["headers"]["authorization"], "Bearer ****1234");
    assert_eq!(requests[1]["body"], body(Wire::OpenAi, true));
    assert_eq!(
        (&requests[1]["ended"], &requests[1]["client_left"]),
        (&json!(true), &json!(false))
    );
    assert!(requests[1]["bytes_sent"].as_u64() > Some(500));
    client().delete(format!("{control}/requests")).send().await?;
    assert!(peer.requests().is_empty());

    let models: Value = client()
        .get(format!("{}/v1/models", peer.base_url()))
        .bearer_auth("sk-1")
        .send()
        .await?
        .json()
        .await?;
    assert_eq!(models["data"][0]["id"], "gpt-4o");
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed() -> Outcome {
    let peer = AiPeer::start().await?;
    peer.push(Behaviour::StallAfter {
        chunks: 1,
        ms: 60_000,
    });
    let mut response = request(&peer, Wire::OpenAi, true).send().await?;
    response.chunk().await?;
    assert!(!peer.wait_for_requests(1).await[0].client_left);
    drop(response);
    let requests = peer
        .wait_until(|requests| requests.iter().all(|request| request.ended))
        .await;
    assert!(requests[0].client_left);

    peer.push(Behaviour::StallBeforeHeaders { ms: 60_000 });
    let impatient = request(&peer, Wire::OpenAi, true)
        .timeout(Duration::from_millis(100))
        .send()
        .await;
    assert!(impatient.is_err());
    let requests = peer
        .wait_until(|requests| requests.len() == 2 && requests[1].ended)
        .await;
    assert!(requests[1].client_left && requests[1].status.is_none());
    Ok(())
}

#[tokio::test]
async fn a_dropped_peer_accepts_nothing_more() -> Outcome {
    let peer = AiPeer::start().await?;
    let url = peer.base_url();
    drop(peer);
    let refused = async {
        while client().get(&url).send().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), refused).await?;
    Ok(())
}
