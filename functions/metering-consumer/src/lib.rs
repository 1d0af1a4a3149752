//! Counts the usage events that come through the metering queue.

use camarad::app::App;
use camarad::domain::usage::count;
use camarad::lambda::batch::Message;

/// Counts a batch and answers the ids of the messages that must come again. A message that can never be counted is
/// among them every time, and so ends in the dead-letter queue.
pub async fn handle(app: App, messages: Vec<Message>) -> Vec<String> {
    let bodies: Vec<_> = messages.iter().map(|m| m.body.as_str()).collect();
    let failed = count::count(&app, &bodies).await;
    failed
        .into_iter()
        .filter_map(|place| messages.get(place))
        .map(|m| m.id.clone())
        .collect()
}
