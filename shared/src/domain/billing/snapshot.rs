//! All that Stripe has of a customer, fetched at once.

use std::collections::BTreeMap;

use futures_util::future::{try_join, try_join_all, try_join5};

use super::surplus::{self, Surplus};
use crate::app::App;
use crate::domain::plans::{Plan, TOP_UPS};
use crate::domain::users::Account;
use crate::error::{Error, Result};
use crate::ports::stripe::{
    ChargeFacts, InvoiceFacts, OpenPage, PriceFacts, RefundFacts, Stripe, SubscriptionFacts, TopUpFacts,
};

/// How many invoices Stripe lists at once, and how many such pages there can be: over two hundred years.
const PAGE: u32 = 100;
const PAGES: usize = 50;

/// What Stripe has of a customer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The account's `billing.rev`, read before Stripe was asked: what is newer than that is not overwritten.
    pub rev: u64,
    /// Subscriptions, newest first.
    pub subscriptions: Vec<SubscriptionFacts>,
    /// Invoices, newest first.
    pub invoices: Vec<InvoiceFacts>,
    /// The plans of the prices on them.
    pub prices: BTreeMap<String, Plan>,
    /// cbT that were bought.
    pub top_ups: Vec<TopUpFacts>,
    /// Subscriptions of these that count for nothing.
    pub surplus: Vec<Surplus>,
    /// Pages on which something can still be bought.
    pub open: Vec<OpenPage>,
    /// What was charged, newest first.
    pub charges: Vec<ChargeFacts>,
    /// What was given back of payments.
    pub refunds: Vec<RefundFacts>,
    /// Whether the customer was deleted at Stripe, and all subscriptions with it.
    pub deleted: bool,
}

/// Fetches all there is of the account's customer.
///
/// # Errors
/// Those of Stripe.
pub async fn fetch(app: &App, account: &Account) -> Result<Snapshot> {
    let nothing = Snapshot {
        rev: account.billing.rev,
        surplus: account.billing.surplus.clone(),
        ..Snapshot::default()
    };
    let Some(customer) = account.billing.customer.as_deref() else {
        return Ok(nothing);
    };
    let stripe = app.stripe()?;
    if !stripe.has_customer(customer).await? {
        return Ok(Snapshot {
            deleted: true,
            ..nothing
        });
    }
    let keys: Vec<_> = (Plan::ALL.into_iter().map(Plan::lookup_key))
        .chain(TOP_UPS.into_iter().map(|pack| pack.lookup_key()))
        .collect();
    let (subscriptions, invoices, known, sessions, charges) = try_join5(
        stripe.subscriptions(customer),
        invoices(stripe, customer),
        stripe.prices(&keys),
        stripe.sessions(customer),
        stripe.charges(customer),
    )
    .await?;
    let reversed = charges.iter().filter(|charge| charge.is_reversed());
    let reversed = reversed.filter_map(|charge| charge.payment_intent.as_deref());
    let refunds = try_join_all(reversed.map(|payment| stripe.refunds(payment)));
    let (prices, refunds) = try_join(prices(stripe, &invoices, known), refunds).await?;
    Ok(Snapshot {
        rev: account.billing.rev,
        surplus: surplus::among(&subscriptions, &account.billing),
        subscriptions,
        invoices,
        prices,
        top_ups: sessions.top_ups,
        open: sessions.open,
        charges,
        refunds: refunds.into_iter().flatten().collect(),
        deleted: false,
    })
}

async fn invoices(stripe: &dyn Stripe, customer: &str) -> Result<Vec<InvoiceFacts>> {
    let mut found: Vec<InvoiceFacts> = Vec::new();
    for _ in 0..PAGES {
        let after = found.last().map(|i| i.id.clone());
        let listed = stripe.invoices(customer, PAGE, after.as_deref()).await?;
        let more = listed.has_more && !listed.items.is_empty();
        found.extend(listed.items);
        if !more {
            return Ok(found);
        }
    }
    Err(Error::internal("a customer's invoices do not end"))
}

/// The plans of all prices on these invoices. A price that was replaced is not among those that are sold now.
async fn prices(
    stripe: &dyn Stripe,
    invoices: &[InvoiceFacts],
    known: Vec<PriceFacts>,
) -> Result<BTreeMap<String, Plan>> {
    let mut plans: BTreeMap<_, _> = known.into_iter().map(|p| (p.id, p.plan)).collect();
    let lines = invoices.iter().flat_map(|i| &i.lines);
    for price in lines
        .filter(|l| l.of_subscription)
        .filter_map(|l| l.price.as_ref())
    {
        if plans.contains_key(price) {
            continue;
        }
        let plan = match stripe.price(price).await {
            Ok(facts) => facts.plan,
            Err(Error::NotFound) => None,
            Err(error) => return Err(error),
        };
        plans.insert(price.clone(), plan);
    }
    Ok(plans
        .into_iter()
        .filter_map(|(id, plan)| Some((id, plan?)))
        .collect())
}
