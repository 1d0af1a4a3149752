//! cbT that expires: spent first, gone on time, and never from under a call that runs.

use camarad::domain::ledger::{self, Grant, Kind, Operation, Period, Reserve, Until};
use camarad::error::Error;
use camarad::ids::{OperationId, UserId};
use camarad::money::Cbt;
use camarad_tests::bank::{Bank, amount, grant};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};

pub fn fresh(bank: &Bank) -> Operation {
    Operation::granted(OperationId::new(bank.app.clock()))
}

pub fn after(bank: &Bank, seconds: i64) -> Timestamp {
    bank.app.clock().now() + SignedDuration::from_secs(seconds)
}

/// A grant that expires after so many seconds.
async fn lot(bank: &Bank, account: UserId, micro: i64, seconds: i64) -> Timestamp {
    let expires = after(bank, seconds);
    let order = Grant {
        expires: Some(expires),
        ..grant(fresh(bank), micro)
    };
    ledger::grant(&bank.app, account, &order).await.unwrap();
    expires
}

pub async fn lots(bank: &Bank, account: UserId) -> Vec<(i64, Timestamp)> {
    let balance = ledger::balance(&bank.app, account).await.unwrap();
    balance
        .lots
        .iter()
        .map(|l| (l.amount.as_micro(), l.expires_at))
        .collect()
}

pub async fn spend(bank: &Bank, account: UserId, micro: i64) {
    let held = bank.hold(account, micro).await;
    bank.write_bill(&bank.bill(&held, micro)).await.unwrap();
    ledger::end(&bank.app, &held, amount(micro)).await.unwrap();
}

#[tokio::test]
async fn what_expires_soonest_is_spent_first_and_what_never_does_last() {
    let bank = Bank::open().await;
    let account = bank.account(10).await;
    let late = lot(&bank, account, 20, 900).await;
    let soon = lot(&bank, account, 30, 300).await;
    assert_eq!(lots(&bank, account).await, [(30, soon), (20, late)]);
    spend(&bank, account, 12).await;
    assert_eq!(lots(&bank, account).await, [(18, soon), (20, late)]);
    ledger::grant(&bank.app, account, &grant(fresh(&bank), 100))
        .await
        .unwrap();
    assert_eq!(
        lots(&bank, account).await,
        [(18, soon), (20, late)],
        "a top-up burns last"
    );
    spend(&bank, account, 30).await;
    assert_eq!(lots(&bank, account).await, [(8, late)]);
    bank.wait(900);
    assert_eq!(
        bank.balance(account).await,
        (110, 110),
        "only the rest of the last lot expires"
    );
    bank.come_to_rest(&[account]).await;
    let entries = bank.audit(account).await;
    let expired: Vec<_> = entries.iter().filter(|e| e.delta == Cbt::micro(-8)).collect();
    assert_eq!((expired.len(), expired[0].entry), (1, Kind::Expire));
}

#[tokio::test]
async fn an_expired_lot_leaves_though_nobody_calls() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    let expires = lot(&bank, account, 30, 300).await;
    bank.wait(299);
    assert_eq!(ledger::sweep_lots(&bank.app).await.unwrap().seen, 0);
    bank.wait(1);
    assert!(bank.app.clock().now() >= expires);
    let swept = ledger::sweep_lots(&bank.app).await.unwrap();
    assert_eq!((swept.seen, swept.failed), (1, 0));
    assert_eq!(bank.entries(account).await.last().unwrap().delta, Cbt::micro(-30));
    assert_eq!(
        ledger::sweep_lots(&bank.app).await.unwrap().seen,
        0,
        "the reminder is gone"
    );
    ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!(bank.audit(account).await.len(), 3);
}

#[tokio::test]
async fn what_was_granted_long_ago_and_is_granted_again_reminds_nobody_of_its_lot() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    let order = Grant {
        expires: Some(after(&bank, 300)),
        ..grant(fresh(&bank), 30)
    };
    let first = ledger::grant(&bank.app, account, &order).await.unwrap();
    bank.wait(300);
    assert_eq!(ledger::sweep_lots(&bank.app).await.unwrap().seen, 1);
    let again = ledger::grant(&bank.app, account, &order).await.unwrap();
    assert_eq!((again.seq, again.delta), (first.seq, first.delta));
    assert_eq!(ledger::sweep_lots(&bank.app).await.unwrap().seen, 0);
    ledger::flush(&bank.app, account).await.unwrap();
    ledger::grant(&bank.app, account, &order).await.unwrap();
    assert_eq!(ledger::sweep_lots(&bank.app).await.unwrap().seen, 0);
    assert_eq!(bank.audit(account).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_lot_is_not_spendable_for_a_moment() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    lot(&bank, account, 30, 300).await;
    bank.wait(300);
    let requests: Vec<_> = (0..20).map(|_| bank.request(account, 6)).collect();
    for answer in join_all(requests.iter().map(|r| ledger::reserve(&bank.app, r))).await {
        let Ok(Reserve::Refused(refused)) = answer else {
            panic!("{answer:?}")
        };
        assert!(matches!(refused.error(), Error::InsufficientCbt), "{refused:?}");
    }
    bank.hold(account, 5).await;
    bank.come_to_rest(&[account]).await;
    let kinds: Vec<_> = bank.audit(account).await.iter().map(|e| e.entry).collect();
    assert_eq!(
        kinds,
        [Kind::Grant, Kind::Grant, Kind::Expire, Kind::Hold, Kind::Expire],
        "taken out once"
    );
}

