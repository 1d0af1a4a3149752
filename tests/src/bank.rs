//! A ledger under test: Camarad's domain over dynoxide in this process, with faults in between, and an auditor who
//! reads everything and adds it up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use camarad::app::{App, Builder};
use camarad::clock::ManualClock;
use camarad::config::Config;
use camarad::context::Context;
use camarad::domain::ledger::{
    self, Bill, CallStatus, Entry, Grant, Hold, HoldRequest, HoldState, Kind, Memo, Operation, Reservation,
    Reserve, Until, Usage,
};
use camarad::domain::users::Account;
use camarad::domain::workspaces::Workspace;
use camarad::error::Result;
use camarad::ids::{AgentId, CallId, OperationId, UserId, WorkspaceId};
use camarad::money::{Amount, Cbt, Positive};
use camarad::store::PageRequest;
use camarad::store::record::OutboxRecord;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::engine::{self, TABLE};
use crate::faults::Faults;

/// A ledger under test.
pub struct Bank {
    /// What the functions hold.
    pub app: App,
    /// Its clock, which stands still until moved.
    pub clock: Arc<ManualClock>,
    /// What goes wrong.
    pub faults: Faults,
    dynamodb: Client,
}

/// That many micro-cbT.
pub fn micro(n: i64) -> Positive {
    Positive::new(Cbt::micro(n)).expect("a positive amount")
}

/// That many micro-cbT, or none.
pub fn amount(n: i64) -> Amount {
    Amount::new(Cbt::micro(n)).expect("an amount")
}

/// What a call asks for that holds that many micro-cbT for a minute, in a workspace that nobody knows.
pub fn request(app: &App, account: UserId, amount: i64) -> HoldRequest {
    let clock = app.clock();
    HoldRequest {
        account,
        call: CallId::new(clock),
        amount: micro(amount),
        memo: Memo {
            user: account,
            agent: AgentId::new(WorkspaceId::new(clock), clock),
            conversation: None,
            reason: None,
        },
        expires_at: clock.now() + SignedDuration::from_secs(60),
        capped: false,
    }
}

/// What a call holds that asks for this.
///
/// # Panics
/// When it is refused, or the ledger does not answer.
pub async fn held(app: &App, request: &HoldRequest) -> Reservation {
    match ledger::reserve(app, request).await.expect("an answer") {
        Reserve::Held(held) => held,
        Reserve::Refused(refused) => panic!("{refused:?}"),
    }
}

impl Bank {
    /// A fresh one without faults.
    pub async fn open() -> Self {
        Self::seeded(0).await
    }

    /// A fresh one whose faults, once there are any, come from this seed.
    pub async fn seeded(seed: u64) -> Self {
        let faults = Faults::new(seed);
        let (db, dynamodb) = engine::faulty_and_raw(&faults).await;
        let clock = Arc::new(ManualClock::at_unix(1_790_000_000));
        let config = Config {
            stage: "test".into(),
            table: TABLE.into(),
            ..Config::default()
        };
        let app = Builder::new(config, db, clock.clone()).build();
        Self {
            app,
            clock,
            faults,
            dynamodb,
        }
    }

    /// An account with that many micro-cbT.
    pub async fn account(&self, credit: i64) -> UserId {
        let account = UserId::new(self.app.clock());
        ledger::open(&self.app, account).await.expect("the ledger opens");
        if credit > 0 {
            let operation = Operation::granted(OperationId::new(self.app.clock()));
            ledger::grant(&self.app, account, &grant(operation, credit))
                .await
                .expect("granted");
        }
        account
    }

    /// [`request`] here.
    pub fn request(&self, account: UserId, amount: i64) -> HoldRequest {
        request(&self.app, account, amount)
    }

    /// A workspace of this account's, which lives and has no allocation.
    pub async fn workspace(&self, owner: UserId) -> Workspace {
        let now = self.app.clock().now();
        let account = json!({
            "userId": owner, "plan": "agency", "status": "active", "trialEndsAt": now, "workspaces": 1, "agents": 0,
            "createdAt": now,
        });
        let account: Account = serde_json::from_value(account).expect("an account");
        let item = json!({
            "id": WorkspaceId::new(self.app.clock()), "name": "Home", "type": "agency", "ownerId": owner,
            "plan": "agency", "agents": 0, "activeAgents": 0, "createdAt": now, "updatedAt": now, "version": 1,
        });
        let workspace: Workspace = serde_json::from_value(item).expect("a workspace");
        self.app.db().put(&account, None).await.expect("written");
        self.app.db().put(&workspace, None).await.expect("written");
        workspace
    }

