//! Stripe, as far as Camarad talks to it. Requests are `async-stripe`'s own types, of its own API version, which each
//! request names; they go out through the house's HTTP client. Of an answer we read the few fields that we need, and no
//! more: the crate's types of answers refuse an object as a whole for one field that Stripe adds, drops or leaves out,
//! and a subscription must not stand still for that.

mod answers;
mod client;
mod lists;
mod pages;
mod payments;
mod requests;
pub mod signature;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use client::{Keys, StripeApi};
pub use pages::{CheckoutPage, NewCheckout, OpenPage, PageEnd, Sale, Sessions, Trial};

use crate::domain::plans::Plan;
use crate::error::Result;
use crate::ids::UserId;

/// Names one POST, so that Stripe carries it out once however often it is sent.
/// <https://docs.stripe.com/api/idempotent_requests>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationKey(String);

impl OperationKey {
    /// Of the operation's name; Stripe takes 255 bytes.
    pub fn new(name: impl Into<String>) -> Self {
        let mut name = name.into();
        name.truncate(255);
        Self(name)
    }

    /// The same operation, begun anew after `n` attempts that came to nothing.
    pub fn attempt(&self, n: u32) -> Self {
        match n {
            0 => self.clone(),
            _ => self.step(&format!("attempt-{n}")),
        }
    }

    /// The same operation's next step.
    pub fn step(&self, step: &str) -> Self {
        Self::new(format!("{step}:{}", self.0))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose customer is made.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// The person; also in the customer's metadata.
    pub user: UserId,
    /// Where receipts go.
    pub email: String,
    /// On invoices.
    pub name: String,
}

/// How a change of price is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proration {
    /// The difference for the rest of the period at once; when it cannot be charged nothing changes.
    Now,
    /// Not at all: the new price counts from the next period on.
    AtRenewal,
}

/// A change of a subscription's price.
#[derive(Debug, Clone)]
pub struct PriceChange {
    /// The customer.
    pub customer: String,
    /// The subscription.
    pub subscription: String,
    /// Its one item.
    pub item: String,
    /// The new price.
    pub price: String,
    /// How it is charged.
    pub proration: Proration,
}

/// Stripe's word for where a subscription stands. <https://docs.stripe.com/billing/subscriptions/overview>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StripeStatus {
    /// The first payment is outstanding.
    Incomplete,
    /// It was not made within a day.
    IncompleteExpired,
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// A renewal could not be charged; Stripe tries again.
    PastDue,
    /// Stripe has given up, but keeps the subscription.
    Unpaid,
    /// Over.
    Canceled,
    /// A trial ended without a card.
    Paused,
}

/// What a price is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceFacts {
    /// Its id.
    pub id: String,
    /// Its name in our catalogue.
    pub lookup_key: Option<String>,
    /// The plan that it is a price of.
    pub plan: Option<Plan>,
}

/// A subscription, as Stripe has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionFacts {
    /// Its id.
    pub id: String,
    /// The id of its one item.
    pub item: String,
    /// The plan of its price.
    pub plan: Plan,
    /// Where it stands.
    pub status: StripeStatus,
    /// When it was made.
    pub created: Timestamp,
    /// The trial, if there is or was one.
    pub trial: Option<Span>,
    /// What is paid for, or tried, now.
    pub period: Span,
    /// Whether it ends with that.
    pub cancel_at_period_end: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// From one moment to another, without the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

impl Span {
    /// Whether `at` lies in it.
    pub fn covers(&self, at: Timestamp) -> bool {
        self.start <= at && at < self.end
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> i64 {
        self.end.as_second() - self.start.as_second()
    }
}

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    /// May still change.
    Draft,
    /// To be paid.
    Open,
    /// Paid, or nothing was due.
    Paid,
    /// Given up.
    Uncollectible,
    /// Taken back.
    Void,
}

/// Why an invoice was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillingReason {
    /// A subscription began.
    Create,
    /// A period began.
    Cycle,
    /// The price changed within a period.
    Update,
    /// Anything else.
    Other,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoiceFacts {
    /// Its id.
    pub id: String,
    /// Of which subscription.
    pub subscription: Option<String>,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// Why it was made.
    pub reason: BillingReason,
    /// When.
    pub created: Timestamp,
    /// Its number, once it is final.
    pub number: Option<String>,
    /// ISO 4217, lower case.
    pub currency: String,
    /// All of it, tax included, in the currency's smallest unit.
    pub total: i64,
    /// What has been paid of it.
    pub amount_paid: i64,
    /// What has not.
    pub amount_remaining: i64,
    /// How often a payment was tried.
    pub attempts: u64,
    /// When the next will be.
    pub next_attempt: Option<Timestamp>,
    /// The page where it can be seen and paid.
    pub hosted_url: Option<String>,
    /// The same as PDF.
    pub pdf_url: Option<String>,
    /// What it is made of.
    pub lines: Vec<LineFacts>,
}

/// A line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFacts {
    /// What it charges for.
    pub period: Span,
    /// Its price, if it has one.
    pub price: Option<String>,
    /// In the currency's smallest unit; below zero for what is given back.
    pub amount: i64,
    /// Whether it corrects a period that has begun.
    pub proration: bool,
    /// Whether it belongs to a subscription's item.
    pub of_subscription: bool,
}

/// A page of Stripe's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Whether there are older ones.
    pub has_more: bool,
}

