//! Functions called as Lambda's own API calls them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Deployed;
use crate::app::{Answer, event};
use crate::visitor::{Visitor, http};

/// Between head and body of a streamed answer.
const NULS: &str = "\0\0\0\0\0\0\0\0";

impl Deployed {
    /// Invokes a function, by the name of its folder, and gives what it answers.
    pub async fn invoke(&self, function: &str, event: &Value) -> Value {
        let url = self.lambda(function, "2015-03-31", "invocations");
        let request = http().post(url).header("authorization", super::signed("lambda"));
        let answer = request
            .body(event.to_string())
            .send()
            .await
            .expect("Lambda answers");
        let failed = answer.headers().get("x-amz-function-error").is_some();
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(
            status.is_success() && !failed,
            "{function} failed: {status} {body}"
        );
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{function}: {e}: {body}"))
    }

    /// Posts to a route of the runtime function that streams, as `streamed` does.
    pub async fn post_streaming(&self, visitor: &Visitor, path: &str, body: &Value) -> Answer {
        self.streamed("runtime", visitor, ("POST", path), Some(body))
            .await
    }

    /// Asks a route that streams, with the event that API Gateway would send, through InvokeWithResponseStream. The local
    /// services give the stream in one piece, after its end.
    pub async fn streamed(
        &self,
        function: &str,
        visitor: &Visitor,
        (method, path): (&str, &str),
        body: Option<&Value>,
    ) -> Answer {
        self.streamed_with(function, visitor, (method, path, ""), body)
            .await
    }

    /// The same with a query.
    pub async fn streamed_with(
        &self,
        function: &str,
        visitor: &Visitor,
        (method, path, query): (&str, &str, &str),
        body: Option<&Value>,
    ) -> Answer {
        let headers: HashMap<_, _> = visitor.headers(body.is_some()).into_iter().collect();
        let body = body.map(Value::to_string);
        let event = event::rest(method, path, query, &headers, "203.0.113.7", body.as_deref());
        let url = self.lambda(function, "2021-11-15", "response-streaming-invocations");
        let request = http().post(url).header("authorization", super::signed("lambda"));
        let answer = request
            .body(event.to_string())
            .send()
            .await
            .expect("Lambda answers");
        let status = answer.status();
        let frames = answer.bytes().await.expect("frames");
        assert!(
            status.is_success(),
            "{status}: {}",
            String::from_utf8_lossy(&frames)
        );
        unpack(&frames)
    }

    fn lambda(&self, function: &str, version: &str, action: &str) -> String {
        let name = self.function(function);
        format!("{}/{version}/functions/{name}/{action}", self.endpoint())
    }
}

/// The answer in the frames of one invocation.
fn unpack(frames: &[u8]) -> Answer {
    let (mut payload, mut end) = (Vec::new(), None);
    for (kind, content) in messages(frames) {
        match kind.as_str() {
            "PayloadChunk" => payload.extend_from_slice(content),
            "InvokeComplete" => end = Some(String::from_utf8_lossy(content).into_owned()),
            other => panic!("an event of the kind {other}"),
        }
    }
    let text = String::from_utf8(payload).expect("UTF-8");
    assert_eq!(end.as_deref(), Some("{}"), "the function failed: {text}");
    let stream: String =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("not one string: {e}: {text}"));
    let (head, body) = stream.split_once(NULS).expect("a head and a body");
    let head: Value = serde_json::from_str(head).expect("the head is JSON");
    let mut headers = http::HeaderMap::new();
    for (name, value) in head["headers"].as_object().into_iter().flatten() {
        let name: http::HeaderName = name.parse().expect("a header's name");
        headers.insert(
            name,
            value
                .as_str()
                .and_then(|v| v.parse().ok())
                .expect("a header's value"),
        );
    }
    Answer {
        status: head["statusCode"]
            .as_u64()
            .and_then(|s| u16::try_from(s).ok())
            .expect("a status"),
        headers,
        body: body.to_owned(),
        cost: camarad::store::cost::Cost::default(),
    }
}

/// The messages of an AWS event stream (`application/vnd.amazon.eventstream`): kind and payload. Checksums are left
/// alone, as they come from this machine.
fn messages(mut frames: &[u8]) -> Vec<(String, &[u8])> {
    let number = |at: &[u8]| u32::from_be_bytes(at.try_into().expect("four bytes")) as usize;
    let mut found = Vec::new();
    while !frames.is_empty() {
        let (message, rest) = frames.split_at(number(&frames[..4]));
        let headers_end = 12 + number(&message[4..8]);
        let payload = &message[headers_end..message.len() - 4];
        found.push((kind(&message[12..headers_end]), payload));
        frames = rest;
    }
    found
}

/// The header `:event-type`; every header here is a string (type 7).
fn kind(mut headers: &[u8]) -> String {
    while let [length, rest @ ..] = headers {
        let (name, rest) = rest.split_at(usize::from(*length));
        assert_eq!(rest[0], 7, "a header that is no string");
        let length = usize::from(u16::from_be_bytes([rest[1], rest[2]]));
        let (value, rest) = rest[3..].split_at(length);
        if name == b":event-type" {
            return String::from_utf8_lossy(value).into_owned();
        }
        headers = rest;
    }
    panic!("a message without a kind");
}

/// An event of events/, as the functions' own tests read them.
pub fn sample(name: &str) -> Value {
    let path = crate::app::stack::repository().join("events").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The event of a queue that delivers these bodies.
pub fn queue_event(bodies: &[String]) -> Value {
    let record = |(n, body): (usize, &String)| {
        json!({
            "messageId": format!("message-{n}"), "receiptHandle": "handle", "body": body,
            "attributes": {}, "messageAttributes": {}, "md5OfBody": "", "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:metering", "awsRegion": "us-east-1",
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}
