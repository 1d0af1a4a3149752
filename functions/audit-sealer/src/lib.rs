//! Gives audit records their numbers and hashes, chain by chain, as the audit queue orders.

use camarad::app::App;
use camarad::domain::audit::seal;
use camarad::lambda::batch::Message;

/// Carries a batch of orders out and answers the ids of the messages that must come again. An order that can never be
/// carried out is among them every time, and so ends in the dead-letter queue.
pub async fn handle(app: App, messages: Vec<Message>) -> Vec<String> {
    let bodies: Vec<_> = messages.iter().map(|m| m.body.as_str()).collect();
    let failed = seal::carry_out(&app, &bodies).await;
    failed
        .into_iter()
        .filter_map(|place| messages.get(place))
        .map(|m| m.id.clone())
        .collect()
}
