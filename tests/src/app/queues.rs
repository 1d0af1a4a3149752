//! The queues in tests: what waits in them, as their consumers get it.

use camarad::config::Config;
use camarad::lambda::batch::Message;

use super::TestApp;

impl TestApp {
    /// What waits in one of the queues, which then has it no more.
    ///
    /// # Panics
    /// When there is no such queue, or it does not answer.
    pub async fn taken(&self, queue: impl Fn(&Config) -> &Option<String>) -> Vec<Message> {
        let url = queue(self.app.config()).as_deref().expect("a queue");
        let mut all = Vec::new();
        loop {
            let receive = self.sqs.receive_message().queue_url(url);
            let got = receive.max_number_of_messages(10).send().await;
            let messages = got.expect("the queue answers").messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let delete = self.sqs.delete_message().queue_url(url);
                let delete = delete.receipt_handle(message.receipt_handle.expect("a handle"));
                delete.send().await.expect("the message is deleted");
                all.push(Message {
                    id: message.message_id.expect("an id"),
                    body: message.body.expect("a body"),
                });
            }
        }
    }
}
