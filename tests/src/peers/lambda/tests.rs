use std::time::{Duration, Instant};

use futures_util::stream;
use serde_json::{Value, json};

use super::control::Control;
use super::{LambdaPeer, Mode, Recorder, Reply};

fn client() -> reqwest::Client {
    camarad::ports::web::client().unwrap()
}

/// Asks for work as a runtime does; answers the id and the event.
async fn next(peer: &str) -> (String, Value) {
    let url = format!("http://{peer}/2018-06-01/runtime/invocation/next");
    let response = client().get(url).send().await.unwrap();
    let id = response.headers()["lambda-runtime-aws-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    (id, response.json().await.unwrap())
}

fn url(peer: &str, id: &str, what: &str) -> String {
    format!("http://{peer}/2018-06-01/runtime/invocation/{id}/{what}")
}

#[tokio::test]
async fn an_event_goes_to_the_function_and_its_answer_comes_back() {
    let peer = LambdaPeer::start().await.unwrap();
    let reply = peer.offer(json!({"n": 1}));
    let (id, event) = next(&peer.address()).await;
    assert_eq!((event, peer.polls()), (json!({"n": 1}), 1));
    let answer = client()
        .post(url(&peer.address(), &id, "response"))
        .body("{\"ok\":true}");
    assert_eq!(answer.send().await.unwrap().status(), 202);
    let reply = reply.await.unwrap();
    assert_eq!(
        (reply.mode, reply.body()),
        (Mode::Buffered, &b"{\"ok\":true}"[..])
    );
    assert!(reply.prelude().is_none() && reply.handed <= reply.ended);
    let again = client().post(url(&peer.address(), &id, "response")).body("{}");
    assert_eq!(
        again.send().await.unwrap().status(),
        403,
        "an answer is given once"
    );
}

#[tokio::test]
async fn a_streamed_answer_is_told_apart_from_its_prelude_wherever_chunks_end() {
    let peer = LambdaPeer::start().await.unwrap();
    let reply = peer.offer(json!({}));
    let (id, _) = next(&peer.address()).await;
    let (chunks, body) = piecewise();
    let sent = client()
        .post(url(&peer.address(), &id, "response"))
        .header("lambda-runtime-function-response-mode", "streaming")
        .body(body);
    let sent = tokio::spawn(sent.send());
    for part in [
        "{\"statusCode\":200}\0\0\0",
        "\0\0\0\0\0",
        "event: a\n\nevent: d",
        "elta\n\n",
    ] {
        chunks.send(part.to_owned()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(chunks);
    sent.await.unwrap().unwrap();
    let reply = reply.await.unwrap();
    assert_eq!(reply.mode, Mode::Streaming);
    assert_eq!(reply.prelude(), Some(&b"{\"statusCode\":200}"[..]));
    assert_eq!(reply.body(), b"event: a\n\nevent: delta\n\n");
}

#[test]
fn a_mark_has_come_when_its_last_byte_has() {
    let began = Instant::now();
    let at = |n| began + Duration::from_millis(n);
    let mut reply = Reply::new(Mode::Streaming, began);
    for (n, chunk) in [
        (1, "{}\0\0\0"),
        (2, "\0\0\0\0\0"),
        (3, "event: a\n\nevent: d"),
        (4, "elta\n\n"),
    ] {
        reply.add(at(n), chunk.as_bytes());
    }
    assert_eq!(reply.first_byte(), Some(at(3)));
    assert_eq!(reply.found(b"event: d"), Some(at(3)));
    assert_eq!(reply.found(b"event: delta"), Some(at(4)));
    assert_eq!(reply.found(b"event: done"), None);
}

/// A request body that is written piece by piece.
fn piecewise() -> (tokio::sync::mpsc::UnboundedSender<String>, reqwest::Body) {
    let (pieces, waiting) = tokio::sync::mpsc::unbounded_channel::<String>();
    let all = stream::unfold(waiting, |mut waiting| async {
        let piece = waiting.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), waiting))
    });
    (pieces, reqwest::Body::wrap_stream(all))
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let peer = LambdaPeer::start().await.unwrap();
    let said = format!("http://{}/2018-06-01/runtime/init/error", peer.address());
    client().post(said).body("no table").send().await.unwrap();
    assert_eq!(peer.failure().await, "no table");
}

#[tokio::test]
async fn what_goes_through_the_recorder_is_passed_on_and_timed() {
    let behind = crate::peers::ai::AiPeer::start().await.unwrap();
    let recorder = Recorder::start(&behind.base_url(), client()).await.unwrap();
    let answer = client()
        .get(format!("{}/v1/models", recorder.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401, "the answer is that of the server behind");
    let spans = recorder.take();
    assert_eq!((spans.len(), spans[0].target.as_str()), (1, "/v1/models"));
    assert!(spans[0].from < spans[0].till && recorder.take().is_empty());
}

#[tokio::test]
async fn a_process_that_ends_instead_of_asking_for_work_is_an_error() {
    let mut control = Control::new().unwrap();
    let log = std::env::temp_dir().join(format!("runtime-peer-{}.log", std::process::id()));
    let order = json!({"do": "start", "command": ["/bin/false"], "env": {}, "log": log});
    let answer: Value = serde_json::from_str(&control.line(&order.to_string()).await).unwrap();
    std::fs::remove_file(log).unwrap();
    assert_eq!(answer["error"], "the function ended (exit status: 1)", "{answer}");
    let answer = control.line("{\"do\":\"invoke\",\"event\":{}}").await;
    assert!(answer.contains("\"error\""), "{answer}");
}
