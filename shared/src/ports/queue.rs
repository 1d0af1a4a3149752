//! SQS.

use async_trait::async_trait;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use crate::error::{Error, Result};

/// SQS takes at most this many messages in one request.
pub const MAX_BATCH: usize = 10;

/// Sends messages to queues.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends up to `MAX_BATCH` bodies; answers the positions of those that were not accepted.
    async fn send(&self, queue_url: &str, bodies: &[String]) -> Result<Vec<usize>>;
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

#[async_trait]
impl Queue for Sqs {
    async fn send(&self, queue_url: &str, bodies: &[String]) -> Result<Vec<usize>> {
        let entries = bodies
            .iter()
            .enumerate()
            .map(|(n, body)| {
                SendMessageBatchRequestEntry::builder()
                    .id(n.to_string())
                    .message_body(body)
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::internal)?;
        let request = self
            .0
            .send_message_batch()
            .queue_url(queue_url)
            .set_entries(Some(entries));
        let out = request
            .send()
            .await
            .map_err(|e| Error::Unavailable(Box::new(e)))?;
        Ok(out.failed().iter().filter_map(|f| f.id().parse().ok()).collect())
    }
}
