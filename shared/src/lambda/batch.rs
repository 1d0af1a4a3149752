//! Functions fed by queues and streams: partial batch responses, so that one bad message does not hold up or repeat
//! the good ones.

use std::pin::Pin;

use aws_lambda_events::dynamodb::{Event as StreamEvent, EventRecord};
use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use aws_lambda_events::streams::{
    DynamoDbBatchItemFailure, DynamoDbEventResponse, SqsBatchItemFailure, SqsEventResponse,
};
use lambda_runtime::{LambdaEvent, service_fn};
use serde::de::DeserializeOwned;

use super::Outcome;
use crate::app::App;
use crate::error::Result;
use crate::store::Doc;

/// A message of a queue.
#[derive(Debug, Clone)]
pub struct Message {
    /// SQS's id, for the partial batch response.
    pub id: String,
    /// Its body.
    pub body: String,
}

/// A change of the table.
#[derive(Debug, Clone)]
pub struct Change {
    /// The record's sequence number, for the partial batch response.
    pub sequence: String,
    /// The item before the change; `None` when it was created.
    pub old: Option<Doc>,
    /// The item after the change; `None` when it was removed.
    pub new: Option<Doc>,
    /// Whether DynamoDB removed it because its time was up: never a domain event.
    pub expired: bool,
}

/// Serves a queue. `handle` answers the ids of the messages that must come again.
///
/// # Errors
/// When the Runtime API fails.
pub async fn queue<F>(app: App, handle: fn(App, Vec<Message>) -> F) -> Outcome
where
    F: Future<Output = Vec<String>>,
{
    let app = &app;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<SqsEvent>| async move {
        let failed = erased(handle(app.clone(), messages(event.payload))).await;
        let mut response = SqsEventResponse::default();
        failed
            .into_iter()
            .for_each(|id| response.batch_item_failures.push(sqs_failure(id)));
        Ok::<_, lambda_runtime::Error>(response)
    }))
    .await
}

/// Hides a handler's future from the runtime's: together they are nested too deep for the compiler to lay out.
pub(super) fn erased<'a, T>(work: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(work)
}

fn sqs_failure(id: String) -> SqsBatchItemFailure {
    let mut failure = SqsBatchItemFailure::default();
    failure.item_identifier = Some(id);
    failure
}

fn stream_failure(sequence: String) -> DynamoDbBatchItemFailure {
    let mut failure = DynamoDbBatchItemFailure::default();
    failure.item_identifier = Some(sequence);
    failure
}

/// The messages of an event.
pub fn messages(event: SqsEvent) -> Vec<Message> {
    let message = |m: SqsMessage| {
        Some(Message {
            id: m.message_id?,
            body: m.body.unwrap_or_default(),
        })
    };
    event.records.into_iter().filter_map(message).collect()
}

/// Serves the table's stream. `handle` answers the sequence number from which on the records must come again.
///
/// # Errors
/// When the Runtime API fails.
pub async fn stream<F>(app: App, handle: fn(App, Vec<Change>) -> F) -> Outcome
where
    F: Future<Output = Option<String>>,
{
    let app = &app;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<StreamEvent>| async move {
        let mut response = DynamoDbEventResponse::default();
        erased(handle(app.clone(), changes(event.payload)))
            .await
            .into_iter()
            .for_each(|n| response.batch_item_failures.push(stream_failure(n)));
        Ok::<_, lambda_runtime::Error>(response)
    }))
    .await
}

/// The changes of an event.
pub fn changes(event: StreamEvent) -> Vec<Change> {
    let by_ttl = |r: &EventRecord| {
        r.user_identity
            .as_ref()
            .is_some_and(|u| u.principal_id == "dynamodb.amazonaws.com")
    };
    let change = |r: EventRecord| {
        let expired = by_ttl(&r);
        let doc = |image: serde_dynamo::Item| Some(image).filter(|i| !i.is_empty()).map(Doc::from_stream);
        Some(Change {
            sequence: r.change.sequence_number?,
            old: doc(r.change.old_image),
            new: doc(r.change.new_image),
            expired,
        })
    };
    event.records.into_iter().filter_map(change).collect()
}

/// Serves a schedule: each event is one job.
///
/// # Errors
/// When the Runtime API fails.
pub async fn scheduled<J, F>(app: App, handle: fn(App, J) -> F) -> Outcome
where
    J: DeserializeOwned,
    F: Future<Output = Result<()>>,
{
    let app = &app;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<J>| async move {
        handle(app.clone(), event.payload)
            .await
            .map_err(lambda_runtime::Error::from)
    }))
    .await
}