/// cbT that were bought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopUpFacts {
    /// The Checkout session.
    pub session: String,
    /// In whole cbT.
    pub cbt: i64,
    /// Whether it was paid.
    pub paid: bool,
    /// What it cost, in the currency's smallest unit.
    pub amount: i64,
    /// The payment.
    pub payment_intent: Option<String>,
}

/// A charge of a card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeFacts {
    /// Its payment.
    pub payment_intent: Option<String>,
    /// When.
    pub created: Timestamp,
    /// Whether the money came.
    pub paid: bool,
    /// How much, in the currency's smallest unit.
    pub amount: i64,
    /// How much of it was given back.
    pub refunded: i64,
    /// Whether the payer's bank asks for it back, or has.
    pub disputed: bool,
}

impl ChargeFacts {
    /// Whether something of it was given back, or is asked back.
    pub fn is_reversed(&self) -> bool {
        self.refunded > 0 || self.disputed
    }

    /// Whether there is something that can be given back.
    pub fn is_refundable(&self) -> bool {
        self.paid && self.refunded < self.amount && !self.disputed
    }
}

/// A payment that was given back, in whole or in part: by us, or by a dispute that we lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundFacts {
    /// The refund's id, or the dispute's.
    pub id: String,
    /// Which payment.
    pub payment_intent: Option<String>,
    /// How much of it, in the currency's smallest unit.
    pub amount: i64,
}

/// How a customer pays, as far as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentMethodFacts {
    /// `card`, `sepa_debit` …
    pub kind: String,
    /// `visa` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// The last four digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last4: Option<String>,
    /// The month until whose end it is good, 1 to 12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp_month: Option<u32>,
    /// The year of that month.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp_year: Option<u32>,
}

/// Stripe. Reads are repeated when they fail; a POST too, under the same key. Errors: `PaymentFailed` when a card is
/// refused, `NotFound` for what Stripe does not have, `KeyReused`, `Unavailable` when nobody knows whether it happened
/// (the same key finds out), else `Upstream`. A failure of Stripe's own, which it keeps under its key for a day, does not
/// stand in the way: the next attempt has a key that follows from the same.
#[async_trait]
pub trait Stripe: Send + Sync {
    /// Makes a customer, unless an attempt under this key that seemed to fail did; answers its id.
    async fn create_customer(&self, new: &NewCustomer, key: &OperationKey) -> Result<String>;
    /// The customer that was made for this person before, and not deleted.
    async fn made_for(&self, new: &NewCustomer) -> Result<Option<String>>;
    /// Whether there is such a customer, and it was not deleted.
    async fn has_customer(&self, customer: &str) -> Result<bool>;
    /// The prices with these lookup keys.
    async fn prices(&self, lookup_keys: &[String]) -> Result<Vec<PriceFacts>>;
    /// One price.
    async fn price(&self, id: &str) -> Result<PriceFacts>;
    /// Makes a Checkout page.
    async fn create_checkout(&self, new: &NewCheckout, key: &OperationKey) -> Result<CheckoutPage>;
    /// Closes a Checkout page, unless somebody has paid on it. Answers only once it is one of both.
    async fn expire_checkout(&self, session: &str, key: &OperationKey) -> Result<PageEnd>;
    /// The pages of this customer on which something can still be bought, newest first.
    async fn open_pages(&self, customer: &str) -> Result<Vec<OpenPage>>;
    /// A customer's page to manage cards and see invoices; answers its address.
    async fn create_portal(&self, customer: &str, return_url: &str, key: &OperationKey) -> Result<String>;
    /// Changes the price.
    async fn change_price(&self, change: &PriceChange, key: &OperationKey) -> Result<()>;
    /// What the change would cost now, as the invoice that it would make.
    async fn preview_change(&self, change: &PriceChange, key: &OperationKey) -> Result<InvoiceFacts>;
    /// Lets a subscription end with its period, or go on after all.
    async fn cancel_at_period_end(&self, subscription: &str, cancel: bool, key: &OperationKey) -> Result<()>;
    /// Ends a subscription now; nothing when it has ended.
    async fn cancel_now(&self, subscription: &str, key: &OperationKey) -> Result<()>;
    /// All subscriptions of a customer, newest first, those that ended too.
    async fn subscriptions(&self, customer: &str) -> Result<Vec<SubscriptionFacts>>;
    /// Invoices of a customer, newest first, after the one with this id.
    async fn invoices(&self, customer: &str, limit: u32, after: Option<&str>)
    -> Result<Listed<InvoiceFacts>>;
    /// All Checkout sessions of a customer.
    async fn sessions(&self, customer: &str) -> Result<Sessions>;
    /// All charges of a customer, newest first.
    async fn charges(&self, customer: &str) -> Result<Vec<ChargeFacts>>;
    /// The payments that an invoice was paid with.
    async fn payments(&self, invoice: &str) -> Result<Vec<String>>;
    /// Gives back what is left of a payment.
    async fn refund(&self, payment_intent: &str, key: &OperationKey) -> Result<()>;
    /// All that was given back of this payment, disputes that were lost among it.
    async fn refunds(&self, payment_intent: &str) -> Result<Vec<RefundFacts>>;
    /// Whose a charge is.
    async fn payer(&self, charge: &str) -> Result<Option<String>>;
    /// How the customer pays.
    async fn payment_method(&self, customer: &str) -> Result<Option<PaymentMethodFacts>>;
}
