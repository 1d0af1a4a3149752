//! Functions that are killed at each step of what the ledger does, before the request is sent and after the engine did
//! it: nothing is lost, nothing is doubled, no hold is left past its expiry.
//!
//! `make test` kills once at each point, `make proof` (CAMARAD_PROOF=50) fifty times.

use camarad::domain::ledger::{self, Adjust, Grant, Operation, Period, Progress, Refund, Usage};
use camarad::error::Result;
use camarad::ids::{OperationId, UserId};
use camarad_tests::bank::{Bank, amount, grant, micro};
use camarad_tests::dice::{Dice, each, share};
use jiff::{SignedDuration, Timestamp};

/// What is under way when the function is killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Work {
    Reserve,
    Checkpoint,
    Settle,
    Release,
    Sweep,
    Grant,
    Flush,
    Refund,
    Adjust,
    Expire,
    SweepLots,
    Allocate,
    /// The next period is granted: what the one before left goes.
    Renew,
    /// The next period brings nothing.
    Begin,
}

impl Work {
    /// Whether a period has ended, whose lot stays for want of a next one.
    fn in_grace(self) -> bool {
        matches!(self, Self::Renew | Self::Begin)
    }
}

/// A fail point: its name, what is under way, and the request that it is about.
type Point = (&'static str, Work, &'static str, &'static str);

const POINTS: [Point; 26] = [
    ("reserve.head", Work::Reserve, "UpdateItem", "hold:call_"),
    ("checkpoint.row", Work::Checkpoint, "UpdateItem", "billable"),
    ("settle.bill", Work::Settle, "TransactWriteItems", "\"BILL\""),
    ("settle.head", Work::Settle, "UpdateItem", "end:call_"),
    ("release.head", Work::Release, "UpdateItem", "end:call_"),
    ("expire.claim", Work::Sweep, "UpdateItem", "ending"),
    ("expire.bill", Work::Sweep, "TransactWriteItems", "\"BILL\""),
    ("expire.head", Work::Sweep, "UpdateItem", "end:call_"),
    ("grant.reminder", Work::Grant, "PutItem", "ledgerLot"),
    ("grant.head", Work::Grant, "UpdateItem", "grant:"),
    ("flush.entry", Work::Flush, "PutItem", "ledgerEntry"),
    ("flush.operation", Work::Flush, "PutItem", "ledgerOperation"),
    ("flush.hold", Work::Flush, "UpdateItem", "\"ended\""),
    ("flush.head", Work::Flush, "UpdateItem", "flushing"),
    ("refund.note", Work::Refund, "TransactWriteItems", "refund:"),
    ("refund.head", Work::Refund, "UpdateItem", "refund:call_"),
    ("adjust.head", Work::Adjust, "UpdateItem", "adjust:"),
    ("lot.head", Work::Expire, "UpdateItem", "expire:"),
    ("lot.swept", Work::SweepLots, "UpdateItem", "expire:"),
    ("lot.reminder", Work::SweepLots, "DeleteItem", "LOT#"),
    (
        "allocation.workspace",
        Work::Allocate,
        "TransactWriteItems",
        "allocation",
    ),
    ("allocation.head", Work::Allocate, "UpdateItem", "\"caps\""),
    ("renewal.head", Work::Renew, "UpdateItem", "grant:"),
    ("renewal.lot", Work::Renew, "UpdateItem", "expire:"),
    ("period.head", Work::Begin, "UpdateItem", "\"period\""),
    ("period.lot", Work::Begin, "UpdateItem", "expire:"),
];

fn following(end: Timestamp) -> Period {
    Period {
        start: end,
        end: end + SignedDuration::from_secs(1_000),
    }
}

struct Scene {
    bank: Bank,
    account: UserId,
    home: camarad::domain::workspaces::Workspace,
    request: ledger::HoldRequest,
    held: ledger::Reservation,
    charged: ledger::Reservation,
    grant: Grant,
    charge: i64,
}

impl Scene {
    async fn new(work: Work, dice: &mut Dice) -> Self {
        let bank = Bank::open().await;
        let account = bank.account(1_000).await;
        let expires = bank.app.clock().now() + SignedDuration::from_secs(3_000);
        let grace = SignedDuration::from_secs(if work.in_grace() { 600 } else { 0 });
        let lot = |n| Grant {
            expires: Some(expires),
            grace,
            ..grant(Operation::granted(OperationId::new(bank.app.clock())), n)
        };
        ledger::grant(&bank.app, account, &lot(200)).await.unwrap();
        let home = bank.workspace(account).await;
        let charged = bank.hold(account, 40).await;
        bank.write_bill(&bank.bill(&charged, 30)).await.unwrap();
        ledger::end(&bank.app, &charged, amount(30)).await.unwrap();
        if dice.chance(50) && work != Work::Flush {
            ledger::flush(&bank.app, account).await.unwrap();
        }
        let held = bank.hold(account, 50).await;
        let scene = Self {
            request: bank.request(account, 1 + i64::try_from(dice.below(60)).unwrap()),
            grant: match work {
                Work::Renew => Grant {
                    period: Some(following(expires)),
                    expires: Some(following(expires).end),
                    ..lot(70)
                },
                _ => lot(1 + i64::try_from(dice.below(90)).unwrap()),
            },
            charge: 1 + i64::try_from(dice.below(50)).unwrap(),
            bank,
            account,
            home,
            held,
            charged,
        };
        match work {
            Work::Sweep => {
                scene.checkpoint().await.unwrap();
                scene.bank.wait(120);
            }
            Work::Flush => {
                scene
                    .bank
                    .write_bill(&scene.bank.bill(&scene.held, 4))
                    .await
                    .unwrap();
                ledger::end(&scene.bank.app, &scene.held, amount(4))
                    .await
                    .unwrap();
            }
            Work::Refund => {
                ledger::flush(&scene.bank.app, account).await.unwrap();
            }
            Work::Expire | Work::SweepLots | Work::Renew | Work::Begin => scene.bank.wait(3_000),
            _ => {}
        }
        scene
    }

    async fn checkpoint(&self) -> Result<()> {
        let progress = Progress {
            billable: amount(self.charge),
            usage: Some(Usage::default()),
            expires_at: self.held.expires_at,
        };
        ledger::checkpoint(&self.bank.app, &self.held, &progress)
            .await
            .map(drop)
    }

    async fn settle(&self) -> Result<()> {
        let bill = self.bank.bill(&self.held, self.charge);
        match self.bank.write_bill(&bill).await {
            Err(camarad::error::Error::Conflict { .. }) | Ok(()) => {}
            Err(other) => return Err(other),
        }
        ledger::end(&self.bank.app, &self.held, bill.charge)
            .await
            .map(drop)
    }

    /// One life of the function; doing it again is what its caller does.
    async fn work(&self, work: Work) -> Result<()> {
        let (app, account) = (&self.bank.app, self.account);
        match work {
            Work::Reserve => ledger::reserve(app, &self.request).await.map(drop),
            Work::Checkpoint => self.checkpoint().await,
            Work::Settle => self.settle().await,
            Work::Release => ledger::end(app, &self.held, amount(0)).await.map(drop),
            Work::Sweep => ledger::sweep(app).await.map(drop),
            Work::Grant | Work::Renew => ledger::grant(app, account, &self.grant).await.map(drop),
            Work::Begin => {
                let ended = self.grant.expires.expect("it ends");
                ledger::begin(app, account, &following(ended)).await
            }
            Work::Flush => ledger::flush(app, account).await.map(drop),
            Work::Refund => {
                let refund = Refund {
                    account,
                    call: self.charged.call,
                    name: "a".into(),
                    amount: micro(1 + self.charge % 30),
                    reason: "goodwill".into(),
                };
                ledger::refund(app, &refund).await.map(drop)
            }
            Work::Adjust => {
                let adjust = Adjust {
                    operation: Operation::adjusted("re_1"),
                    amount: micro(self.charge),
                    reason: "given back".into(),
                };
                ledger::adjust(app, account, &adjust).await.map(drop)
            }
            Work::Expire => ledger::expire(app, account).await,
            Work::SweepLots => ledger::sweep_lots(app).await.map(drop),
            Work::Allocate => {
                self.bank.allocate(&self.home, Some(self.charge)).await;
                Ok(())
            }
        }
    }
}

async fn kill((name, work, operation, text): Point, done: bool, seed: u64) {
    let mut dice = Dice::new(seed);
    let scene = Scene::new(work, &mut dice).await;
    let bank = &scene.bank;
    bank.faults.die_at(operation, text, done);
    tokio::select! {
        () = bank.faults.dead() => {}
        ended = scene.work(work) => panic!("{name} was never reached: {ended:?}"),
    }
    let again = dice.chance(50);
    // A hold is not reserved again under an id whose outcome nobody knows.
    if again && work != Work::Reserve {
        scene.work(work).await.unwrap();
    }
    bank.publish().await;
    let swept = ledger::sweep_lots(&bank.app).await.unwrap();
    assert_eq!(swept.failed, 0);
    bank.come_to_rest(&[scene.account]).await;
    ledger::sweep_lots(&bank.app).await.unwrap();
    bank.come_to_rest(&[scene.account]).await;
    let entries = bank.audit(scene.account).await;
    let promised = work == Work::Refund && (done || again || name == "refund.head");
    let paid = entries
        .iter()
        .filter(|e| e.operation.starts_with("refund:"))
        .count();
    assert_eq!(
        paid,
        usize::from(promised),
        "{name}: a refund that is noted is paid, once"
    );
    let now = ledger::balance(&bank.app, scene.account).await.unwrap();
    assert!(now.lots.is_empty() && now.held.as_micro() == 0, "{name}: {now:?}");
    assert!(
        bank.all::<serde_json::Value>("ledgerLot").await.is_empty(),
        "{name}: a reminder of nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_where_nothing_is_lost_or_doubled() {
    let seeds = |point, done| (0..share()).map(move |seed| (point, done, seed + 1_000));
    let moments = POINTS
        .into_iter()
        .flat_map(|point| [(point, false), (point, true)]);
    let kills = moments.flat_map(|(point, done)| seeds(point, done));
    each(kills, |(point, done, seed)| kill(point, done, seed)).await;
}
