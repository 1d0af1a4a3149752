//! Sends the mails that come through the mail queue.

use camarad::app::App;
use camarad::domain::mail;
use camarad::lambda::batch::Message;

/// Sends a batch and answers the ids of the messages that must come again.
pub async fn handle(app: App, messages: Vec<Message>) -> Vec<String> {
    let bodies: Vec<_> = messages.iter().map(|m| m.body.as_str()).collect();
    let failed = mail::deliver(&app, &bodies).await;
    failed
        .into_iter()
        .filter_map(|place| messages.get(place))
        .map(|m| m.id.clone())
        .collect()
}
