//! Mail: Amazon SES.

use async_trait::async_trait;
use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};

use crate::error::{Error, Result};

/// A mail to one person, as text and as HTML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The address that it comes from.
    pub from: String,
    /// The address that it goes to.
    pub to: String,
    /// The subject.
    pub subject: String,
    /// For clients that show text.
    pub text: String,
    /// For clients that show HTML; says the same.
    pub html: String,
}

/// Sends mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over for delivery.
    async fn send(&self, mail: &Mail) -> Result<()>;
}

/// Amazon SES.
#[derive(Debug, Clone)]
pub struct Ses(aws_sdk_sesv2::Client);

impl Ses {
    /// Through this client.
    pub fn new(client: aws_sdk_sesv2::Client) -> Self {
        Self(client)
    }
}

fn content(text: &str) -> Result<Content> {
    Content::builder()
        .data(text)
        .charset("UTF-8")
        .build()
        .map_err(Error::internal)
}

#[async_trait]
impl Mailer for Ses {
    async fn send(&self, mail: &Mail) -> Result<()> {
        let body = Body::builder()
            .text(content(&mail.text)?)
            .html(content(&mail.html)?)
            .build();
        let message = Message::builder()
            .subject(content(&mail.subject)?)
            .body(body)
            .build();
        let sent = self
            .0
            .send_email()
            .from_email_address(&mail.from)
            .destination(Destination::builder().to_addresses(&mail.to).build())
            .content(EmailContent::builder().simple(message).build())
            .send()
            .await;
        sent.map(drop)
            .map_err(|e| Error::Unavailable(Box::new(e.into_service_error())))
    }
}
