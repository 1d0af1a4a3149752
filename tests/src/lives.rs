//! Lives of subscriptions, as Stripe would have them step by step: thrown by dice, and told in any order.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use camarad::domain::plans::{Plan, TOP_UPS};
use camarad::error::{Error, Result};
use camarad::ports::stripe::{
    BillingReason, ChargeFacts, CheckoutPage, InvoiceFacts, InvoiceStatus, LineFacts, Listed, NewCheckout,
    NewCustomer, OpenPage, OperationKey, PageEnd, PaymentMethodFacts, PriceChange, PriceFacts, RefundFacts,
    Sessions, Span, Stripe, StripeStatus, SubscriptionFacts, TopUpFacts,
};
use jiff::{SignedDuration, Timestamp};

use crate::dice::Dice;

/// What Stripe has at one moment.
#[derive(Debug, Clone)]
pub struct World {
    /// When.
    pub at: Timestamp,
    /// The subscription.
    pub subscription: SubscriptionFacts,
    /// Its invoices, newest first.
    pub invoices: Vec<InvoiceFacts>,
    /// Bought cbT.
    pub top_ups: Vec<TopUpFacts>,
    /// What was given back.
    pub refunds: Vec<RefundFacts>,
    /// How many events tell of this step.
    pub events: u64,
}

const PLANS: [Plan; 3] = [Plan::Personal, Plan::Business, Plan::Agency];

fn month() -> SignedDuration {
    SignedDuration::from_hours(24 * 30)
}

fn line(plan: Plan, period: Span, amount: i64, proration: bool) -> LineFacts {
    LineFacts {
        period,
        price: Some(plan.lookup_key()),
        amount,
        proration,
        of_subscription: true,
    }
}

impl World {
    fn begin(dice: &mut Dice, name: &str, at: Timestamp) -> Self {
        let plan = *dice.pick(&PLANS);
        let trial = dice.chance(85).then(|| Span {
            start: at,
            end: at + SignedDuration::from_hours(24 * 15),
        });
        let period = trial.unwrap_or(Span {
            start: at,
            end: at + month(),
        });
        let mut world = Self {
            at,
            subscription: SubscriptionFacts {
                id: format!("sub_{name}"),
                item: format!("si_{name}"),
                plan,
                status: if trial.is_some() {
                    StripeStatus::Trialing
                } else {
                    StripeStatus::Active
                },
                created: at,
                trial,
                period,
                cancel_at_period_end: false,
                ended_at: None,
            },
            invoices: Vec::new(),
            top_ups: Vec::new(),
            refunds: Vec::new(),
            events: 4,
        };
        let amount = if trial.is_some() {
            0
        } else {
            plan.price_cents().unwrap_or(0)
        };
        world.bill(
            BillingReason::Create,
            vec![line(plan, period, amount, false)],
            InvoiceStatus::Paid,
        );
        world
    }

    fn bill(&mut self, reason: BillingReason, lines: Vec<LineFacts>, status: InvoiceStatus) {
        let total = lines.iter().map(|l| l.amount).sum();
        let invoice = InvoiceFacts {
            id: format!("in_{}_{}", self.subscription.id, self.invoices.len()),
            subscription: Some(self.subscription.id.clone()),
            status,
            reason,
            created: self.at,
            number: None,
            currency: "usd".into(),
            total,
            amount_paid: total,
            amount_remaining: 0,
            attempts: 1,
            next_attempt: None,
            hosted_url: None,
            pdf_url: None,
            lines,
        };
        self.invoices.insert(0, invoice);
    }

    /// What comes next; `None` when it is over.
    fn next(&self, dice: &mut Dice) -> Option<Self> {
        let mut next = self.clone();
        next.events = 1 + dice.below(4);
        match self.subscription.status {
            StripeStatus::Canceled => return None,
            StripeStatus::PastDue => next.overdue(dice),
            StripeStatus::Trialing | StripeStatus::Active if dice.chance(45) => next.renewed(dice),
            StripeStatus::Trialing => next.chosen(dice, true),
            _ => next.chosen(dice, false),
        }
        Some(next)
    }

    fn later(&mut self, dice: &mut Dice) {
        let left = self.subscription.period.end.as_second() - self.at.as_second();
        let step = 1 + dice.below(u64::try_from(left / 2).unwrap_or(0).max(1));
        self.at += SignedDuration::from_secs(i64::try_from(step).unwrap_or(1));
    }

    /// A period ends, and the next one is paid, or not.
    fn renewed(&mut self, dice: &mut Dice) {
        self.at = self.subscription.period.end + SignedDuration::from_hours(1);
        if self.subscription.cancel_at_period_end {
            self.over();
            return;
        }
        let period = Span {
            start: self.subscription.period.end,
            end: self.subscription.period.end + month(),
        };
        let paid = dice.chance(75);
        let plan = self.subscription.plan;
        self.subscription.period = period;
        self.subscription.status = if paid {
            StripeStatus::Active
        } else {
            StripeStatus::PastDue
        };
        let status = if paid {
            InvoiceStatus::Paid
        } else {
            InvoiceStatus::Open
        };
        let amount = plan.price_cents().unwrap_or(0);
        self.bill(
            BillingReason::Cycle,
            vec![line(plan, period, amount, false)],
            status,
        );
    }