#[tokio::test]
async fn a_running_call_keeps_what_it_holds_of_an_expired_lot() {
    for (charge, left) in [(80, 50), (10, 50), (0, 50)] {
        let bank = Bank::open().await;
        let account = bank.account(50).await;
        lot(&bank, account, 100, 30).await;
        let held = bank.hold(account, 80).await;
        bank.wait(30);
        ledger::expire(&bank.app, account).await.unwrap();
        assert_eq!(bank.balance(account).await, (130, 50), "20 of the lot were free");
        let later = bank.hold(account, 50).await;
        ledger::end(&bank.app, &later, amount(0)).await.unwrap();
        assert_eq!(
            bank.balance(account).await,
            (130, 50),
            "a later call has no part in it"
        );
        if charge > 0 {
            bank.write_bill(&bank.bill(&held, charge)).await.unwrap();
        }
        ledger::end(&bank.app, &held, amount(charge)).await.unwrap();
        assert_eq!(bank.balance(account).await, (left, left), "charged {charge}");
        bank.come_to_rest(&[account]).await;
        bank.audit(account).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_end_together_after_their_lot_expired_end_exactly() {
    let bank = Bank::open().await;
    let account = bank.account(7).await;
    lot(&bank, account, 100, 30).await;
    let mut holds = Vec::new();
    for _ in 0..10 {
        holds.push(bank.hold(account, 10).await);
    }
    bank.wait(30);
    let ends = holds.iter().zip(0..).map(|(held, n)| {
        let bank = &bank;
        async move {
            if n > 0 {
                bank.write_bill(&bank.bill(held, n)).await.unwrap();
            }
            ledger::end(&bank.app, held, amount(n)).await.unwrap();
        }
    });
    tokio::join!(join_all(ends), async {
        ledger::expire(&bank.app, account).await.unwrap()
    });
    assert_eq!(bank.balance(account).await, (7, 7));
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
}

#[tokio::test]
async fn a_period_counts_what_was_used_and_begins_anew() {
    let bank = Bank::open().await;
    let account = bank.account(5).await;
    let period = |start| Period {
        start: after(&bank, start),
        end: after(&bank, start + 100),
    };
    let monthly = |period| Grant {
        period: Some(period),
        expires: Some(period.end),
        until: Until::At(period.end),
        ..grant(fresh(&bank), 40)
    };
    let (first, second) = (period(0), period(100));
    ledger::grant(&bank.app, account, &monthly(first)).await.unwrap();
    spend(&bank, account, 12).await;
    let standing = |b: ledger::Balance| (b.used.as_micro(), b.quota.as_micro(), b.period);
    let now = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!(standing(now), (12, 40, Some(first)));
    ledger::grant(&bank.app, account, &monthly(first)).await.unwrap();
    let now = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!(
        standing(now),
        (12, 80, Some(first)),
        "an upgrade brings more to the same period"
    );
    ledger::grant(&bank.app, account, &monthly(second)).await.unwrap();
    ledger::grant(&bank.app, account, &monthly(first)).await.unwrap();
    let now = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!(standing(now), (0, 40, Some(second)), "late news change no period");
}

#[tokio::test]
async fn an_account_may_spend_until_it_is_told_otherwise() {
    let bank = Bank::open().await;
    let account = UserId::new(bank.app.clock());
    ledger::allow(&bank.app, account, Until::At(after(&bank, 10)))
        .await
        .unwrap();
    ledger::grant(&bank.app, account, &grant(fresh(&bank), 9))
        .await
        .unwrap();
    bank.hold(account, 1).await;
    bank.wait(10);
    let over = ledger::reserve(&bank.app, &bank.request(account, 1)).await;
    assert!(matches!(over, Err(Error::SubscriptionRequired)), "{over:?}");
    ledger::allow(&bank.app, account, Until::Always).await.unwrap();
    bank.hold(account, 1).await;
}

/// The format of an account's head.
async fn format(bank: &Bank) -> i64 {
    let heads: Vec<serde_json::Value> = bank.all("ledgerHead").await;
    heads[0]["format"].as_i64().unwrap()
}

#[tokio::test]
async fn a_head_of_the_first_format_is_read_and_goes_on() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let running = bank.hold(account, 30).await;
    bank.make_old(account).await;
    assert_eq!(bank.balance(account).await, (100, 70));
    ledger::flush(&bank.app, account).await.unwrap();
    spend(&bank, account, 10).await;
    ledger::end(&bank.app, &running, amount(0)).await.unwrap();
    assert_eq!((bank.balance(account).await, format(&bank).await), ((90, 90), 1));
    let seen = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!((seen.used.as_micro(), seen.quota.as_micro()), (10, 0));
    // The first lot makes it one of the second, which the first version refuses to write.
    let expires = lot(&bank, account, 20, 100).await;
    assert_eq!(
        (lots(&bank, account).await, format(&bank).await),
        (vec![(20, expires)], 2)
    );
    spend(&bank, account, 25).await;
    assert_eq!(bank.balance(account).await, (85, 85));
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
}
