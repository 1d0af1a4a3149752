//! The ledger, one rule at a time. On dynoxide in this process; `ledger_proof` has the programs by chance.

use camarad::domain::ledger::{self, Kind, LineReason, Operation, Reserve, Until};
use camarad::error::Error;
use camarad::ids::{OperationId, UserId};
use camarad::money::{Amount, Cbt};
use camarad::store::cost;
use camarad_tests::bank::{Bank, amount, chain, grant, micro};
use camarad_tests::faults::Fault;
use futures_util::future::join_all;
use jiff::SignedDuration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_parallel_calls_on_the_credit_for_one_one_passes() {
    let bank = Bank::open().await;
    let account = bank.account(10).await;
    let requests: Vec<_> = (0..64).map(|_| bank.request(account, 10)).collect();
    let answers = join_all(requests.iter().map(|r| ledger::reserve(&bank.app, r))).await;
    let (held, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .map(Result::unwrap)
        .partition(|a| matches!(a, Reserve::Held(_)));
    assert_eq!((held.len(), refused.len()), (1, 63));
    for answer in refused {
        let Reserve::Refused(refused) = answer else {
            unreachable!()
        };
        assert!(
            matches!(refused.error(), Error::CbtHeld { .. }),
            "the balance would do: {refused:?}"
        );
    }
    bank.come_to_rest(&[account]).await;
    assert_eq!(bank.audit(account).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_credit_for_all_no_parallel_call_is_refused() {
    let bank = Bank::open().await;
    let account = bank.account(640).await;
    let calls = (0..64).map(|_| async {
        let held = loop {
            match ledger::reserve(&bank.app, &bank.request(account, 10)).await {
                Ok(Reserve::Held(held)) => break held,
                Ok(Reserve::Refused(refused)) => panic!("{refused:?}"),
                Err(busy) => assert!(matches!(busy, Error::Unavailable(_)), "{busy:?}"),
            }
        };
        bank.write_bill(&bank.bill(&held, 4)).await.unwrap();
        ledger::end(&bank.app, &held, amount(4)).await.unwrap()
    });
    let ended = join_all(calls).await;
    assert!(ended.iter().all(|e| e.end.charge == amount(4)));
    assert_eq!(bank.balance(account).await, (640 - 64 * 4, 640 - 64 * 4));
    bank.come_to_rest(&[account]).await;
    assert_eq!(bank.audit(account).await.len(), 1 + 2 * 64);
}

#[tokio::test]
async fn empty_is_told_from_held() {
    let bank = Bank::open().await;
    let account = bank.account(10).await;
    let Reserve::Refused(refused) = ledger::reserve(&bank.app, &bank.request(account, 11))
        .await
        .unwrap()
    else {
        panic!()
    };
    assert!(matches!(refused.error(), Error::InsufficientCbt), "{refused:?}");
    bank.hold(account, 6).await;
    let Reserve::Refused(refused) = ledger::reserve(&bank.app, &bank.request(account, 5))
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (refused.posted, refused.available),
        (Cbt::micro(10), Cbt::micro(4))
    );
    assert!(matches!(refused.error(), Error::CbtHeld { .. }));
    bank.hold(account, 4).await;
}

#[tokio::test]
async fn an_account_without_a_ledger_needs_a_subscription() {
    let bank = Bank::open().await;
    let nobody = UserId::new(bank.app.clock());
    let answer = ledger::reserve(&bank.app, &bank.request(nobody, 1)).await;
    assert!(matches!(answer, Err(Error::SubscriptionRequired)), "{answer:?}");
    assert_eq!(bank.balance(nobody).await, (0, 0));
    assert!(bank.entries(nobody).await.is_empty());
}

#[tokio::test]
async fn a_trial_grants_once_and_ends_by_the_clock() {
    let bank = Bank::open().await;
    let now = bank.app.clock().now();
    let (user, end) = (
        UserId::new(bank.app.clock()),
        now + SignedDuration::from_secs(1_000),
    );
    let trial = ledger::Grant {
        until: Until::At(end),
        expires: Some(end),
        period: Some(ledger::Period { start: now, end }),
        ..grant(Operation::invoice("sub_1", now, &LineReason::Trial), 10_000)
    };
    let all = join_all((0..20).map(|_| ledger::grant(&bank.app, user, &trial))).await;
    all.into_iter().for_each(|granted| drop(granted.unwrap()));
    ledger::flush(&bank.app, user).await.unwrap();
    ledger::grant(&bank.app, user, &trial).await.unwrap();
    assert_eq!(bank.balance(user).await.0, 10_000);
    let held = bank.hold(user, 5).await;
    bank.wait(1_000);
    let late = ledger::reserve(&bank.app, &bank.request(user, 5)).await;
    assert!(matches!(late, Err(Error::SubscriptionRequired)), "{late:?}");
    ledger::end(&bank.app, &held, amount(5)).await.unwrap();
    let last = bank.entries(user).await.pop().unwrap();
    assert_eq!(last.delta, Cbt::micro(-5), "what runs may end");
    assert_eq!(bank.balance(user).await, (0, 0), "and the rest is over");
}

#[tokio::test]
async fn a_hold_ends_once_and_every_end_hears_the_same() {
    for flushed in [false, true] {
        let bank = Bank::open().await;
        let account = bank.account(100).await;
        let held = bank.hold(account, 60).await;
        let ends = join_all((0..20).map(|n| ledger::end(&bank.app, &held, amount(n)))).await;
        let first = ends[0].as_ref().unwrap().end.clone();
        assert!(ends.iter().all(|e| e.as_ref().unwrap().end == first));
        if flushed {
            assert_eq!(ledger::flush(&bank.app, account).await.unwrap().moved, 3);
        }
        let again = ledger::end(&bank.app, &held, amount(59)).await.unwrap();
        assert_eq!(again.end, first, "flushed: {flushed}");
        let left = 100 - first.charge.cbt().as_micro();
        assert_eq!(bank.balance(account).await, (left, left));
    }
}

#[tokio::test]
async fn a_charge_beyond_the_hold_is_our_loss() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    let ended = ledger::end(&bank.app, &held, amount(75)).await.unwrap();
    assert_eq!((ended.end.charge, ended.excess), (amount(60), amount(15)));
    assert_eq!(bank.balance(account).await, (40, 40));
}

#[tokio::test]
async fn a_hold_that_left_the_journal_ends_all_the_same() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    bank.wait(600);
    let flushed = ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!((flushed.moved, flushed.kept), (2, 0), "an old hold does not stay");
    let racing = join_all((0..5).map(|_| ledger::end(&bank.app, &held, amount(1)))).await;
    racing
        .into_iter()
        .for_each(|e| assert_eq!(e.unwrap().end.charge, amount(1)));
    let free = bank.hold(account, 99).await;
    ledger::end(&bank.app, &free, Amount::ZERO).await.unwrap();
    let kinds: Vec<_> = bank.entries(account).await.iter().map(|e| e.entry).collect();
    assert_eq!(
        kinds,
        [Kind::Grant, Kind::Hold, Kind::Consume, Kind::Hold, Kind::Release]
    );
}

