//! The requests themselves.

use std::collections::HashMap;

use async_trait::async_trait;
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
use stripe_client_core::StripeRequest;
use stripe_core::charge::{ListCharge, RetrieveCharge};
use stripe_core::customer::{CreateCustomer, ListCustomer, ListPaymentMethodsCustomer, RetrieveCustomer};
use stripe_core::refund::CreateRefund;
use stripe_product::price::{ListPrice, RetrievePrice};
use stripe_shared::CheckoutSessionStatus;

use super::answers::{
    Configuration, Customer, Ignored, Invoice, List, Made, Page, PaymentMethod, Price, Session, Subscription,
};
use super::client::{ATTEMPTS, Failure};
use super::lists::{PAGE, Which};
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

impl StripeApi {
    /// The portal as `make stripe-setup` has arranged it.
    async fn portal(&self) -> Result<Option<String>> {
        let active = Which {
            active: Some(true),
            ..Which::default()
        };
        let path = "/billing_portal/configurations";
        let all = self.all(path, active, |c: &Configuration| &c.id).await?;
        let ours = all.into_iter().find(|c| c.metadata.contains_key(OURS));
        Ok(ours.map(|c| c.id))
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
        // A lookup key has one price at most.
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
        let request = |after: Option<&str>| {
            let request = ListSubscription::new().customer(customer).limit(PAGE);
            let request = request.status(ListSubscriptionStatus::All);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Subscription> = self.whole(request, |s: &Subscription| &s.id).await?;
        all.into_iter().map(Subscription::facts).collect()
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
        let all = self
            .all("/invoice_payments", of, |p: &InvoicePayment| &p.id)
            .await?;
        Ok(all
            .into_iter()
            .filter_map(InvoicePayment::payment_intent)
            .collect())
    }

    async fn refund(&self, payment_intent: &str, key: &OperationKey) -> Result<()> {
        let request = CreateRefund::new().payment_intent(payment_intent);
        self.post::<Ignored>(&request, key).await.map(drop)
    }

    async fn refunds(&self, payment_intent: &str) -> Result<Vec<RefundFacts>> {
        let of = Which {
            payment_intent: Some(payment_intent),
            ..Which::default()
        };
        let refunds = self.all("/refunds", of.clone(), |r: &Refund| &r.id).await?;
        let disputes = self.all("/disputes", of, |d: &Dispute| &d.id).await?;
        let refunds = refunds.into_iter().filter_map(Refund::facts);
        Ok(refunds
            .chain(disputes.into_iter().filter_map(Dispute::facts))
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
        let request = |after: Option<&str>| {
            let request = ListPaymentMethodsCustomer::new(customer).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let mut methods: Vec<PaymentMethod> = self.whole(request, |m: &PaymentMethod| &m.id).await?;
        let chosen = methods
            .iter()
            .position(|m| Some(&m.id) == default.as_ref())
            .unwrap_or(0);
        Ok((chosen < methods.len()).then(|| methods.swap_remove(chosen).into()))
    }
}
