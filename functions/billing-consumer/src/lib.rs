//! Makes accounts and ledgers say what Stripe says, customer by customer, as the billing queue orders.

use camarad::app::App;
use camarad::domain::billing::worker;
use camarad::lambda::batch::Message;

/// Carries a batch of orders out and answers the ids of the messages that must come again: with an order all others of
/// its customer, so that none overtakes another. One that can never be carried out ends in the dead-letter queue.
pub async fn handle(app: App, messages: Vec<Message>) -> Vec<String> {
    let bodies: Vec<_> = messages.iter().map(|m| m.body.as_str()).collect();
    let failed = worker::carry_out(&app, &bodies).await;
    failed
        .into_iter()
        .filter_map(|place| messages.get(place))
        .map(|m| m.id.clone())
        .collect()
}
