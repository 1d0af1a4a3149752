//! Mail in tests: the queue of those that are asked for, the function that sends them, and what SES was handed.

use camarad::lambda::batch::Message;
use serde_json::Value;

use super::{TestApp, stack};
use crate::visitor::http;

/// The address that mail comes from in tests.
pub const MAIL_FROM: &str = "camarad@camarad.test";

impl TestApp {
    /// What waits in the mail queue, which then has it no more.
    pub async fn mail_queue(&self) -> Vec<String> {
        let taken = self.taken(|config| &config.mail_queue_url).await;
        taken.into_iter().map(|message| message.body).collect()
    }

    /// Hands messages to the mailer; the bodies of those that must come again.
    pub async fn deliver(&self, bodies: &[String]) -> Vec<String> {
        let messages = bodies.iter().enumerate().map(|(n, body)| Message {
            id: n.to_string(),
            body: body.clone(),
        });
        let failed = mailer::handle(self.app.clone(), messages.collect()).await;
        let body = |id: String| bodies[id.parse::<usize>().expect("a place")].clone();
        failed.into_iter().map(body).collect()
    }

    /// SES knows this sender.
    pub async fn know_sender(&self, address: &str) {
        let identity = self.ses.create_email_identity().email_identity(address);
        identity.send().await.expect("the sender is made known to SES");
    }

    /// SES knows this sender no more.
    pub async fn forget_sender(&self, address: &str) {
        let identity = self.ses.delete_email_identity().email_identity(address);
        identity.send().await.expect("the sender is forgotten");
    }

    /// The mails that SES was handed, oldest first.
    pub async fn mails(&self) -> Vec<Value> {
        let url = format!(
            "{}/_ministack/ses/messages?account={}",
            stack::stack().endpoint,
            self.account
        );
        let answer = http().get(url).send().await.expect("SES answers");
        let all: Value = answer.json().await.expect("JSON");
        all["messages"][&self.account]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }
}
