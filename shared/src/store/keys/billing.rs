//! Billing: customers of Stripe's, events of its webhooks, drift.

use jiff::Timestamp;

use super::{Index, Key, List, shard, sortable};
use crate::ids::UserId;

/// Whose customer this is.
pub fn stripe_customer(customer: &str) -> Key {
    Key::raw(format!("STRIPE#{customer}"), "CUSTOMER")
}

/// The place of a customer in the second index, for the daily comparison.
pub fn stripe_customer_place(user: UserId, customer: &str) -> Index {
    Index {
        pk: stripe_customers(shard(user.as_bytes())),
        sk: customer.into(),
    }
}

/// One shard of all customers, in the second index.
pub fn stripe_customers(shard: u8) -> String {
    format!("CUSTOMERS#{shard:02}")
}

/// The customer that is stored at this key.
pub fn customer_of(key: &Key) -> Option<&str> {
    key.pk().strip_prefix("STRIPE#")
}

/// An event that Stripe told of.
pub fn stripe_event(event: &str) -> Key {
    Key::raw(format!("STRIPEEVENT#{event}"), "EVENT")
}

/// The place of an event in the first index until its order is in the queue.
pub fn stripe_event_waiting(event: &str, at: Timestamp) -> Index {
    Index {
        pk: STRIPE_EVENTS.into(),
        sk: format!("{}#{event}", sortable(at)),
    }
}

/// Events whose orders are not in the queue, in the first index; few at a time.
pub const STRIPE_EVENTS: &str = "STRIPEEVENTS";

/// The upper end of the events that came before `at`.
pub fn stripe_events_until(at: Timestamp) -> String {
    sortable(at)
}

/// A difference between Stripe, table and ledger that one comparison found.
pub fn billing_drift(found_at: Timestamp, user: UserId) -> Key {
    Key::raw(DRIFT, format!("{}#{user}", sortable(found_at)))
}

/// What could not be taken back after this refund.
pub fn billing_shortfall(refund: &str) -> Key {
    Key::raw(SHORTFALL, refund)
}

/// Everything that could not be taken back.
pub fn billing_shortfalls() -> List {
    List {
        pk: SHORTFALL.into(),
        prefix: "",
    }
}

const SHORTFALL: &str = "BILLINGSHORTFALL";

const DRIFT: &str = "BILLINGDRIFT";

/// All differences, oldest first.
pub fn billing_drifts() -> List {
    List {
        pk: DRIFT.into(),
        prefix: "",
    }
}
