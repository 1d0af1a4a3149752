//! The requests themselves.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stripe_billing::billing_portal_session::CreateBillingPortalSession;
use stripe_billing::invoice::{
    CreatePreviewInvoice, CreatePreviewInvoiceSubscriptionDetails,
    CreatePreviewInvoiceSubscriptionDetailsItems,
    CreatePreviewInvoiceSubscriptionDetailsProrationBehavior as PreviewProration, ListInvoice,
};
use stripe_billing::subscription::{
    CancelSubscription, ListSubscription, ListSubscriptionStatus, UpdateSubscription,
    UpdateSubscriptionItems, UpdateSubscriptionPaymentBehavior, UpdateSubscriptionProrationBehavior,
};
use stripe_checkout::checkout_session::{ExpireCheckoutSession, RetrieveCheckoutSession};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::charge::{ListCharge, RetrieveCharge};
use stripe_core::customer::{CreateCustomer, ListCustomer, ListPaymentMethodsCustomer, RetrieveCustomer};
use stripe_core::refund::{CreateRefund, ListRefund};
use stripe_product::price::{ListPrice, RetrievePrice};
use stripe_shared::CheckoutSessionStatus;

use super::answers::{
    Configuration, Customer, Ignored, Invoice, Line, List, Made, Page, PaymentMethod, Price, Session,
    Subscription,
};
use super::client::{ATTEMPTS, Failure};
use super::pages::checkout;
use super::payments::{Charge, Dispute, InvoicePayment, Refund};
use super::{
    ChargeFacts, CheckoutPage, InvoiceFacts, Listed, NewCheckout, NewCustomer, OpenPage, OperationKey,
    PageEnd, PaymentMethodFacts, PriceChange, PriceFacts, Proration, RefundFacts, Sessions, Stripe,
    StripeApi, SubscriptionFacts,
};
use crate::error::{Error, Result};

/// The metadata's entry with the person.
pub(super) const USER: &str = "userId";

/// The metadata's entry of what `make stripe-setup` makes.
const OURS: &str = "camarad";

/// The most that Stripe lists at once.
pub(super) const PAGE: i64 = 100;

/// How many pages of a list are read that should have one.
const PAGES: usize = 50;

/// Which objects of a list are asked for, where the crates have no request for it, or only with much else.
#[derive(Default, Serialize)]
struct Which<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_intent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
}

fn list(path: &str, which: &Which<'_>) -> RequestBuilder {
    #[derive(Serialize)]
    struct Asked<'a> {
        #[serde(flatten)]
        which: &'a Which<'a>,
        limit: i64,
    }
    RequestBuilder::new(StripeMethod::Get, path).query(&Asked { which, limit: PAGE })
}

impl StripeApi {
    /// All pages of a list; the next begins after the last id.
    pub(super) async fn whole<T: DeserializeOwned, R: StripeRequest>(
        &self,
        request: impl Fn(Option<&str>) -> R,
        id: impl Fn(&T) -> &String,
    ) -> Result<Vec<T>> {
        let mut found: Vec<T> = Vec::new();
        for _ in 0..PAGES {
            let after = found.last().map(&id).cloned();
            let built = request(after.as_deref()).build();
            let list: List<T> = self.send(&built, None).await?;
            let more = list.has_more && !list.data.is_empty();
            found.extend(list.data);
            if !more {
                return Ok(found);
            }
        }
        Err(Error::internal("a list of Stripe's does not end"))
    }

    /// The portal as `make stripe-setup` has arranged it.
    async fn portal(&self) -> Result<Option<String>> {
        let active = Which {
            active: Some(true),
            ..Which::default()
        };
        let request = list("/billing_portal/configurations", &active);
        let all: List<Configuration> = self.send(&request, None).await?;
        let ours = all.data.into_iter().find(|c| c.metadata.contains_key(OURS));
        Ok(ours.map(|c| c.id))
    }

    /// An invoice shows ten lines; whoever changes plans more often within a period has more.
    async fn all_lines(&self, mut invoice: InvoiceFacts) -> Result<InvoiceFacts> {
        let request = list(&format!("/invoices/{}/lines", invoice.id), &Which::default());
        let list: List<Line> = self.send(&request, None).await?;
        if list.has_more {
            return Err(Error::internal(format!(
                "invoice {} has over {PAGE} lines",
                invoice.id
            )));
        }
        invoice.lines = list.facts(Line::facts)?.items;
        Ok(invoice)
    }
}