    fn over(&mut self) {
        self.subscription.status = StripeStatus::Canceled;
        self.subscription.ended_at = Some(self.at);
    }

    /// The overdue invoice is paid at last, or everything ends.
    fn overdue(&mut self, dice: &mut Dice) {
        self.at += SignedDuration::from_hours(24 * (1 + i64::try_from(dice.below(9)).unwrap_or(0)));
        if dice.chance(40) {
            self.over();
            return;
        }
        self.subscription.status = StripeStatus::Active;
        for invoice in self
            .invoices
            .iter_mut()
            .filter(|i| i.status == InvoiceStatus::Open)
        {
            invoice.status = InvoiceStatus::Paid;
        }
    }

    /// The person does something.
    fn chosen(&mut self, dice: &mut Dice, trial: bool) {
        self.later(dice);
        match dice.below(5) {
            0 => self.change(*dice.pick(&PLANS), trial),
            1 => self.subscription.cancel_at_period_end = !self.subscription.cancel_at_period_end,
            2 | 3 => self.buy(dice),
            _ => self.give_back(dice),
        }
    }

    fn change(&mut self, plan: Plan, trial: bool) {
        let old = self.subscription.plan;
        self.subscription.plan = plan;
        if trial || plan.price_cents() <= old.price_cents() {
            return;
        }
        let rest = Span {
            start: self.at,
            end: self.subscription.period.end,
        };
        let share = |plan: Plan| {
            plan.price_cents().unwrap_or(0) * rest.seconds() / self.subscription.period.seconds().max(1)
        };
        let lines = vec![
            line(old, rest, -share(old).max(1), true),
            line(plan, rest, share(plan).max(1), true),
        ];
        self.bill(BillingReason::Update, lines, InvoiceStatus::Paid);
    }

    fn buy(&mut self, dice: &mut Dice) {
        let (n, pack) = (self.top_ups.len(), *dice.pick(&TOP_UPS));
        let id = &self.subscription.id;
        self.top_ups.push(TopUpFacts {
            session: format!("cs_{id}_{n}"),
            cbt: pack.cbt,
            paid: dice.chance(80),
            amount: pack.price_cents,
            payment_intent: Some(format!("pi_{id}_{n}")),
        });
    }

    fn give_back(&mut self, dice: &mut Dice) {
        let paid: Vec<_> = self.top_ups.iter().filter(|t| t.paid).collect();
        if paid.is_empty() {
            return;
        }
        let bought = (*dice.pick(&paid)).clone();
        let id = format!("re_{}_{}", self.subscription.id, self.refunds.len());
        let known = self
            .refunds
            .iter()
            .filter(|r| r.payment_intent == bought.payment_intent);
        if known.count() < 2 {
            self.refunds.push(RefundFacts {
                id,
                payment_intent: bought.payment_intent,
                amount: bought.amount / 2,
            });
        }
    }
}

/// A life of up to a dozen steps.
pub fn life(dice: &mut Dice, name: &str, from: Timestamp) -> Vec<World> {
    let mut worlds = vec![World::begin(dice, name, from)];
    for _ in 0..4 + dice.below(8) {
        let Some(next) = worlds.last().and_then(|w| w.next(dice)) else {
            break;
        };
        worlds.push(next);
    }
    worlds
}

/// In which order the events of a life come: at which step each is told, that of its own or a later one. Some come twice.
pub fn order(dice: &mut Dice, life: &[World]) -> Vec<usize> {
    let last = life.len() - 1;
    let mut told = Vec::new();
    for (step, world) in life.iter().enumerate() {
        for _ in 0..world.events {
            let times = if dice.chance(30) { 2 } else { 1 };
            for _ in 0..times {
                let late = if dice.chance(50) {
                    0
                } else {
                    dice.below((last - step + 1) as u64)
                };
                told.push(step + usize::try_from(late).expect("a step"));
            }
        }
    }
    told.sort_unstable();
    told
}

/// A Stripe that has one customer, and lives through this life.
pub struct Played {
    life: Vec<World>,
    step: Mutex<usize>,
    /// Reads that fail, as numbers of calls from now on.
    fails: Mutex<BTreeSet<u64>>,
    calls: Mutex<u64>,
    gone: AtomicBool,
}

impl Played {
    /// From its first step on.
    pub fn new(life: Vec<World>) -> Self {
        Self {
            life,
            step: Mutex::new(0),
            fails: Mutex::default(),
            calls: Mutex::new(0),
            gone: AtomicBool::new(false),
        }
    }

