//! What we read of Stripe's answers.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::{
    BillingReason, InvoiceFacts, InvoiceStatus, LineFacts, Listed, OpenPage, PageEnd, PaymentMethodFacts,
    PriceFacts, Span, StripeStatus, SubscriptionFacts, TopUpFacts,
};
use crate::domain::plans::{self, Plan};
use crate::error::{Error, Result};

/// The metadata's entry with the cbT that a session sells.
pub(super) const CBT: &str = "cbt";

/// The metadata's entry with the operation that opened a page.
pub(super) const OPERATION: &str = "operation";

/// The metadata's entry with the plan of a price.
const PLAN: &str = "plan";

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    #[serde(default)]
    pub(super) has_more: bool,
}

impl<T> List<T> {
    pub(super) fn facts<F>(self, of: impl Fn(T) -> Result<F>) -> Result<Listed<F>> {
        Ok(Listed {
            items: self.data.into_iter().map(of).collect::<Result<_>>()?,
            has_more: self.has_more,
        })
    }
}

/// The id of an object, whether it is there itself or by its id only.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Ref {
    Id(String),
    Object { id: String },
}

impl Ref {
    pub(super) fn id(self) -> String {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

pub(super) fn at(seconds: i64) -> Result<Timestamp> {
    Timestamp::from_second(seconds).map_err(Error::internal)
}

fn span(start: i64, end: i64) -> Result<Span> {
    Ok(Span {
        start: at(start)?,
        end: at(end)?,
    })
}

/// `null` is as good as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(d).map(Option::unwrap_or_default)
}

#[derive(Debug, Deserialize)]
pub(super) struct Made {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Ignored {}

#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) url: Option<String>,
}

/// How the portal is arranged.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    pub(super) id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metadata: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Price {
    id: String,
    lookup_key: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: HashMap<String, String>,
}

