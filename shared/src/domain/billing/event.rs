//! What Stripe's webhook tells: stored first, then ordered to be looked into.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app::App;
use crate::config::Config;
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::ports::queue::Grouped;
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity, Update};

/// The types that say something of what we sell. Any other is kept, and nothing follows from it.
pub const KNOWN: [&str; 18] = [
    DISPUTE_CLOSED,
    "charge.refunded",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "customer.deleted",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "invoice.marked_uncollectible",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "invoice.voided",
    "payment_method.attached",
    "payment_method.detached",
];

/// The one event that names no customer, but a charge.
const DISPUTE_CLOSED: &str = "charge.dispute.closed";

/// Ours: it waits until then for the sweep.
const GRACE_ENDED: &str = "camarad.grace_ended";

/// How long events are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);

/// How long the queue has before the sweep takes an event up.
const OVERLOOKED: SignedDuration = SignedDuration::from_mins(1);

/// Stripe waits for its answer meanwhile, and the row is there already.
const QUEUE_TIME: Duration = Duration::from_millis(500);

/// How many events one sweep takes up.
const AT_ONCE: u32 = 100;

/// How far an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Stored; the queue does not have its order yet.
    Waiting,
    /// The queue has it.
    Ordered,
    /// Nothing follows from it.
    Ignored,
}

/// An event of Stripe's: what it is about, and no more. Its payload may be personal, and counts for nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StripeEvent {
    /// Stripe's id of it.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    pub event_type: String,
    /// To which object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Of which customer; of a dispute, of which charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// When, by Stripe's clock.
    pub created: Timestamp,
    /// When we heard of it first; from when on it is to be looked into.
    pub received_at: Timestamp,
    /// How far it is.
    pub state: EventState,
}

impl Entity for StripeEvent {
    const KIND: &'static str = "stripe_event";
    fn key(&self) -> Key {
        keys::stripe_event(&self.id)
    }
    fn index1(&self) -> Option<Index> {
        (self.state == EventState::Waiting).then(|| keys::stripe_event_waiting(&self.id, self.received_at))
    }
    fn ttl(&self) -> Option<i64> {
        Some((self.received_at + KEPT).as_second())
    }
}

/// An order to look at a customer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Whom to look at; whoever paid this, if it is a charge.
    pub customer: String,
    /// Because of what: makes the order one of its own in the queue, for five minutes.
    pub event: String,
}

#[derive(Deserialize)]
struct Incoming {
    id: String,
    #[serde(rename = "type")]
    event_type: String,
    created: i64,
    data: IncomingData,
}

#[derive(Deserialize)]
struct IncomingData {
    object: Value,
    #[serde(default)]
    previous_attributes: Value,
}

fn customer_of(event_type: &str, data: &IncomingData) -> Option<String> {
    let id = |value: &Value| match value {
        Value::String(id) => Some(id.clone()),
        Value::Object(object) => object.get("id")?.as_str().map(str::to_owned),
        _ => None,
    };
    if event_type.starts_with("customer.") && data.object["object"] == "customer" {
        return id(&data.object["id"]);
    }
    if event_type == DISPUTE_CLOSED {
        return id(&data.object["charge"]);
    }
    // What is detached has no customer any more; it had one.
    id(&data.object["customer"]).or_else(|| id(&data.previous_attributes["customer"]))
}

impl StripeEvent {
    /// What happens by our clock alone: a customer's grace ends. Nothing comes of it unless it ends unpaid.
    pub fn of_grace(customer: &str, end: Timestamp) -> Self {
        Self {
            // Like no id of Stripe's.
            id: format!("grace-{customer}-{}", end.as_second()),
            event_type: GRACE_ENDED.into(),
            object: None,
            customer: Some(customer.into()),
            created: end,
            received_at: end,
            state: EventState::Waiting,
        }
    }

    /// Reads an event whose signature is good.
    ///
    /// # Errors
    /// `Malformed` when it is no event of Stripe's.
    pub fn parse(body: &[u8], now: Timestamp) -> Result<Self> {
        let malformed = |_| Error::Malformed("it is no event of Stripe's".into());
        let incoming: Incoming = serde_json::from_slice(body).map_err(malformed)?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        if !(1..=255).contains(&incoming.id.len()) || !incoming.id.bytes().all(plain) {
            return Err(Error::Malformed("the event's id is none".into()));
        }
        let customer = customer_of(&incoming.event_type, &incoming.data);
        let counts = KNOWN.contains(&incoming.event_type.as_str()) && customer.is_some();
        Ok(Self {
            object: incoming.data.object["id"].as_str().map(str::to_owned),
            created: Timestamp::from_second(incoming.created)
                .map_err(|_| Error::Malformed("the event's time is none".into()))?,
            id: incoming.id,
            event_type: incoming.event_type,
            customer,
            received_at: now,
            state: match counts {
                true => EventState::Waiting,
                false => EventState::Ignored,
            },
        })
    }
}

/// Takes an event in: it is stored once, whatever comes again, and ordered to be looked into. When the queue does not
/// take the order in time, the sweep will send it.
///
/// # Errors
/// When the table does not answer: then nothing was promised, and Stripe sends it again.
pub async fn receive(app: &App, event: &StripeEvent) -> Result<()> {
    let fresh = app.db().put(event, Some(&Cond::item_absent())).await?;
    let event = match fresh {
        true => Some(event.clone()),
        false => app.db().get::<StripeEvent>(&event.key()).await?,
    };
    let Some(event) = event.filter(|e| e.state == EventState::Waiting) else {
        return Ok(());
    };
    match tokio::time::timeout(QUEUE_TIME, send(app, &event)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(stripe.event = event.id, error = %error, "an event waits for the sweep");
        }
        Err(_) => tracing::error!(
            stripe.event = event.id,
            "an event waits for the sweep: the queue is slow"
        ),
    }
    Ok(())
}

