//! Checkout: what a page sells, how it is asked for, and which there are.

use std::collections::HashMap;

use jiff::Timestamp;
use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAutomaticTax, CreateCheckoutSessionCustomerUpdate,
    CreateCheckoutSessionCustomerUpdateAddress, CreateCheckoutSessionLineItems,
    CreateCheckoutSessionPaymentMethodCollection, CreateCheckoutSessionSubscriptionData,
    CreateCheckoutSessionSubscriptionDataBillingMode as BillingMode,
    CreateCheckoutSessionSubscriptionDataBillingModeType as BillingModeType,
    CreateCheckoutSessionSubscriptionDataTrialSettings as TrialSettings,
    CreateCheckoutSessionSubscriptionDataTrialSettingsEndBehavior as TrialEnd,
    CreateCheckoutSessionSubscriptionDataTrialSettingsEndBehaviorMissingPaymentMethod as WithoutCard,
    ListCheckoutSession,
};
use stripe_shared::{CheckoutSessionMode, CheckoutSessionStatus};

use super::answers::{CBT, OPERATION, Session};
use super::lists::PAGE;
use super::requests::USER;
use super::{OperationKey, StripeApi, TopUpFacts};
use crate::error::Result;
use crate::ids::UserId;

/// What a Checkout page sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sale {
    /// A subscription to the plan of a price, perhaps with a trial.
    Subscription {
        /// The price.
        price: String,
        /// How long nothing is charged.
        trial: Option<Trial>,
    },
    /// cbT, paid once.
    TopUp {
        /// The price.
        price: String,
        /// How much cbT, in whole cbT; kept in the session's metadata.
        cbt: i64,
    },
}

/// A time in which nothing is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trial {
    /// So many days from when the card was entered.
    Days(u32),
    /// Until then, whenever the card is entered; at least two days after the page is made.
    Until(Timestamp),
}

/// A Checkout page to be made.
#[derive(Debug, Clone)]
pub struct NewCheckout {
    /// Who pays.
    pub customer: String,
    /// For whom; also in the metadata.
    pub user: UserId,
    /// What for.
    pub sale: Sale,
    /// Where the browser goes after payment.
    pub success_url: String,
    /// Where it goes instead.
    pub cancel_url: String,
}

/// A page of Stripe's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutPage {
    /// The session.
    pub id: String,
    /// Its address.
    pub url: String,
    /// Until when it is open.
    pub expires_at: Timestamp,
}

/// A Checkout page on which nobody has paid yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenPage {
    /// The session.
    pub id: String,
    /// Whether it sells a subscription; otherwise cbT.
    pub of_subscription: bool,
    /// The name of the operation that opened it, if that was one of ours.
    pub operation: Option<String>,
}

/// What became of a Checkout page that was to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageEnd {
    /// Nobody can pay on it, and nobody has.
    Closed,
    /// Somebody was faster, and has paid.
    Paid,
}

/// A customer's Checkout sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those that sell cbT.
    pub top_ups: Vec<TopUpFacts>,
    /// Those on which something can still be bought, newest first.
    pub open: Vec<OpenPage>,
}

/// The request for a page. Its metadata tell the operation, so that whoever asks again knows which page is theirs.
pub(super) fn checkout(new: &NewCheckout, key: &OperationKey) -> CreateCheckoutSession {
    let whose = HashMap::from([(USER.to_owned(), new.user.to_string())]);
    let mut metadata = whose.clone();
    metadata.insert(OPERATION.into(), key.as_str().into());
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
            // What a change gives back is of what was debited, and not of the price that stands there: so a smaller plan
            // that was booked need not be taken back before a larger one is paid for.
            // https://docs.stripe.com/billing/subscriptions/billing-mode/compare
            subscription.billing_mode = Some(BillingMode::new(BillingModeType::Flexible));
            subscription.metadata = Some(whose);
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
    /// The Checkout sessions of a customer, newest first.
    pub(super) async fn all_sessions(
        &self,
        customer: &str,
        status: Option<CheckoutSessionStatus>,
    ) -> Result<Vec<Session>> {
        let request = |after: Option<&str>| {
            let request = ListCheckoutSession::new().customer(customer).limit(PAGE);
            let request = match &status {
                Some(status) => request.status(status.clone()),
                None => request,
            };
            match after {
                Some(after) => request.starting_after(after),
                None => request,
            }
        };
        self.whole(request, |session: &Session| &session.id).await
    }
}
