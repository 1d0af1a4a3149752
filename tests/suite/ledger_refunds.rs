//! What comes back of a charge, and what is taken back of a grant.

use camarad::domain::ledger::{self, Adjust, Grant, Kind, Operation, Refund, Reservation};
use camarad::error::Error;
use camarad::ids::{OperationId, UserId};
use camarad::money::Cbt;
use camarad_tests::bank::{Bank, amount, grant, micro};
use futures_util::future::join_all;
use jiff::SignedDuration;

async fn charged(bank: &Bank, account: UserId, cost: i64) -> Reservation {
    let held = bank.hold(account, cost).await;
    bank.write_bill(&bank.bill(&held, cost)).await.unwrap();
    ledger::end(&bank.app, &held, amount(cost)).await.unwrap();
    held
}

fn back(held: &Reservation, name: &str, n: i64) -> Refund {
    Refund {
        account: held.account,
        call: held.call,
        name: name.into(),
        amount: micro(n),
        reason: "the answer was empty".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_refunds_of_a_call_together_are_at_most_its_charge() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = charged(&bank, account, 60).await;
    let refunds: Vec<_> = (0..12).map(|n| back(&held, &n.to_string(), 13)).collect();
    let all = join_all(refunds.iter().map(|r| ledger::refund(&bank.app, r))).await;
    let paid = all.iter().filter(|r| r.is_ok()).count();
    assert_eq!(paid, 4, "4 x 13 <= 60 < 5 x 13: {all:?}");
    for refused in all.iter().filter_map(|r| r.as_ref().err()) {
        let code = refused.code();
        assert_eq!(code, "refund_exceeds_charge");
    }
    assert_eq!(bank.balance(account).await, (92, 92));
    ledger::refund(&bank.app, &back(&held, "rest", 8)).await.unwrap();
    let over = ledger::refund(&bank.app, &back(&held, "more", 1)).await;
    assert!(matches!(over, Err(Error::Conflict { .. })), "{over:?}");
    bank.come_to_rest(&[account]).await;
    let entries = bank.audit(account).await;
    assert_eq!(entries.iter().filter(|e| e.entry == Kind::Refund).count(), 5);
}

#[tokio::test]
async fn a_refund_happens_once_under_its_name() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = charged(&bank, account, 60).await;
    let first = ledger::refund(&bank.app, &back(&held, "a", 10)).await.unwrap();
    ledger::flush(&bank.app, account).await.unwrap();
    let again = ledger::refund(&bank.app, &back(&held, "a", 10)).await.unwrap();
    assert_eq!(again, first);
    let other = ledger::refund(&bank.app, &back(&held, "a", 11)).await;
    assert!(matches!(other, Err(Error::KeyReused)), "{other:?}");
    bank.publish().await;
    assert_eq!(bank.balance(account).await, (50, 50));
    let running = bank.hold(account, 5).await;
    let early = ledger::refund(&bank.app, &back(&running, "a", 1)).await;
    assert!(
        matches!(
            early,
            Err(Error::Conflict {
                code: "call_not_ended",
                ..
            })
        ),
        "{early:?}"
    );
    let foreign = Refund {
        account: UserId::new(bank.app.clock()),
        ..back(&held, "b", 1)
    };
    assert!(matches!(
        ledger::refund(&bank.app, &foreign).await,
        Err(Error::NotFound)
    ));
}

#[tokio::test]
async fn an_adjustment_takes_what_is_available_and_tells_the_rest() {
    let bank = Bank::open().await;
    let account = bank.account(30).await;
    let expires = bank.app.clock().now() + SignedDuration::from_secs(300);
    let lot = Grant {
        expires: Some(expires),
        ..grant(Operation::granted(OperationId::new(bank.app.clock())), 20)
    };
    ledger::grant(&bank.app, account, &lot).await.unwrap();
    let take = |name: &str, n| Adjust {
        operation: Operation::adjusted(name),
        amount: micro(n),
        reason: "the payment was given back".into(),
    };
    let first = ledger::adjust(&bank.app, account, &take("re_1", 25))
        .await
        .unwrap();
    assert_eq!((first.entry.delta, first.shortfall), (Cbt::micro(-25), amount(0)));
    let now = ledger::balance(&bank.app, account).await.unwrap();
    assert_eq!(
        now.lots[0].amount,
        Cbt::micro(20),
        "what never expires goes first"
    );
    let held = bank.hold(account, 15).await;
    let second = ledger::adjust(&bank.app, account, &take("re_2", 25))
        .await
        .unwrap();
    assert_eq!(
        (second.entry.delta, second.shortfall),
        (Cbt::micro(-10), amount(15))
    );
    ledger::end(&bank.app, &held, amount(0)).await.unwrap();
    let again = ledger::adjust(&bank.app, account, &take("re_2", 25))
        .await
        .unwrap();
    assert_eq!(again, second, "once, though there is more by now");
    assert_eq!(bank.balance(account).await, (15, 15));
    bank.wait(300);
    assert_eq!(bank.balance(account).await, (0, 0), "what is left was the lot's");
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
}