    /// Sets what a workspace may draw, in micro-cbT.
    pub async fn allocate(&self, workspace: &Workspace, limit: Option<i64>) {
        let cause = Context::system("test", self.app.clock().now());
        let limit = limit.map(amount);
        ledger::allocate(&self.app, &cause, None, (workspace, limit))
            .await
            .expect("allocated");
    }

    /// A request to hold that many micro-cbT for a call in a workspace.
    pub fn request_in(&self, workspace: &Workspace, amount: i64) -> HoldRequest {
        let mut request = self.request(workspace.owner_id, amount);
        request.memo.agent = AgentId::new(workspace.id, self.app.clock());
        request
    }

    /// Does what the events in the outbox ask of the ledger, as their publisher would.
    pub async fn publish(&self) {
        for event in self.all::<OutboxRecord>("outbox").await {
            ledger::on_event(&self.app, &event).await.expect("carried out");
        }
    }

    /// A hold of that many micro-cbT for a minute.
    pub async fn hold(&self, account: UserId, amount: i64) -> Reservation {
        held(&self.app, &self.request(account, amount)).await
    }

    /// What a driver bills for a call that has cost this much.
    pub fn bill(&self, held: &Reservation, cost: i64) -> Bill {
        Bill {
            call: held.call,
            account: held.account,
            memo: held.memo.clone(),
            charge: held.clamp(amount(cost)).0,
            excess: held.clamp(amount(cost)).1,
            usage: Usage::default(),
            status: CallStatus::Completed,
            estimated: false,
            at: self.app.clock().now(),
        }
    }

    /// Writes a bill as a driver does.
    pub async fn write_bill(&self, bill: &Bill) -> Result<()> {
        let cause = Context::system("driver", self.app.clock().now());
        ledger::bill_tx(self.app.tx(&cause), bill)?.run().await
    }

    /// Balance and available, in micro-cbT.
    pub async fn balance(&self, account: UserId) -> (i64, i64) {
        let balance = ledger::balance(&self.app, account).await.expect("a balance");
        (balance.balance.as_micro(), balance.available.as_micro())
    }

    /// Moves the clock.
    pub fn wait(&self, seconds: i64) {
        self.clock.advance(SignedDuration::from_secs(seconds));
    }

    /// Lets all holds expire and sweeps until nothing is left to do.
    pub async fn come_to_rest(&self, accounts: &[UserId]) {
        self.faults.rate(0);
        self.faults.settle().await;
        self.wait(3_600);
        for _ in 0..20 {
            for account in accounts {
                ledger::flush(&self.app, *account).await.expect("flushed");
            }
            let swept = ledger::sweep(&self.app).await.expect("swept");
            assert_eq!(swept.failed, 0, "a hold cannot be ended");
            if swept.seen == 0 {
                return;
            }
        }
        panic!("sweeping does not come to an end");
    }