#[tokio::test]
async fn a_call_costs_two_round_trips_and_two_units_on_the_head() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    ledger::flush(&bank.app, account).await.unwrap();
    let (held, reserve) = cost::metered(bank.hold(account, 10)).await;
    assert_eq!((reserve.calls, reserve.rcu, reserve.wcu), (1, 0.0, 1.0));
    let other = bank.hold(account, 10).await;
    ledger::end(&bank.app, &other, amount(1)).await.unwrap();
    ledger::flush(&bank.app, account).await.unwrap();
    let (_, end) = cost::metered(ledger::end(&bank.app, &held, amount(3))).await;
    assert_eq!(
        (end.calls, end.rcu, end.wcu),
        (1, 0.0, 1.0),
        "another call's flush does not matter"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_happens_once_under_its_name() {
    let bank = Bank::open().await;
    let account = bank.account(0).await;
    let order = grant(Operation::granted(OperationId::new(bank.app.clock())), 7);
    let all = join_all((0..20).map(|_| ledger::grant(&bank.app, account, &order))).await;
    let first = all[0].as_ref().unwrap().clone();
    assert!(all.iter().all(|e| e.as_ref().unwrap() == &first));
    ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!(
        ledger::grant(&bank.app, account, &order).await.unwrap(),
        first,
        "also when its entry has left the head"
    );
    assert_eq!(bank.balance(account).await, (7, 7));
}

#[tokio::test]
async fn a_balance_has_an_upper_bound() {
    let bank = Bank::open().await;
    let account = bank.account(0).await;
    let most = || {
        grant(
            Operation::granted(OperationId::new(bank.app.clock())),
            1_000_000_000_000_000_000,
        )
    };
    for _ in 0..4 {
        ledger::grant(&bank.app, account, &most()).await.unwrap();
    }
    let beyond = ledger::grant(&bank.app, account, &most()).await;
    assert!(
        matches!(
            beyond,
            Err(Error::Conflict {
                code: "balance_limit",
                ..
            })
        ),
        "{beyond:?}"
    );
    chain(&bank.entries(account).await);
}

#[tokio::test]
async fn a_lost_answer_is_looked_up() {
    for flushed in [false, true] {
        let bank = Bank::open().await;
        let account = bank.account(100).await;
        bank.faults.next(
            "UpdateItem",
            if flushed {
                Fault::InternalError
            } else {
                Fault::AnswerLost
            },
        );
        let held = bank.hold(account, 60).await;
        assert_eq!(bank.balance(account).await, (100, 40), "held once");
        bank.faults.next("UpdateItem", Fault::AnswerLost);
        assert_eq!(
            ledger::end(&bank.app, &held, amount(5)).await.unwrap().end.charge,
            amount(5)
        );
        assert_eq!(bank.balance(account).await, (95, 95), "charged once");
    }
}

#[tokio::test]
async fn the_daily_flush_finds_every_ledger() {
    let bank = Bank::open().await;
    let mut accounts = Vec::new();
    for _ in 0..40 {
        accounts.push(bank.account(5).await);
    }
    let held = bank.hold(accounts[0], 5).await;
    let all = ledger::flush_all(&bank.app).await.unwrap();
    assert_eq!((all.ledgers, all.moved, all.failed), (40, 40, 0));
    assert!(
        ledger::find(&bank.app, held.call).await.unwrap().is_some(),
        "a hold that stays has its row"
    );
    assert_eq!(ledger::flush_all(&bank.app).await.unwrap().moved, 0);
}

#[tokio::test]
async fn the_history_is_exact_while_entries_move() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    for n in 0..12 {
        let held = bank.hold(account, 10).await;
        chain(&bank.entries(account).await);
        if n % 3 == 0 {
            ledger::flush(&bank.app, account).await.unwrap();
        }
        ledger::end(&bank.app, &held, amount(1)).await.unwrap();
        let entries = bank.entries(account).await;
        chain(&entries);
        assert_eq!(entries.len(), 1 + 2 * (n + 1));
    }
    let until = ledger::Grant {
        until: Until::At(bank.app.clock().now()),
        ..grant(Operation::granted(OperationId::new(bank.app.clock())), 1)
    };
    ledger::grant(&bank.app, account, &until).await.unwrap();
    assert_eq!(bank.entries(account).await.last().unwrap().delta, micro(1).cbt());
}
