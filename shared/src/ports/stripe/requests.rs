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
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAutomaticTax, CreateCheckoutSessionCustomerUpdate,
    CreateCheckoutSessionCustomerUpdateAddress, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionPaymentMethodCollection, CreateCheckoutSessionSubscriptionData,
    CreateCheckoutSessionSubscriptionDataTrialSettings as TrialSettings,
    CreateCheckoutSessionSubscriptionDataTrialSettingsEndBehavior as TrialEnd,
    CreateCheckoutSessionSubscriptionDataTrialSettingsEndBehaviorMissingPaymentMethod as WithoutCard,
    ExpireCheckoutSession, ListCheckoutSession,
};
use stripe_client_core::{RequestBuilder, StripeMethod, StripeRequest};
use stripe_core::charge::{ListCharge, RetrieveCharge};
use stripe_core::customer::{CreateCustomer, ListCustomer, ListPaymentMethodsCustomer, RetrieveCustomer};
use stripe_core::refund::ListRefund;
use stripe_product::price::{ListPrice, RetrievePrice};
use stripe_shared::{CheckoutSessionMode, CheckoutSessionStatus};

use super::answers::{
    CBT, Configuration, Customer, Ignored, Invoice, Line, List, Made, Page, PaymentMethod, Price, Session,
    Subscription,
};
use super::client::{ATTEMPTS, Failure};
use super::payments::{Charge, Dispute, Refund};
use super::{
    CheckoutPage, InvoiceFacts, Listed, NewCheckout, NewCustomer, OperationKey, PaymentMethodFacts,
    PriceChange, PriceFacts, Proration, RefundFacts, Sale, Stripe, StripeApi, SubscriptionFacts, TopUpFacts,
    Trial,
};
use crate::error::{Error, Result};

/// The metadata's entry with the person.
const USER: &str = "userId";

/// The metadata's entry of what `make stripe-setup` makes.
const OURS: &str = "camarad";

/// The most that Stripe lists at once.
const PAGE: i64 = 100;

/// How many pages of a list are read that should have one.
const PAGES: usize = 50;

/// Which objects of a list are asked for, where the crates have no request for it, or only with much else.
#[derive(Default, Serialize)]
struct Which<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payment_intent: Option<&'a str>,
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

fn checkout(new: &NewCheckout) -> CreateCheckoutSession {
    let mut metadata = HashMap::from([(USER.to_owned(), new.user.to_string())]);
    let mut address = CreateCheckoutSessionCustomerUpdate::new();
    address.address = Some(CreateCheckoutSessionCustomerUpdateAddress::Auto);
    let request = CreateCheckoutSession::new()
        .customer(&new.customer)
        .client_reference_id(new.user.to_string())
        .success_url(&new.success_url)
        .cancel_url(&new.cancel_url)
        .automatic_tax(CreateCheckoutSessionAutomaticTax::new(true))
        .customer_update(address);
    let line = |price: &str| {
        let mut line = CreateCheckoutSessionLineItems::new();
        line.price = Some(price.to_owned());
        line.quantity = Some(1);
        vec![line]
    };
    match &new.sale {
        Sale::Subscription { price, trial } => {
            let mut subscription = CreateCheckoutSessionSubscriptionData::new();
            subscription.metadata = Some(metadata.clone());
            match trial {
                Some(Trial::Days(days)) => subscription.trial_period_days = Some(*days),
                Some(Trial::Until(end)) => subscription.trial_end = Some(end.as_second()),
                None => {}
            }
            subscription.trial_settings = trial
                .as_ref()
                .map(|_| TrialSettings::new(TrialEnd::new(WithoutCard::Cancel)));
            request
                .mode(CheckoutSessionMode::Subscription)
                .line_items(line(price))
                .payment_method_collection(CreateCheckoutSessionPaymentMethodCollection::Always)
                .subscription_data(subscription)
                .metadata(metadata)
        }
        Sale::TopUp { price, cbt } => {
            metadata.insert(CBT.into(), cbt.to_string());
            request
                .mode(CheckoutSessionMode::Payment)
                .line_items(line(price))
                .metadata(metadata)
        }
    }
}

impl StripeApi {
    /// All pages of a list; the next begins after the last id.
    async fn whole<T: DeserializeOwned, R: StripeRequest>(
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

    /// A customer that was made for this person, though whoever made it was not told.
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
        let mut known = all.into_iter().filter(|c| c.metadata.get(USER) == Some(&user));
        Ok(known.next_back().map(|oldest| oldest.id))
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
        let session: Session = self.post(&checkout(new), key).await?;
        session.page()
    }

    async fn expire_checkout(&self, session: &str, key: &OperationKey) -> Result<()> {
        match self
            .post::<Ignored>(&ExpireCheckoutSession::new(session), key)
            .await
        {
            // It was completed, or had expired.
            Ok(_) | Err(Error::NotFound | Error::Upstream(_)) => Ok(()),
            Err(error) => Err(error),
        }
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

    async fn open_pages(&self, customer: &str) -> Result<Vec<String>> {
        let request = |after: Option<&str>| {
            let request = ListCheckoutSession::new().customer(customer).limit(PAGE);
            let request = request.status(CheckoutSessionStatus::Open);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Session> = self.whole(request, |session: &Session| &session.id).await?;
        Ok(all.into_iter().filter_map(Session::of_subscription).collect())
    }

    async fn top_ups(&self, customer: &str) -> Result<Vec<TopUpFacts>> {
        let request = |after: Option<&str>| {
            let request = ListCheckoutSession::new().customer(customer).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Session> = self.whole(request, |session: &Session| &session.id).await?;
        Ok(all.into_iter().filter_map(Session::top_up).collect())
    }

    async fn refunded(&self, customer: &str) -> Result<Vec<String>> {
        let request = |after: Option<&str>| {
            let request = ListCharge::new().customer(customer).limit(PAGE);
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        let all: Vec<Charge> = self.whole(request, |charge: &Charge| &charge.id).await?;
        Ok(all.into_iter().filter_map(Charge::refunded).collect())
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
        };
        assert_eq!(
            query(of).as_deref(),
            Some("payment_intent=pi_1&active=true&limit=100")
        );
    }
}