    /// All entries of an account, oldest first, read in pages.
    pub async fn entries(&self, account: UserId) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut cursor = None;
        loop {
            let page = PageRequest::parse(Some("7"), cursor.as_deref()).expect("a page");
            let page = ledger::entries(&self.app, account, &page).await.expect("entries");
            entries.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() {
                entries.reverse();
                return entries;
            }
        }
    }

    /// Every item of one kind.
    pub async fn all<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let mut found = Vec::new();
        for item in engine::items(&self.dynamodb).await {
            if item["kind"].as_s().is_ok_and(|k| k == kind) {
                found.push(serde_dynamo::from_item(item).expect("the item is of its kind"));
            }
        }
        found
    }

    /// Makes an account's head what the first version of the ledger wrote: it knew no lots, periods and allocations.
    pub async fn make_old(&self, account: UserId) {
        let key = |name: &str| AttributeValue::S(name.into());
        let newer = [
            "format", "used", "quota", "lots", "due", "base", "lv", "lotEnd", "period", "caps",
        ];
        let names = newer.iter().enumerate();
        let names = names
            .map(|(n, name)| (format!("#{n}"), (*name).to_owned()))
            .collect();
        let update = self.dynamodb.update_item().table_name(TABLE);
        update
            .key("PK", key(&format!("LEDGER#{account}")))
            .key("SK", key("HEAD"))
            .update_expression("SET #0 = :one REMOVE #1, #2, #3, #4, #5, #6, #7, #8, #9")
            .set_expression_attribute_names(Some(names))
            .expression_attribute_values(":one", AttributeValue::N("1".into()))
            .send()
            .await
            .expect("written");
    }

    /// Adds up an account that is at rest and checks every invariant; answers its entries.
    pub async fn audit(&self, account: UserId) -> Vec<Entry> {
        let entries = self.entries(account).await;
        chain(&entries);
        let balance = ledger::balance(&self.app, account).await.expect("a balance");
        let sum = |of: fn(&Entry) -> Cbt| Cbt::micro(entries.iter().map(|e| of(e).as_micro()).sum());
        assert_eq!(sum(|e| e.delta), balance.balance, "Σ entries = balance");
        assert_eq!(sum(|e| e.held), balance.held, "Σ held");
        assert_eq!(balance.held, Cbt::ZERO, "nothing is held at rest");
        assert_eq!(balance.available, balance.balance);
        self.audit_calls(account, &entries).await;
        entries
    }

    async fn audit_calls(&self, account: UserId, entries: &[Entry]) {
        let by_operation: BTreeMap<_, _> = entries.iter().map(|e| (e.operation.as_str(), e)).collect();
        let holds: Vec<Hold> = self.all("hold").await;
        let holds: BTreeMap<_, _> = holds
            .into_iter()
            .filter(|h| h.account == account)
            .map(|h| (h.call, h))
            .collect();
        let bills: Vec<Bill> = self.all("bill").await;
        let bills: BTreeMap<_, _> = bills
            .into_iter()
            .filter(|b| b.account == account)
            .map(|b| (b.call, b))
            .collect();
        let events: Vec<Value> = self.all("outbox").await;
        let told: BTreeSet<_> = events
            .iter()
            .filter_map(|e| e["data"]["callId"].as_str().map(str::to_owned))
            .collect();
        let calls: BTreeSet<_> = entries.iter().filter_map(|e| e.call).collect();
        assert_eq!(
            calls,
            holds.keys().copied().collect(),
            "every hold has its row, and no other has"
        );
        for call in calls {
            let hold = by_operation
                .get(format!("hold:{call}").as_str())
                .expect("a call without its hold");
            let end = by_operation
                .get(format!("end:{call}").as_str())
                .expect("a hold that did not end");
            assert_eq!(hold.held, -end.held, "what was held is free again");
            assert!(-end.delta <= hold.held, "charged at most what was held");
            assert!(hold.seq < end.seq);
            let row = &holds[&call];
            assert_eq!(row.state, HoldState::Ended);
            assert_eq!(
                row.end.as_ref().map(|e| (e.seq, -e.charge.cbt(), e.entry)),
                Some((end.seq, end.delta, end.entry))
            );
            let billed = bills.get(&call).map_or(Cbt::ZERO, |b| b.charge.cbt());
            assert_eq!(billed, -end.delta, "the ledger charged what the bill says");
            assert_eq!(end.entry == Kind::Consume, end.delta < Cbt::ZERO);
            if billed > Cbt::ZERO {
                assert!(
                    told.contains(&call.to_string()),
                    "a charge without its usage event"
                );
            }
        }
    }
}

/// A grant under this name.
pub fn grant(operation: Operation, amount: i64) -> Grant {
    Grant {
        operation,
        amount: micro(amount),
        reason: "a test".into(),
        until: Until::Unchanged,
        expires: None,
        grace: SignedDuration::ZERO,
        period: None,
    }
}

/// Numbers without gap, each balance the one before plus the delta, no operation twice, never below zero.
pub fn chain(entries: &[Entry]) {
    let (mut balance, mut held) = (0, 0);
    let mut operations = BTreeSet::new();
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, n as u64 + 1, "numbers have no gap");
        balance += entry.delta.as_micro();
        held += entry.held.as_micro();
        assert_eq!(
            entry.balance.as_micro(),
            balance,
            "bal[n] = bal[n-1] + delta[n], at {}",
            entry.seq
        );
        assert!(held >= 0 && balance - held >= 0, "below zero at {}", entry.seq);
        assert!(
            operations.insert(&entry.operation),
            "{} happened twice",
            entry.operation
        );
    }
}
