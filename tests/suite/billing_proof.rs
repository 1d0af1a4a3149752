//! However Stripe's news come, late, twice, in any order, with answers lost in between: the same life ends in the same
//! account and the same grants, each of them once.

use std::collections::BTreeSet;
use std::sync::Arc;

use camarad::app::{App, Builder};
use camarad::clock::ManualClock;
use camarad::config::Config;
use camarad::domain::billing::{Billing, StripeCustomer, worker};
use camarad::domain::ledger;
use camarad::domain::plans::Plan;
use camarad::domain::users::{Account, SubscriptionStatus};
use camarad::ids::UserId;
use camarad::ports::stripe::InvoiceStatus;
use camarad::store::{Db, PageRequest, keys};
use camarad_tests::dice::{Dice, share};
use camarad_tests::engine;
use camarad_tests::lives::{Played, World, life, order};
use jiff::Timestamp;

pub const START: i64 = 1_790_000_000;

/// Lives of `make proof`, and orders of each; `make test` plays one order of a few, and a share in between its part of
/// either.
const LIVES: u64 = 200;
const ORDERS: u64 = 50;

/// An account whose customer lives through a life.
pub struct Run {
    pub app: App,
    clock: Arc<ManualClock>,
    stripe: Arc<Played>,
    pub user: UserId,
    pub customer: String,
}

pub async fn begin(db: &Db, life: &[World]) -> Run {
    let clock = Arc::new(ManualClock::at_unix(START));
    let stripe = Arc::new(Played::new(life.to_vec()));
    let config = Config {
        stage: "test".into(),
        table: engine::TABLE.into(),
        ..Config::default()
    };
    let app = Builder::new(config, db.clone(), clock.clone())
        .stripe(stripe.clone())
        .build();
    let user = UserId::new(clock.as_ref());
    let customer = format!("cus_{}", user.body());
    let account = Account {
        user_id: user,
        plan: Plan::Personal,
        status: SubscriptionStatus::Incomplete,
        trial_ends_at: None,
        workspaces: 0,
        agents: 0,
        created_at: Timestamp::from_second(START).unwrap(),
        billing: Billing {
            customer: Some(customer.clone()),
            ..Billing::default()
        },
    };
    db.put(&account, None).await.unwrap();
    let held = StripeCustomer {
        customer: customer.clone(),
        user_id: user,
    };
    db.put(&held, None).await.unwrap();
    Run {
        app,
        clock,
        stripe,
        user,
        customer,
    }
}

impl Run {
    pub fn step(&self, life: &[World], step: usize) {
        self.stripe.at(step);
        let now = self.app.clock().now();
        self.clock
            .advance(life[step].at.duration_since(now).max(jiff::SignedDuration::ZERO));
    }

    /// Somebody deletes the customer at Stripe.
    pub fn delete_customer(&self) {
        self.stripe.delete();
    }

    /// What the account says and what was granted.
    pub async fn ends(&self) -> (Account, Vec<String>, Option<i64>) {
        let db = self.app.db();
        let mut account: Account = db.get(&keys::account(self.user)).await.unwrap().unwrap();
        account.user_id = UserId::from_bytes([0; 16]);
        account.billing.rev = 0;
        account.billing.customer = None;
        let entries = ledger::entries(&self.app, self.user, &PageRequest::of(1_000))
            .await
            .unwrap();
        let mut told: Vec<_> = (entries.items.iter())
            .filter(|e| matches!(e.entry, ledger::Kind::Grant | ledger::Kind::Adjust))
            .map(|e| format!("{} {} {:?} {:?}", e.operation, e.delta, e.reason, e.expires))
            .collect();
        told.sort();
        let head = db.get_doc(&keys::ledger_head(self.user)).await.unwrap();
        let until = head.and_then(|h| h.field("until").unwrap());
        (account, told, until)
    }
}

/// A whole period's grants that the life has paid for: each line once.
fn periods(life: &[World]) -> usize {
    let last = life.last().unwrap();
    let paid = last.invoices.iter().filter(|i| i.status == InvoiceStatus::Paid);
    let lines = paid.flat_map(|i| &i.lines).filter(|l| !l.proration);
    lines.map(|l| l.period.start).collect::<BTreeSet<_>>().len()
}

#[tokio::test]
async fn the_order_and_number_of_events_do_not_count() {
    let db = engine::dynoxide().await;
    let (lives, orders) = match share() {
        1 => (LIVES / 50, 1),
        share => (LIVES * share / 50, (ORDERS * share / 50).max(1)),
    };
    let mut played = 0;
    for seed in 0..lives {
        let mut dice = Dice::new(seed);
        let life = life(
            &mut dice,
            &seed.to_string(),
            Timestamp::from_second(START).unwrap(),
        );
        // In order, each event once, as soon as it happens: what all others are compared with.
        let plain = begin(&db, &life).await;
        for step in 0..life.len() {
            plain.step(&life, step);
            worker::look(&plain.app, &plain.customer).await.unwrap();
        }
        let expected = plain.ends().await;
        let monthly = |text: &&String| text.contains("A month of") || text.contains("Trial of");
        assert_eq!(
            expected.1.iter().filter(monthly).count(),
            periods(&life),
            "seed {seed}"
        );
        for n in 0..orders {
            let run = begin(&db, &life).await;
            for step in order(&mut dice, &life) {
                run.step(&life, step);
                if dice.chance(5) {
                    run.stripe.fail(1 + dice.below(9));
                }
                // The queue brings again what failed.
                for _ in 0..3 {
                    if worker::look(&run.app, &run.customer).await.is_ok() {
                        break;
                    }
                }
            }
            assert_eq!(run.ends().await, expected, "seed {seed}, order {n}");
            played += 1;
        }
    }
    println!("{lives} lives, {played} orders: each ends alike, with one grant per period");
}

#[tokio::test]
async fn the_sample_order_is_of_a_customer_that_nobody_has() {
    let t = camarad_tests::app::TestApp::new().await;
    let file = camarad_tests::app::stack::repository().join("events/sqs-billing.json");
    let event = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let before = t.snapshot().await;
    let messages = camarad::lambda::batch::messages(event);
    assert_eq!(messages.len(), 1);
    assert!(
        billing_consumer::handle(t.app.clone(), messages.clone())
            .await
            .is_empty()
    );
    let mut poison = messages;
    poison[0].body = "{}".into();
    let id = poison[0].id.clone();
    assert_eq!(billing_consumer::handle(t.app.clone(), poison).await, [id]);
    assert_eq!(before, t.snapshot().await);
}
