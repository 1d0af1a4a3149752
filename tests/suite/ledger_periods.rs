//! One period after the other: what is left of one stays until the next is granted, and goes with that by its rule.

use camarad::domain::ledger::{self, Grant, Kind, Period};
use camarad::ids::UserId;
use camarad::money::Cbt;
use camarad_tests::bank::{Bank, amount, grant};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

use crate::ledger_lots::{after, fresh, lots, spend};

/// A period's grant, which stays for a grace of fifty seconds for want of a next.
fn monthly(bank: &Bank, period: Period, micro: i64) -> Grant {
    Grant {
        period: Some(period),
        expires: Some(period.end),
        grace: SignedDuration::from_secs(50),
        ..grant(fresh(bank), micro)
    }
}

fn period(bank: &Bank, start: i64) -> Period {
    Period {
        start: after(bank, start),
        end: after(bank, start + 100),
    }
}

/// The entries, all of them in rows, without waiting.
async fn audited(bank: &Bank, account: UserId) -> Vec<ledger::Entry> {
    ledger::flush(&bank.app, account).await.unwrap();
    bank.audit(account).await
}

#[tokio::test]
async fn what_a_period_left_stays_for_want_of_a_next_one_and_goes_with_it() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    let (first, second) = (period(&bank, 0), period(&bank, 100));
    let granted = ledger::grant(&bank.app, account, &monthly(&bank, first, 40))
        .await
        .unwrap();
    assert_eq!(granted.expires, Some(first.end), "what was promised");
    assert_eq!(lots(&bank, account).await, [(40, first.end)]);
    bank.wait(120);
    assert_eq!(lots(&bank, account).await, [(40, after(&bank, 30))]);
    spend(&bank, account, 12).await;
    ledger::grant(&bank.app, account, &monthly(&bank, second, 40))
        .await
        .unwrap();
    assert_eq!(lots(&bank, account).await, [(40, second.end)]);
    assert_eq!(bank.balance(account).await, (45, 45));
    // Nobody grants a third one.
    bank.wait(129);
    assert_eq!(bank.balance(account).await, (45, 45));
    bank.wait(1);
    assert_eq!(bank.balance(account).await, (5, 5));
    let entries = audited(&bank, account).await;
    let gone: Vec<_> = entries.iter().filter(|e| e.entry == Kind::Expire).collect();
    let gone: Vec<_> = gone
        .iter()
        .map(|e| (e.delta.as_micro(), e.reason.clone().unwrap()))
        .collect();
    assert_eq!(
        gone[0],
        (-28, format!("Granted until {} and not used", whole(first.end)))
    );
    assert_eq!(gone[1].0, -40);
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap()
}

#[tokio::test]
async fn news_of_a_period_that_come_late_bring_nothing_that_can_be_spent() {
    let bank = Bank::open().await;
    let account = bank.account(0).await;
    let (first, second) = (period(&bank, 0), period(&bank, 100));
    bank.wait(110);
    ledger::grant(&bank.app, account, &monthly(&bank, second, 40))
        .await
        .unwrap();
    ledger::grant(&bank.app, account, &monthly(&bank, first, 30))
        .await
        .unwrap();
    assert_eq!(
        (bank.balance(account).await, lots(&bank, account).await),
        ((40, 40), vec![(40, second.end)])
    );
    let seen = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!((seen.quota.as_micro(), seen.period), (40, Some(second)));
    audited(&bank, account).await;
}

#[tokio::test]
async fn a_period_that_brings_nothing_begins_all_the_same_and_an_end_takes_what_stayed() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    let (first, second) = (period(&bank, 0), period(&bank, 100));
    ledger::grant(&bank.app, account, &monthly(&bank, first, 40))
        .await
        .unwrap();
    ledger::close(&bank.app, account, after(&bank, 99)).await.unwrap();
    assert_eq!(bank.balance(account).await, (45, 45), "it has not ended");
    spend(&bank, account, 10).await;
    bank.wait(110);
    for _ in 0..2 {
        ledger::begin(&bank.app, account, &second).await.unwrap();
        ledger::begin(&bank.app, account, &first).await.unwrap();
        let seen = ledger::balance(&bank.app, account).await.unwrap();
        assert_eq!(
            (seen.used.as_micro(), seen.quota.as_micro(), seen.period),
            (0, 0, Some(second))
        );
        assert_eq!(seen.available.as_micro(), 5);
    }
    let third = period(&bank, 100);
    ledger::grant(&bank.app, account, &monthly(&bank, third, 40))
        .await
        .unwrap();
    bank.wait(210);
    assert_eq!(bank.balance(account).await, (45, 45));
    for _ in 0..2 {
        ledger::close(&bank.app, account, bank.app.clock().now())
            .await
            .unwrap();
        assert_eq!(bank.balance(account).await, (5, 5));
    }
    audited(&bank, account).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_begins_amid_parallel_calls_and_those_that_run_keep_what_they_hold() {
    let bank = Bank::open().await;
    let account = bank.account(0).await;
    let (first, second) = (period(&bank, 0), period(&bank, 100));
    ledger::grant(&bank.app, account, &monthly(&bank, first, 1_000))
        .await
        .unwrap();
    bank.wait(105);
    let before = join_all((0..4).map(|_| bank.hold(account, 20))).await;
    let calls = async |calls: usize| {
        for _ in 0..calls {
            spend(&bank, account, 3).await;
        }
    };
    let renewal = monthly(&bank, second, 500);
    let granted = async {
        let twice = join_all([
            ledger::grant(&bank.app, account, &renewal),
            ledger::grant(&bank.app, account, &renewal),
        ]);
        twice.await.into_iter().for_each(|done| drop(done.unwrap()));
        ledger::begin(&bank.app, account, &second).await.unwrap();
    };
    tokio::join!(calls(6), calls(6), calls(6), calls(6), granted);
    for held in &before {
        bank.write_bill(&bank.bill(held, 20)).await.unwrap();
        ledger::end(&bank.app, held, amount(20)).await.unwrap();
    }
    let entries = audited(&bank, account).await;
    // Who held before it is charged to the old month, who held after it to the new one.
    let new = entries.iter().find(|e| e.delta == Cbt::micro(500)).unwrap().seq;
    let held = |call| {
        entries
            .iter()
            .find(|e| e.entry == Kind::Hold && e.call == call)
            .unwrap()
            .seq
    };
    let charged = entries
        .iter()
        .filter(|e| e.entry == Kind::Consume && held(e.call) > new);
    let charged: i64 = charged.map(|e| e.delta.as_micro()).sum();
    let now = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!(now.available.as_micro(), 500 + charged);
    assert_eq!(now.lots.len(), 1);
}
