//! CloudEvents 1.0 in its JSON format: what our domain events look like in queues.
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::store::record::OutboxRecord;

const VERSION: &str = "1.0";
const JSON: &str = "application/json";

/// An event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// The version of the specification: `1.0`.
    pub specversion: String,
    /// Unique together with `source`.
    pub id: String,
    /// Who says so.
    pub source: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When.
    pub time: Timestamp,
    /// `application/json`; the default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datacontenttype: Option<String>,
    /// What there is to say about it.
    pub data: Value,
}

impl CloudEvent {
    /// The event of an outbox record.
    pub fn of(record: &OutboxRecord) -> Self {
        Self {
            specversion: VERSION.into(),
            id: record.id.to_string(),
            source: "camarad".into(),
            event_type: record.event_type.clone(),
            time: record.at,
            datacontenttype: Some(JSON.into()),
            data: record.data.clone(),
        }
    }

    /// Reads an event.
    ///
    /// # Errors
    /// `Malformed` when the text is no CloudEvent 1.0 whose data is JSON.
    pub fn parse(text: &str) -> Result<Self> {
        Self::check(serde_json::from_str(text).map_err(|e| Error::Malformed(e.to_string()))?)
    }

    /// The event, if it is one of version 1.0 whose data is JSON.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(event: Self) -> Result<Self> {
        if event.specversion != VERSION {
            return Err(Error::field("specversion", "must be 1.0"));
        }
        if event.id.is_empty() || event.source.is_empty() {
            return Err(Error::field("id", "id and source must not be empty"));
        }
        if event.datacontenttype.as_deref().is_some_and(|t| t != JSON) {
            return Err(Error::field("datacontenttype", "must be application/json"));
        }
        Ok(event)
    }
}
