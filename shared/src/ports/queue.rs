//! SQS.

use async_trait::async_trait;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_sdk_sqs::types::builders::SendMessageBatchRequestEntryBuilder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// SQS takes at most this many messages in one request.
pub const MAX_BATCH: usize = 10;

/// A message of a FIFO queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grouped {
    /// What is worked off one after the other.
    pub group: String,
    /// The body. The same body in the same group within five minutes is one message.
    pub body: String,
}

/// Sends messages to queues.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends up to `MAX_BATCH` bodies; answers the positions of those that were not accepted.
    async fn send(&self, queue_url: &str, bodies: &[String]) -> Result<Vec<usize>>;

    /// Sends up to `MAX_BATCH` messages to a FIFO queue; answers the positions of those that were not accepted.
    async fn send_grouped(&self, queue_url: &str, messages: &[Grouped]) -> Result<Vec<usize>>;
}

/// AWS SQS.
#[derive(Debug, Clone)]
pub struct Sqs(aws_sdk_sqs::Client);

impl Sqs {
    /// Through this client.
    pub fn new(client: aws_sdk_sqs::Client) -> Self {
        Self(client)
    }
}

fn entry(n: usize, body: &str) -> SendMessageBatchRequestEntryBuilder {
    SendMessageBatchRequestEntry::builder()
        .id(n.to_string())
        .message_body(body)
}

fn deduplication(message: &Grouped) -> String {
    let text = format!("{}\n{}", message.group, message.body);
    data_encoding::HEXLOWER.encode(&Sha256::digest(text))
}

impl Sqs {
    async fn send_all(
        &self,
        queue_url: &str,
        entries: impl Iterator<Item = SendMessageBatchRequestEntryBuilder> + Send,
    ) -> Result<Vec<usize>> {
        let entries = entries
            .map(SendMessageBatchRequestEntryBuilder::build)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::internal)?;
        let request = self.0.send_message_batch().queue_url(queue_url);
        let out = request
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(|e| Error::Unavailable(Box::new(e)))?;
        Ok(out.failed().iter().filter_map(|f| f.id().parse().ok()).collect())
    }
}

#[async_trait]
impl Queue for Sqs {
    async fn send(&self, queue_url: &str, bodies: &[String]) -> Result<Vec<usize>> {
        let entries = bodies.iter().enumerate().map(|(n, body)| entry(n, body));
        self.send_all(queue_url, entries).await
    }

    async fn send_grouped(&self, queue_url: &str, messages: &[Grouped]) -> Result<Vec<usize>> {
        let entries = messages.iter().enumerate().map(|(n, message)| {
            entry(n, &message.body)
                .message_group_id(&message.group)
                .message_deduplication_id(deduplication(message))
        });
        self.send_all(queue_url, entries).await
    }
}
