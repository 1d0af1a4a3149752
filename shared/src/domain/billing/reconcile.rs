//! The daily comparison of Stripe, table and ledger. Each customer is looked at as an event would have it, but what was
//! different is put on record first: something lost its way. It is mended by what the look does anyway, by entries.

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::apply::{apply_anew, expected};
use super::event::order_each;
use super::snapshot::{Snapshot, fetch};
use super::state::is_alive;
use crate::app::App;
use crate::domain::ledger;
use crate::domain::users::{Account, SubscriptionStatus};
use crate::error::Result;
use crate::ids::UserId;
use crate::ports::queue::MAX_BATCH;
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// How the events are named that only compare.
const COMPARE: &str = "compare-";

/// How many customers are read at once: their keys alone.
const PAGE: u32 = 1_000;

/// How many batches of orders are on their way at once. A FIFO queue takes 300 of them a second, 3,000 orders: so many are
/// below that, and a minute is long enough for 100,000 customers. Looking at them takes longer: Stripe answers 100 requests
/// a second, and each look asks six or more.
const WIDTH: usize = 4;

/// A difference that was found, for operators.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Whose.
    pub user_id: UserId,
    /// The customer.
    pub customer: String,
    /// What differed, in words.
    pub differences: Vec<String>,
    /// When it was found.
    pub found_at: Timestamp,
}

impl Entity for Drift {
    const KIND: &'static str = "billing_drift";
    fn key(&self) -> Key {
        keys::billing_drift(self.found_at, self.user_id)
    }
}

/// What ordering all comparisons did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ordered {
    /// Customers that will be looked at.
    pub customers: usize,
    /// Those whose orders the queue did not take; tomorrow is another day.
    pub failed: usize,
}

/// Whether an order of this name asks to compare.
pub(super) fn compares(event: &str) -> bool {
    event.starts_with(COMPARE)
}

/// Orders a comparison of every customer.
///
/// # Errors
/// When the table does not answer.
pub async fn order_all(app: &App) -> Result<Ordered> {
    let name = format!("{COMPARE}{}", app.clock().now().as_second());
    let mut done = Ordered::default();
    let mut walk = app.db().walk(keys::stripe_customers, PAGE);
    while let Some(found) = walk.next().await? {
        let customers: Vec<_> = found.iter().filter_map(keys::customer_of).collect();
        let batches: Vec<_> = customers
            .chunks(MAX_BATCH)
            .map(|batch| ordered(app, batch, &name))
            .collect();
        let mut sent = stream::iter(batches).buffer_unordered(WIDTH);
        while let Some(batch) = sent.next().await {
            done.customers += batch.customers;
            done.failed += batch.failed;
        }
    }
    Ok(done)
}

/// Orders a comparison of each of these, at most `MAX_BATCH`.
async fn ordered(app: &App, customers: &[&str], name: &str) -> Ordered {
    let refused = match order_each(app, customers, name).await {
        Ok(refused) => refused,
        Err(error) => {
            tracing::error!(error = %error, cause = ?error, "comparisons could not be ordered");
            customers.to_vec()
        }
    };
    for customer in &refused {
        tracing::error!(stripe.customer = customer, "a comparison could not be ordered");
    }
    Ordered {
        customers: customers.len() - refused.len(),
        failed: refused.len(),
    }
}

/// Compares one account, and puts what differs on record. What differs because a look at it is under way is none: the
/// caller is the only one who looks at this customer.
///
/// # Errors
/// Those of Stripe and the table.
pub async fn compare(app: &App, user: UserId) -> Result<()> {
    let Some(account) = app.db().get::<Account>(&keys::account(user)).await? else {
        return Ok(());
    };
    let Some(customer) = account.billing.customer.clone() else {
        return Ok(());
    };
    if account.status == SubscriptionStatus::Closed {
        return Ok(());
    }
    let snapshot = fetch(app, &account).await?;
    let differences = differences(app, &account, &snapshot).await?;
    if differences.is_empty() {
        return Ok(());
    }
    let drift = Drift {
        user_id: user,
        customer,
        differences,
        found_at: app.clock().now(),
    };
    // The alarm counts these lines.
    tracing::error!(billing.drift = drift.differences.len(), user.id = %user, differences = ?drift.differences, "BILLING_DRIFT");
    app.db().put(&drift, None).await?;
    apply_anew(app, user, &snapshot).await
}

async fn differences(app: &App, account: &Account, snapshot: &Snapshot) -> Result<Vec<String>> {
    let wanted = expected(account, snapshot, app.clock().now());
    let mut found = Vec::new();
    if wanted.status != account.status {
        found.push(format!(
            "status: {:?}, Stripe says {:?}",
            account.status, wanted.status
        ));
    }
    if wanted.plan != account.plan {
        found.push(format!("plan: {:?}, Stripe says {:?}", account.plan, wanted.plan));
    }
    if wanted.billing.subscription != account.billing.subscription {
        found.push("the subscription is not as Stripe has it".into());
    }
    let alive = snapshot
        .subscriptions
        .iter()
        .filter(|s| is_alive(s.status))
        .count();
    if alive > 1 {
        found.push(format!("{alive} subscriptions are paid for at once"));
    }
    for grant in snapshot.grants()? {
        if !ledger::has(app, account.user_id, &grant.operation).await? {
            found.push(format!("not granted: {} ({})", grant.amount.cbt(), grant.reason));
        }
    }
    for going in snapshot.take_backs()? {
        if !ledger::has(app, account.user_id, &going.operation).await? {
            found.push(format!(
                "not taken back: {} ({})",
                going.amount.cbt(),
                going.reason
            ));
        }
    }
    Ok(found)
}