/// Sends the order, and notes that.
async fn send(app: &App, event: &StripeEvent) -> Result<()> {
    let Some(customer) = &event.customer else {
        return Ok(());
    };
    order(app, customer, &event.id).await?;
    let update = Update::of(event.key())
        .set("state", EventState::Ordered)?
        .unindex1()
        .when(Cond::item_exists());
    app.db().update(&update).await.map(drop)
}

/// Orders a look at a customer, because of what has this name.
///
/// # Errors
/// `Unavailable` when the queue does not take it.
pub async fn order(app: &App, customer: &str, because: &str) -> Result<()> {
    match order_each(app, &[customer], because).await?.is_empty() {
        true => Ok(()),
        false => Err(Error::Unavailable(
            "the billing queue did not take the order".into(),
        )),
    }
}

/// Orders a look at each of these customers, at most `MAX_BATCH`; answers those whose orders the queue did not take.
///
/// # Errors
/// `Unavailable` when the queue does not answer.
pub(super) async fn order_each<'a>(app: &App, customers: &[&'a str], because: &str) -> Result<Vec<&'a str>> {
    let url = Config::need(&app.config().billing_queue_url, "BILLING_QUEUE_URL")?;
    let message = |customer: &&str| {
        let order = Order {
            customer: (*customer).into(),
            event: because.into(),
        };
        Ok(Grouped {
            group: order.customer.clone(),
            body: serde_json::to_string(&order).map_err(Error::internal)?,
        })
    };
    let messages = customers.iter().map(message).collect::<Result<Vec<_>>>()?;
    let refused = app.queue()?.send_grouped(url, &messages).await?;
    Ok(refused
        .iter()
        .filter_map(|n| customers.get(*n).copied())
        .collect())
}

/// Orders the end of all that a closed account has at Stripe, if Stripe knows the person.
///
/// # Errors
/// `Unavailable` when the queue does not take it.
pub async fn order_leave(app: &App, user: UserId, because: &str) -> Result<()> {
    let account = app.db().get::<Account>(&keys::account(user)).await?;
    match account.and_then(|a| a.billing.customer) {
        Some(customer) => order(app, &customer, because).await,
        None => Ok(()),
    }
}

/// What a sweep of events did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptEvents {
    /// Orders that the queue has now.
    pub ordered: usize,
    /// Those that it did not take again.
    pub failed: usize,
}

/// Sends the orders that the queue did not take when their events came.
///
/// # Errors
/// When the table does not answer.
pub async fn sweep(app: &App) -> Result<SweptEvents> {
    let until = keys::stripe_events_until(app.clock().now() - OVERLOOKED);
    let mut swept = SweptEvents::default();
    for key in app.db().hints(keys::STRIPE_EVENTS, &until, AT_ONCE).await? {
        let event = app.db().get::<StripeEvent>(&key).await?;
        let Some(event) = event.filter(|e| e.state == EventState::Waiting) else {
            continue;
        };
        match send(app, &event).await {
            Ok(()) => swept.ordered += 1,
            Err(error) => {
                swept.failed += 1;
                tracing::error!(stripe.event = event.id, error = %error, "an event could not be ordered");
            }
        }
    }
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(event_type: &str, data: Value) -> StripeEvent {
        let body = json!({"id": "evt_1", "object": "event", "type": event_type, "created": 1_700_000_000,
            "livemode": false, "data": data})
        .to_string();
        StripeEvent::parse(body.as_bytes(), Timestamp::UNIX_EPOCH).unwrap()
    }

    #[test]
    fn the_customer_is_found_wherever_stripe_writes_it() {
        for (event_type, data) in [
            (
                "invoice.paid",
                json!({"object": {"id": "in_1", "customer": "cus_1"}}),
            ),
            (
                "invoice.paid",
                json!({"object": {"id": "in_1", "customer": {"id": "cus_1"}}}),
            ),
            (
                "payment_method.detached",
                json!({"object": {"id": "pm_1", "customer": null}, "previous_attributes": {"customer": "cus_1"}}),
            ),
            (
                "customer.deleted",
                json!({"object": {"id": "cus_1", "object": "customer"}}),
            ),
            (
                "charge.dispute.closed",
                json!({"object": {"id": "du_1", "charge": "cus_1", "payment_intent": "pi_1"}}),
            ),
        ] {
            let event = read(event_type, data);
            assert_eq!(
                (event.customer.as_deref(), event.state),
                (Some("cus_1"), EventState::Waiting)
            );
        }
    }

    #[test]
    fn what_is_unknown_or_nobodys_is_kept_and_ignored() {
        let unknown = read("price.updated", json!({"object": {"id": "price_1"}}));
        let nobodys = read(
            "charge.refunded",
            json!({"object": {"id": "ch_1", "customer": null}}),
        );
        assert_eq!([unknown.state, nobodys.state], [EventState::Ignored; 2]);
        assert_eq!(unknown.object.as_deref(), Some("price_1"));
        assert!(StripeEvent::parse(b"{}", Timestamp::UNIX_EPOCH).is_err());
    }
}
