//! Usage events of other services: checked one by one, and sent the way that all others go.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::count::accepted;
use crate::app::App;
use crate::config::Config;
use crate::domain::cloud_event::CloudEvent;
use crate::error::{Error, FieldError, Result};
use crate::ports::queue::MAX_BATCH;

/// How many events one request may bring.
pub const MOST: usize = 100;

/// How late an event may come; it is counted in the bucket of its own time.
const LATE: SignedDuration = SignedDuration::from_hours(24 * 90);

/// What other services' sources begin with; without it, an event is our own.
pub(super) const SERVICES: &str = "camarad/";

/// An event that is not taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvent {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Its id, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is wrong with it.
    pub errors: Vec<FieldError>,
}

/// What became of the events of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedEvents {
    /// How many will be counted, each once, however often it is sent.
    pub accepted: usize,
    /// The others. They change nothing, and may be sent again once they are right.
    pub refused: Vec<RefusedEvent>,
}

/// Takes one event.
///
/// # Errors
/// `Invalid` with what is wrong; `Unavailable` when the queue does not take it.
pub async fn one(app: &App, event: Value) -> Result<RecordedEvents> {
    let event = checked(event, app.clock().now())?;
    send(app, &[event]).await?;
    Ok(RecordedEvents {
        accepted: 1,
        refused: Vec::new(),
    })
}

/// Takes several; those that are wrong do not stop the others.
///
/// # Errors
/// `Invalid` when there are none or too many; `Unavailable` when the queue does not take all of them: sending all of them
/// again is safe.
pub async fn many(app: &App, events: Vec<Value>) -> Result<RecordedEvents> {
    if events.is_empty() || events.len() > MOST {
        return Err(Error::field("body", format!("must be 1 to {MOST} events")));
    }
    let now = app.clock().now();
    let (mut good, mut refused, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    let mut accepted = 0;
    for (index, event) in events.into_iter().enumerate() {
        let id = event.get("id").and_then(Value::as_str).map(str::to_owned);
        match checked(event, now) {
            Ok(event) => {
                accepted += 1;
                if seen.insert((event.source.clone(), event.id.clone())) {
                    good.push(event);
                }
            }
            Err(Error::Invalid(errors)) => refused.push(RefusedEvent { index, id, errors }),
            Err(other) => return Err(other),
        }
    }
    send(app, &good).await?;
    Ok(RecordedEvents { accepted, refused })
}

async fn send(app: &App, events: &[CloudEvent]) -> Result<()> {
    let url = Config::need(&app.config().metering_queue_url, "METERING_QUEUE_URL")?;
    for some in events.chunks(MAX_BATCH) {
        let bodies = some
            .iter()
            .map(|event| serde_json::to_string(event).map_err(Error::internal));
        let left = app
            .queue()?
            .send(url, &bodies.collect::<Result<Vec<_>>>()?)
            .await?;
        if !left.is_empty() {
            return Err(Error::Unavailable(
                "the metering queue did not take all events".into(),
            ));
        }
    }
    Ok(())
}

/// The event, if the consumer will count it.
fn checked(event: Value, now: Timestamp) -> Result<CloudEvent> {
    let event =
        CloudEvent::check(serde_json::from_value(event).map_err(|e| Error::field("event", e.to_string()))?)?;
    let name = event.source.strip_prefix(SERVICES).unwrap_or_default();
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        return Err(Error::field("source", "must be camarad/ and the service's name"));
    }
    if event.id.len() > 128 {
        return Err(Error::field("id", "must have at most 128 bytes"));
    }
    let recorded = accepted(&event, now)?;
    if now.duration_since(recorded.at) > LATE {
        return Err(Error::field("data.at", "must be at most 90 days ago"));
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        let sample: Value =
            serde_json::from_str(include_str!("../../../../events/sqs-metering.json")).unwrap();
        let mut event: Value = serde_json::from_str(sample["Records"][0]["body"].as_str().unwrap()).unwrap();
        event["source"] = json!("camarad/importer");
        event
    }

    #[test]
    fn each_fault_names_its_field() {
        let at: Timestamp = event()["data"]["at"].as_str().unwrap().parse().unwrap();
        assert!(checked(event(), at).is_ok());
        assert!(checked(event(), at + LATE).is_ok());
        assert!(checked(event(), at - SignedDuration::from_mins(5)).is_ok());
        let fault = |spoil: fn(&mut Value), now: Timestamp| {
            let mut event = event();
            spoil(&mut event);
            match checked(event, now) {
                Err(Error::Invalid(fields)) => fields[0].field.clone(),
                other => format!("{other:?}"),
            }
        };
        let second = SignedDuration::from_secs(1);
        assert_eq!(fault(|_| (), at + LATE + second), "data.at");
        assert_eq!(
            fault(|_| (), at - SignedDuration::from_mins(5) - second),
            "data.at"
        );
        type Spoil = fn(&mut Value);
        let faults: [(Spoil, &str); 9] = [
            (|e| e["source"] = json!("camarad"), "source"),
            (|e| e["source"] = json!("camarad/"), "source"),
            (|e| e["source"] = json!("elsewhere/importer"), "source"),
            (|e| e["type"] = json!("com.camarad.usage.guessed"), "type"),
            (|e| e["specversion"] = json!("0.3"), "specversion"),
            (|e| e["id"] = json!(""), "id"),
            (|e| e["id"] = json!("x".repeat(129)), "id"),
            (|e| e["data"]["cost"] = json!("-1"), "data"),
            (|e| *e = json!([]), "event"),
        ];
        for (spoil, field) in faults {
            let found = fault(spoil, at);
            assert!(found.starts_with(field), "{found} instead of {field}");
        }
    }
}