impl From<Price> for PriceFacts {
    fn from(price: Price) -> Self {
        let named = price.metadata.get(PLAN).map(String::as_str);
        let known = named
            .and_then(Plan::parse)
            .or_else(|| price.lookup_key.as_deref().and_then(plans::plan_of_price));
        Self {
            id: price.id,
            plan: known,
            lookup_key: price.lookup_key,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Customer {
    pub(super) id: String,
    #[serde(default)]
    pub(super) deleted: bool,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metadata: HashMap<String, String>,
    invoice_settings: Option<InvoiceSettings>,
}

#[derive(Debug, Deserialize)]
struct InvoiceSettings {
    default_payment_method: Option<Ref>,
}

impl Customer {
    pub(super) fn default_payment_method(self) -> Option<String> {
        Some(self.invoice_settings?.default_payment_method?.id())
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PaymentMethod {
    pub(super) id: String,
    #[serde(rename = "type")]
    kind: String,
    card: Option<Card>,
}

#[derive(Debug, Deserialize)]
struct Card {
    brand: Option<String>,
    last4: Option<String>,
    exp_month: Option<u32>,
    exp_year: Option<u32>,
}

impl From<PaymentMethod> for PaymentMethodFacts {
    fn from(method: PaymentMethod) -> Self {
        let card = method.card;
        Self {
            kind: method.kind,
            brand: card.as_ref().and_then(|c| c.brand.clone()),
            last4: card.as_ref().and_then(|c| c.last4.clone()),
            exp_month: card.as_ref().and_then(|c| c.exp_month),
            exp_year: card.as_ref().and_then(|c| c.exp_year),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    pub(super) id: String,
    url: Option<String>,
    expires_at: i64,
    #[serde(default)]
    mode: String,
    #[serde(default, deserialize_with = "or_default")]
    status: String,
    #[serde(default, deserialize_with = "or_default")]
    payment_status: String,
    amount_total: Option<i64>,
    payment_intent: Option<Ref>,
    #[serde(default, deserialize_with = "or_default")]
    metadata: HashMap<String, String>,
}

impl Session {
    pub(super) fn page(self) -> Result<super::CheckoutPage> {
        Ok(super::CheckoutPage {
            id: self.id,
            url: self
                .url
                .ok_or(Error::Upstream("the Checkout page has no address"))?,
            expires_at: at(self.expires_at)?,
        })
    }

    /// What became of it; `None` while somebody can pay.
    pub(super) fn end(&self) -> Option<PageEnd> {
        match self.status.as_str() {
            "expired" => Some(PageEnd::Closed),
            "complete" => Some(PageEnd::Paid),
            _ => None,
        }
    }

    /// The page, if somebody can pay on it.
    pub(super) fn open(&self) -> Option<OpenPage> {
        self.end().is_none().then(|| OpenPage {
            id: self.id.clone(),
            of_subscription: self.mode == "subscription",
            operation: self.metadata.get(OPERATION).cloned(),
        })
    }

    /// What it sells, if that is cbT.
    pub(super) fn top_up(self) -> Option<TopUpFacts> {
        let cbt = self.metadata.get(CBT)?.parse().ok()?;
        (self.mode == "payment").then(|| TopUpFacts {
            session: self.id,
            cbt,
            paid: self.payment_status == "paid",
            amount: self.amount_total.unwrap_or_default(),
            payment_intent: self.payment_intent.map(Ref::id),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Subscription {
    pub(super) id: String,
    status: StripeStatus,
    created: i64,
    items: List<Item>,
    trial_start: Option<i64>,
    trial_end: Option<i64>,
    #[serde(default)]
    cancel_at_period_end: bool,
    cancel_at: Option<i64>,
    ended_at: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Item {
    id: String,
    price: Price,
    current_period_start: i64,
    current_period_end: i64,
}

impl Subscription {
    pub(super) fn facts(self) -> Result<SubscriptionFacts> {
        let Some(item) = self.items.data.into_iter().next() else {
            return Err(Error::internal(format!("subscription {} has no item", self.id)));
        };
        let price = PriceFacts::from(item.price);
        let plan = price
            .plan
            .ok_or_else(|| Error::internal(format!("price {} of {} is of no plan", price.id, self.id)))?;
        let trial = match (self.trial_start, self.trial_end) {
            (Some(start), Some(end)) => Some(span(start, end)?),
            _ => None,
        };
        // The portal says it with a moment where it used to say it with a flag.
        let ends = self.cancel_at.is_some_and(|end| end <= item.current_period_end);
        Ok(SubscriptionFacts {
            id: self.id,
            item: item.id,
            plan,
            status: self.status,
            created: at(self.created)?,
            trial,
            period: span(item.current_period_start, item.current_period_end)?,
            cancel_at_period_end: self.cancel_at_period_end || ends,
            ended_at: self.ended_at.map(at).transpose()?,
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Invoice {
    // A preview has none.
    #[serde(default, deserialize_with = "or_default")]
    id: String,
    status: Option<InvoiceStatus>,
    billing_reason: Option<String>,
    created: i64,
    number: Option<String>,
    currency: String,
    total: i64,
    #[serde(default)]
    amount_paid: i64,
    #[serde(default)]
    amount_remaining: i64,
    #[serde(default)]
    attempt_count: u64,
    next_payment_attempt: Option<i64>,
    hosted_invoice_url: Option<String>,
    invoice_pdf: Option<String>,
    parent: Option<InvoiceParent>,
    lines: List<Line>,
}

#[derive(Debug, Deserialize)]
struct InvoiceParent {
    subscription_details: Option<OfSubscription>,
}

#[derive(Debug, Deserialize)]
struct OfSubscription {
    subscription: Option<Ref>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) id: String,
    amount: i64,
    period: Period,
    pricing: Option<Pricing>,
    parent: Option<LineParent>,
}

#[derive(Debug, Deserialize)]
struct Period {
    start: i64,
    end: i64,
}

#[derive(Debug, Deserialize)]
struct Pricing {
    price_details: Option<PriceDetails>,
}

#[derive(Debug, Deserialize)]
struct PriceDetails {
    price: Option<Ref>,
}

#[derive(Debug, Deserialize)]
struct LineParent {
    subscription_item_details: Option<OfItem>,
    invoice_item_details: Option<OfItem>,
}

#[derive(Debug, Deserialize)]
struct OfItem {
    #[serde(default)]
    proration: bool,
    subscription: Option<Ref>,
}

impl Line {
    pub(super) fn facts(self) -> Result<LineFacts> {
        let parent = self.parent;
        let item = parent.and_then(|p| p.subscription_item_details.or(p.invoice_item_details));
        let price = self.pricing.and_then(|p| p.price_details).and_then(|d| d.price);
        Ok(LineFacts {
            period: span(self.period.start, self.period.end)?,
            price: price.map(Ref::id),
            amount: self.amount,
            proration: item.as_ref().is_some_and(|i| i.proration),
            of_subscription: item.is_some_and(|i| i.subscription.is_some()),
        })
    }
}

impl Invoice {
    /// The invoice, and whether it has more lines than it shows.
    pub(super) fn facts(self) -> Result<(InvoiceFacts, bool)> {
        let subscription = self
            .parent
            .and_then(|p| p.subscription_details)
            .and_then(|d| d.subscription);
        let lines = self.lines.facts(Line::facts)?;
        let facts = InvoiceFacts {
            id: self.id,
            subscription: subscription.map(Ref::id),
            status: self.status.unwrap_or(InvoiceStatus::Draft),
            reason: match self.billing_reason.as_deref() {
                Some("subscription_create") => BillingReason::Create,
                Some("subscription_cycle") => BillingReason::Cycle,
                Some("subscription_update") => BillingReason::Update,
                _ => BillingReason::Other,
            },
            created: at(self.created)?,
            number: self.number,
            currency: self.currency,
            total: self.total,
            amount_paid: self.amount_paid,
            amount_remaining: self.amount_remaining,
            attempts: self.attempt_count,
            next_attempt: self.next_payment_attempt.map(at).transpose()?,
            hosted_url: self.hosted_invoice_url,
            pdf_url: self.invoice_pdf,
            lines: lines.items,
        };
        Ok((facts, lines.has_more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_price_as_text_or_as_object() {
        for price in [r#""price_1""#, r#"{"id":"price_1","object":"price"}"#] {
            let line: Line = serde_json::from_str(&format!(
                r#"{{"id":"il_1","amount":-5,"period":{{"start":1,"end":9}},"new":true,
                    "pricing":{{"type":"price_details","price_details":{{"price":{price},"product":"p"}}}},
                    "parent":{{"type":"subscription_item_details","invoice_item_details":null,
                        "subscription_item_details":{{"proration":true,"subscription":"sub_1"}}}}}}"#
            ))
            .unwrap();
            let line = line.facts().unwrap();
            assert_eq!(line.price.as_deref(), Some("price_1"));
            assert!(line.proration && line.of_subscription && line.amount == -5);
        }
    }

    #[test]
    fn a_price_is_a_plans_by_its_metadata_or_its_name() {
        let plan = |json: &str| PriceFacts::from(serde_json::from_str::<Price>(json).unwrap()).plan;
        assert_eq!(
            plan(r#"{"id":"p","lookup_key":null,"metadata":{"plan":"agency"}}"#),
            Some(Plan::Agency)
        );
        assert_eq!(
            plan(r#"{"id":"p","lookup_key":"camarad_business_monthly","metadata":null}"#),
            Some(Plan::Business)
        );
        assert_eq!(plan(r#"{"id":"p","lookup_key":"other","metadata":{}}"#), None);
    }
}
