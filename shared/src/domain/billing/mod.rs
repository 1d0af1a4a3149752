//! Subscriptions, as Stripe has them. Stripe is the truth about what was paid; the account's part `billing` is what we
//! know of it, and the ledger has what was granted for it.
//!
//! - A request changes nothing here: it asks Stripe, and Stripe tells of it by a webhook.
//! - A webhook (`event`) is stored, and orders a look at its customer from a queue, in which each customer has a line of
//!   their own. What the event says beyond that does not count.
//! - The look (`snapshot`) fetches all there is of the customer: subscriptions, invoices with lines, bought cbT, refunds.
//!   `derive` makes of it what the account should say and what should have been granted, by the clock and nothing else.
//! - `apply` writes that, if nobody wrote the account's part since before the look, and grants under names that follow
//!   from the invoice's line: so neither order nor number of events, nor a function that dies between two steps, count.
//!
//! Invariants (tests/suite/billing*.rs): the same state at Stripe leads to the same account and the same grants; each
//! paid line grants once; nobody has two trials; an account that was closed stays closed; an account has one subscription
//! that lives at most, and what was paid for another is given back (`pages`, `surplus`).

mod apply;
pub mod change;
pub mod checkout;
pub mod customer;
mod derive;
pub mod event;
pub mod limits;
pub(crate) mod pages;
pub mod read;
pub mod reconcile;
mod snapshot;
pub mod state;
mod surplus;
mod taken;
pub mod webhook;
pub mod worker;

pub use apply::{apply, expected};
pub use derive::{GRACE, Standing, TakeBack};
pub use snapshot::{Snapshot, fetch};
pub use state::{Billing, StripeCustomer, Subscription};
pub use surplus::Surplus;
pub use taken::Shortfall;
