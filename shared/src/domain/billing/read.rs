//! What is for sale, and what was paid.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::customer::account;
use crate::app::App;
use crate::domain::plans::{CURRENCY, Plan, Pool, TOP_UPS, TRIAL_DAYS};
use crate::domain::users::subscription::LimitsView;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::money::Cbt;
use crate::ports::stripe::{InvoiceFacts, InvoiceStatus, PaymentMethodFacts};
use crate::store::page::cursor;
use crate::store::{Page, PageRequest};

/// All that is for sale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CatalogueView {
    /// How many days a first subscription is tried for nothing.
    pub trial_days: i64,
    /// What prices are in, ISO 4217 in lower case.
    pub currency: String,
    /// The plans, smallest first.
    pub plans: Vec<PlanView>,
    /// cbT that can be bought on top, smallest pack first.
    pub top_ups: Vec<TopUpView>,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanView {
    /// Which.
    pub id: Plan,
    /// Its name.
    pub name: String,
    /// A month, in the currency's smallest unit, without tax; `null` by contract.
    #[schema(required)]
    pub price: Option<i64>,
    /// cbT granted each month; `null` by contract.
    #[schema(required)]
    pub monthly_cbt: Option<Cbt>,
    /// What it allows.
    pub limits: LimitsView,
    /// Whose cbT calls spend.
    pub pool: Pool,
    /// Whether a person can start it by themselves; if not, it is agreed by contract.
    pub self_service: bool,
}

/// A pack of cbT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TopUpView {
    /// How much.
    pub cbt: Cbt,
    /// In the currency's smallest unit, without tax.
    pub price: i64,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InvoiceView {
    /// Stripe's id of it.
    pub id: String,
    /// Its number, once it is final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Where it stands.
    pub status: InvoiceStatus,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// ISO 4217, lower case.
    pub currency: String,
    /// All of it, tax included, in the currency's smallest unit.
    pub total: i64,
    /// What has been paid of it.
    pub amount_paid: i64,
    /// What has not.
    pub amount_remaining: i64,
    /// When Stripe tries to charge it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_attempt_at: Option<Timestamp>,
    /// The page where it can be seen and paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted_url: Option<String>,
    /// The same as PDF.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pdf_url: Option<String>,
}

impl From<InvoiceFacts> for InvoiceView {
    fn from(invoice: InvoiceFacts) -> Self {
        Self {
            id: invoice.id,
            number: invoice.number,
            status: invoice.status,
            created_at: invoice.created,
            currency: invoice.currency,
            total: invoice.total,
            amount_paid: invoice.amount_paid,
            amount_remaining: invoice.amount_remaining,
            next_attempt_at: invoice.next_attempt,
            hosted_url: invoice.hosted_url,
            pdf_url: invoice.pdf_url,
        }
    }
}

/// How a person pays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentMethodView {
    /// The card, or whatever it is; `null` when there is none.
    #[schema(required)]
    pub payment_method: Option<PaymentMethodFacts>,
}

/// All that is for sale.
pub fn catalogue() -> CatalogueView {
    let plan = |plan: Plan| PlanView {
        id: plan,
        name: plan.name().into(),
        price: plan.price_cents(),
        monthly_cbt: plan.monthly_cbt(),
        limits: plan.limits().into(),
        pool: plan.pool(),
        self_service: plan.self_service(),
    };
    let pack = |pack: crate::domain::plans::TopUp| TopUpView {
        cbt: Cbt::whole(pack.cbt),
        price: pack.price_cents,
    };
    CatalogueView {
        trial_days: TRIAL_DAYS,
        currency: CURRENCY.into(),
        plans: Plan::ALL.into_iter().map(plan).collect(),
        top_ups: TOP_UPS.into_iter().map(pack).collect(),
    }
}

/// The person's invoices, newest first, as Stripe has them now.
///
/// # Errors
/// `NotFound` when there is no such account; `Invalid` on `query.cursor`; those of Stripe.
pub async fn invoices(app: &App, user: UserId, page: &PageRequest) -> Result<Page<InvoiceView>> {
    let Some(customer) = account(app, user).await?.billing.customer else {
        return Ok(Page::whole(Vec::new()));
    };
    let listed = app
        .stripe()?
        .invoices(&customer, page.limit(), page.after())
        .await;
    let listed = listed.map_err(|error| match (error, page.after()) {
        (Error::Upstream(_) | Error::NotFound, Some(_)) => {
            Error::field("query.cursor", "is not a cursor of this list")
        }
        (error, _) => error,
    })?;
    let last = listed.items.last().filter(|_| listed.has_more);
    Ok(Page {
        next_cursor: last.map(|invoice| cursor(&invoice.id)),
        items: listed.items.into_iter().map(InvoiceView::from).collect(),
    })
}

/// How the person pays, as Stripe has it now.
///
/// # Errors
/// `NotFound` when there is no such account; those of Stripe.
pub async fn payment_method(app: &App, user: UserId) -> Result<PaymentMethodView> {
    let payment_method = match account(app, user).await?.billing.customer {
        Some(customer) => app.stripe()?.payment_method(&customer).await?,
        None => None,
    };
    Ok(PaymentMethodView { payment_method })
}