#[async_trait]
impl Stripe for StripeApi {
    async fn create_customer(&self, new: &NewCustomer, key: &OperationKey) -> Result<String> {
        let request = CreateCustomer::new()
            .email(&new.email)
            .name(&new.name)
            .metadata(HashMap::from([(USER.to_owned(), new.user.to_string())]));
        let request = request.build();
        let mut n = 0;
        loop {
            match self.attempt::<Made>(&request, key, n).await {
                Err(Failure::Kept(_)) if n + 1 < ATTEMPTS => n += 1,
                done => return Ok(done?.id),
            }
            if let Some(made) = self.made_for(new).await? {
                return Ok(made);
            }
        }
    }

    // Not by Stripe's search, which may lag behind by a minute: a list does not, and an address never changes.
    async fn made_for(&self, new: &NewCustomer) -> Result<Option<String>> {
        let request = |after: Option<&str>| {
            let request = ListCustomer::new().email(&new.email).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Customer> = self.whole(request, |customer: &Customer| &customer.id).await?;
        let user = new.user.to_string();
        let mut known = (all.into_iter()).filter(|c| !c.deleted && c.metadata.get(USER) == Some(&user));
        Ok(known.next_back().map(|oldest| oldest.id))
    }

    async fn has_customer(&self, customer: &str) -> Result<bool> {
        match self.get::<Customer>(&RetrieveCustomer::new(customer)).await {
            Ok(customer) => Ok(!customer.deleted),
            Err(Error::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn prices(&self, lookup_keys: &[String]) -> Result<Vec<PriceFacts>> {
        let request = ListPrice::new()
            .active(true)
            .limit(PAGE)
            .lookup_keys(lookup_keys.to_vec());
        let list: List<Price> = self.get(&request).await?;
        Ok(list.data.into_iter().map(PriceFacts::from).collect())
    }

    async fn price(&self, id: &str) -> Result<PriceFacts> {
        let price: Price = self.get(&RetrievePrice::new(id)).await?;
        Ok(price.into())
    }

    async fn create_checkout(&self, new: &NewCheckout, key: &OperationKey) -> Result<CheckoutPage> {
        let session: Session = self.post(&checkout(new, key), key).await?;
        session.page()
    }

    async fn expire_checkout(&self, session: &str, key: &OperationKey) -> Result<PageEnd> {
        match self
            .post::<Ignored>(&ExpireCheckoutSession::new(session), key)
            .await
        {
            Ok(_) | Err(Error::NotFound) => return Ok(PageEnd::Closed),
            // It was paid on, or closed, or is being paid on at this moment.
            Err(Error::Upstream(_)) => {}
            Err(error) => return Err(error),
        }
        let page: Session = self.get(&RetrieveCheckoutSession::new(session)).await?;
        page.end()
            .ok_or_else(|| Error::Unavailable("somebody is paying on this page".into()))
    }

    async fn create_portal(&self, customer: &str, return_url: &str, key: &OperationKey) -> Result<String> {
        let request = CreateBillingPortalSession::new()
            .customer(customer)
            .return_url(return_url);
        // Without one, Stripe takes what somebody has chosen by hand, if anybody has.
        let request = match self.portal().await? {
            Some(ours) => request.configuration(ours),
            None => request,
        };
        let page: Page = self.post(&request, key).await?;
        page.url.ok_or(Error::Upstream("the portal has no address"))
    }

    async fn change_price(&self, change: &PriceChange, key: &OperationKey) -> Result<()> {
        let mut item = UpdateSubscriptionItems::new();
        item.id = Some(change.item.clone());
        item.price = Some(change.price.clone());
        let request = UpdateSubscription::new(change.subscription.as_str()).items(vec![item]);
        let request = match change.proration {
            // When the card is refused nothing changes, and the caller hears it.
            Proration::Now => request
                .proration_behavior(UpdateSubscriptionProrationBehavior::AlwaysInvoice)
                .payment_behavior(UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete),
            Proration::AtRenewal => request.proration_behavior(UpdateSubscriptionProrationBehavior::None),
        };
        self.post::<Ignored>(&request, key).await.map(drop)
    }

    async fn preview_change(&self, change: &PriceChange, key: &OperationKey) -> Result<InvoiceFacts> {
        let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
        item.id = Some(change.item.clone());
        item.price = Some(change.price.clone());
        let mut details = CreatePreviewInvoiceSubscriptionDetails::new();
        details.items = Some(vec![item]);
        details.proration_behavior = Some(match change.proration {
            Proration::Now => PreviewProration::AlwaysInvoice,
            Proration::AtRenewal => PreviewProration::None,
        });
        let request = CreatePreviewInvoice::new()
            .customer(&change.customer)
            .subscription(&change.subscription)
            .subscription_details(details);
        let invoice: Invoice = self.post(&request, key).await?;
        Ok(invoice.facts()?.0)
    }

    async fn cancel_at_period_end(&self, subscription: &str, cancel: bool, key: &OperationKey) -> Result<()> {
        let request = UpdateSubscription::new(subscription).cancel_at_period_end(cancel);
        self.post::<Ignored>(&request, key).await.map(drop)
    }

    async fn cancel_now(&self, subscription: &str, key: &OperationKey) -> Result<()> {
        match self
            .post::<Ignored>(&CancelSubscription::new(subscription), key)
            .await
        {
            Ok(_) | Err(Error::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn subscriptions(&self, customer: &str) -> Result<Vec<SubscriptionFacts>> {
        let request = ListSubscription::new()
            .customer(customer)
            .status(ListSubscriptionStatus::All)
            .limit(PAGE);
        let list: List<Subscription> = self.get(&request).await?;
        list.data.into_iter().map(Subscription::facts).collect()
    }

    async fn invoices(
        &self,
        customer: &str,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Listed<InvoiceFacts>> {
        let request = ListInvoice::new().customer(customer).limit(i64::from(limit));
        let request = match after {
            Some(after) => request.starting_after(after),
            None => request,
        };
        let list: List<Invoice> = self.get(&request).await?;
        let mut items = Vec::with_capacity(list.data.len());
        for invoice in list.data {
            let (facts, more) = invoice.facts()?;
            items.push(match more {
                false => facts,
                true => self.all_lines(facts).await?,
            });
        }
        Ok(Listed {
            items,
            has_more: list.has_more,
        })
    }

    async fn open_pages(&self, customer: &str) -> Result<Vec<OpenPage>> {
        let all = self
            .all_sessions(customer, Some(CheckoutSessionStatus::Open))
            .await?;
        Ok(all.iter().filter_map(Session::open).collect())
    }

    async fn sessions(&self, customer: &str) -> Result<Sessions> {
        let all = self.all_sessions(customer, None).await?;
        Ok(Sessions {
            open: all.iter().filter_map(Session::open).collect(),
            top_ups: all.into_iter().filter_map(Session::top_up).collect(),
        })
    }

    async fn charges(&self, customer: &str) -> Result<Vec<ChargeFacts>> {
        let request = |after: Option<&str>| {
            let request = ListCharge::new().customer(customer).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Charge> = self.whole(request, |charge: &Charge| &charge.id).await?;
        all.into_iter().map(Charge::facts).collect()
    }

    async fn payments(&self, invoice: &str) -> Result<Vec<String>> {
        let of = Which {
            invoice: Some(invoice),
            ..Which::default()
        };
        let request = list("/invoice_payments", &of);
        let all: List<InvoicePayment> = self.send(&request, None).await?;
        Ok(all
            .data
            .into_iter()
            .filter_map(InvoicePayment::payment_intent)
            .collect())
    }

    async fn refund(&self, payment_intent: &str, key: &OperationKey) -> Result<()> {
        let request = CreateRefund::new().payment_intent(payment_intent);
        self.post::<Ignored>(&request, key).await.map(drop)
    }

    async fn refunds(&self, payment_intent: &str) -> Result<Vec<RefundFacts>> {
        let request = ListRefund::new().payment_intent(payment_intent).limit(PAGE);
        let refunds: List<Refund> = self.get(&request).await?;
        let of = Which {
            payment_intent: Some(payment_intent),
            ..Which::default()
        };
        let request = list("/disputes", &of);
        let disputes: List<Dispute> = self.send(&request, None).await?;
        let refunds = refunds.data.into_iter().filter_map(Refund::facts);
        Ok(refunds
            .chain(disputes.data.into_iter().filter_map(Dispute::facts))
            .collect())
    }

    async fn payer(&self, charge: &str) -> Result<Option<String>> {
        match self.get::<Charge>(&RetrieveCharge::new(charge)).await {
            Ok(charge) => Ok(charge.payer()),
            Err(Error::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn payment_method(&self, customer: &str) -> Result<Option<PaymentMethodFacts>> {
        let known: Customer = self.get(&RetrieveCustomer::new(customer)).await?;
        if known.deleted {
            return Ok(None);
        }
        let default = known.default_payment_method();
        let list: List<PaymentMethod> = self.get(&ListPaymentMethodsCustomer::new(customer)).await?;
        let mut methods = list.data;
        let chosen = methods
            .iter()
            .position(|m| Some(&m.id) == default.as_ref())
            .unwrap_or(0);
        Ok((chosen < methods.len()).then(|| methods.swap_remove(chosen).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_asked_for_by_names_and_values() {
        let query = |which| list("/disputes", &which).query;
        assert_eq!(query(Which::default()).as_deref(), Some("limit=100"));
        let of = Which {
            payment_intent: Some("pi_1"),
            active: Some(true),
            ..Which::default()
        };
        assert_eq!(
            query(of).as_deref(),
            Some("payment_intent=pi_1&active=true&limit=100")
        );
    }
}