    /// It is that far now.
    pub fn at(&self, step: usize) {
        *self.step.lock().expect("a lock") = step;
    }

    /// Somebody deletes the customer.
    pub fn delete(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// The read after so many others fails once.
    pub fn fail(&self, after: u64) {
        let now = *self.calls.lock().expect("a lock");
        self.fails.lock().expect("a lock").insert(now + after);
    }

    fn now(&self) -> Result<World> {
        let mut calls = self.calls.lock().expect("a lock");
        *calls += 1;
        if self.fails.lock().expect("a lock").remove(&*calls) {
            return Err(Error::Unavailable("an answer of Stripe's got lost".into()));
        }
        Ok(self.life[*self.step.lock().expect("a lock")].clone())
    }
}

const NOT_PLAYED: Error = Error::Upstream("this is not played");

#[async_trait]
impl Stripe for Played {
    async fn create_customer(&self, _: &NewCustomer, _: &OperationKey) -> Result<String> {
        Err(NOT_PLAYED)
    }
    async fn made_for(&self, _: &NewCustomer) -> Result<Option<String>> {
        Err(NOT_PLAYED)
    }
    async fn has_customer(&self, _: &str) -> Result<bool> {
        self.now().map(|_| !self.gone.load(Ordering::SeqCst))
    }
    async fn prices(&self, _: &[String]) -> Result<Vec<PriceFacts>> {
        self.now()?;
        let price = |plan: &Plan| PriceFacts {
            id: plan.lookup_key(),
            lookup_key: Some(plan.lookup_key()),
            plan: Some(*plan),
        };
        Ok(PLANS.iter().map(price).collect())
    }
    async fn price(&self, _: &str) -> Result<PriceFacts> {
        Err(NOT_PLAYED)
    }
    async fn create_checkout(&self, _: &NewCheckout, _: &OperationKey) -> Result<CheckoutPage> {
        Err(NOT_PLAYED)
    }
    async fn expire_checkout(&self, _: &str, _: &OperationKey) -> Result<PageEnd> {
        Err(NOT_PLAYED)
    }
    async fn create_portal(&self, _: &str, _: &str, _: &OperationKey) -> Result<String> {
        Err(NOT_PLAYED)
    }
    async fn change_price(&self, _: &PriceChange, _: &OperationKey) -> Result<()> {
        Err(NOT_PLAYED)
    }
    async fn preview_change(&self, _: &PriceChange, _: &OperationKey) -> Result<InvoiceFacts> {
        Err(NOT_PLAYED)
    }
    async fn cancel_at_period_end(&self, _: &str, _: bool, _: &OperationKey) -> Result<()> {
        Err(NOT_PLAYED)
    }
    async fn cancel_now(&self, _: &str, _: &OperationKey) -> Result<()> {
        Err(NOT_PLAYED)
    }
    async fn subscriptions(&self, _: &str) -> Result<Vec<SubscriptionFacts>> {
        self.now().map(|w| vec![w.subscription])
    }
    async fn invoices(&self, _: &str, _: u32, _: Option<&str>) -> Result<Listed<InvoiceFacts>> {
        self.now().map(|w| Listed {
            items: w.invoices,
            has_more: false,
        })
    }
    async fn open_pages(&self, _: &str) -> Result<Vec<OpenPage>> {
        Err(NOT_PLAYED)
    }
    async fn sessions(&self, _: &str) -> Result<Sessions> {
        self.now().map(|w| Sessions {
            top_ups: w.top_ups,
            open: Vec::new(),
        })
    }
    async fn charges(&self, _: &str) -> Result<Vec<ChargeFacts>> {
        let world = self.now()?;
        let all: BTreeSet<_> = world
            .refunds
            .into_iter()
            .filter_map(|r| r.payment_intent)
            .collect();
        let charge = |payment| ChargeFacts {
            payment_intent: Some(payment),
            created: world.at,
            paid: true,
            amount: 1,
            refunded: 1,
            disputed: false,
        };
        Ok(all.into_iter().map(charge).collect())
    }
    async fn payments(&self, _: &str) -> Result<Vec<String>> {
        Err(NOT_PLAYED)
    }
    async fn refund(&self, _: &str, _: &OperationKey) -> Result<()> {
        Err(NOT_PLAYED)
    }
    async fn refunds(&self, payment: &str) -> Result<Vec<RefundFacts>> {
        let mut world = self.now()?;
        world
            .refunds
            .retain(|r| r.payment_intent.as_deref() == Some(payment));
        Ok(world.refunds)
    }
    async fn payer(&self, _: &str) -> Result<Option<String>> {
        Err(NOT_PLAYED)
    }
    async fn payment_method(&self, _: &str) -> Result<Option<PaymentMethodFacts>> {
        Err(NOT_PLAYED)
    }
}
