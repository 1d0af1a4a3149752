//! Holds of running calls: renewed, stopped, and swept when their driver died.

use camarad::context::Context;
use camarad::domain::ledger::{self, ALREADY_BILLED, Bill, CallStatus, Checkpoint, Kind, Progress, Usage};
use camarad::error::Error;
use camarad::ids::UserId;
use camarad::money::Amount;
use camarad::reply::Reply;
use camarad_tests::bank::{Bank, amount};
use futures_util::future::join_all;
use jiff::SignedDuration;

fn progress(bank: &Bank, billable: i64) -> Progress {
    let usage = Usage {
        model: Some("m".into()),
        output_tokens: 3,
        ..Usage::default()
    };
    let expires_at = bank.app.clock().now() + SignedDuration::from_secs(60);
    Progress {
        billable: amount(billable),
        usage: Some(usage),
        expires_at,
    }
}

#[tokio::test]
async fn a_hold_that_nobody_knows_expires() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    // Its function died with the answer.
    drop(ledger::reserve(&bank.app, &bank.request(account, 60)).await);
    assert_eq!(bank.balance(account).await, (100, 40));
    bank.come_to_rest(&[account]).await;
    let kinds: Vec<_> = bank.audit(account).await.iter().map(|e| e.entry).collect();
    assert_eq!(kinds, [Kind::Grant, Kind::Hold, Kind::Expire]);
    assert_eq!(
        bank.all::<serde_json::Value>("outbox").await.len(),
        0,
        "no usage of a call that never was"
    );
}

#[tokio::test]
async fn a_call_whose_driver_died_is_charged_what_was_checkpointed() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    let heard = ledger::checkpoint(&bank.app, &held, &progress(&bank, 12))
        .await
        .unwrap();
    assert_eq!(heard, Checkpoint::Running { stop: false });
    bank.wait(59);
    assert_eq!(
        ledger::sweep(&bank.app).await.unwrap().ended,
        0,
        "it may still live"
    );
    bank.wait(2);
    let sweeps = join_all((0..4).map(|_| ledger::sweep(&bank.app))).await;
    assert!(sweeps.iter().map(|s| s.as_ref().unwrap().ended).sum::<u32>() >= 1);
    assert_eq!(bank.balance(account).await, (88, 88));
    let bills: Vec<Bill> = bank.all("bill").await;
    assert_eq!(
        (bills[0].status, bills[0].estimated, bills[0].usage.output_tokens),
        (CallStatus::Expired, true, 3)
    );
    assert_eq!(
        ledger::checkpoint(&bank.app, &held, &progress(&bank, 13))
            .await
            .unwrap(),
        Checkpoint::Over
    );
    let late = bank.write_bill(&bank.bill(&held, 30)).await;
    assert!(
        matches!(
            late,
            Err(Error::Conflict {
                code: ALREADY_BILLED,
                ..
            })
        ),
        "{late:?}"
    );
    assert_eq!(
        ledger::end(&bank.app, &held, amount(30))
            .await
            .unwrap()
            .end
            .charge,
        amount(12)
    );
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
}

#[tokio::test]
async fn a_call_that_was_billed_and_not_ended_is_charged_its_bill() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    ledger::checkpoint(&bank.app, &held, &progress(&bank, 12))
        .await
        .unwrap();
    bank.write_bill(&bank.bill(&held, 31)).await.unwrap();
    bank.come_to_rest(&[account]).await;
    assert_eq!(bank.balance(account).await, (69, 69));
    bank.audit(account).await;
}

#[tokio::test]
async fn a_renewed_hold_is_not_swept() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    for _ in 0..3 {
        bank.wait(50);
        ledger::flush(&bank.app, account).await.unwrap();
        ledger::sweep(&bank.app).await.unwrap();
        let heard = ledger::checkpoint(&bank.app, &held, &progress(&bank, 1))
            .await
            .unwrap();
        assert_eq!(heard, Checkpoint::Running { stop: false });
    }
    ledger::end(&bank.app, &held, amount(9)).await.unwrap();
    assert_eq!(bank.balance(account).await, (91, 91));
}

#[tokio::test]
async fn an_old_checkpoint_does_not_undo_a_newer_one() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    let old = progress(&bank, 3);
    bank.wait(10);
    ledger::checkpoint(&bank.app, &held, &progress(&bank, 8))
        .await
        .unwrap();
    let heard = ledger::checkpoint(&bank.app, &held, &old).await.unwrap();
    assert_eq!(heard, Checkpoint::Running { stop: false });
    assert_eq!(
        ledger::find(&bank.app, held.call)
            .await
            .unwrap()
            .unwrap()
            .billable,
        amount(8)
    );
}

#[tokio::test]
async fn a_call_is_stopped_by_its_user_alone_and_once() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    let held = bank.hold(account, 60).await;
    let (user, agent) = (held.memo.user, held.memo.agent);
    let cause = Context::system("test", bank.app.clock().now());
    let stop = |user, agent| {
        ledger::request_stop(
            &bank.app,
            &cause,
            None,
            (held.call, user, agent),
            Reply::no_content(),
        )
    };
    assert!(
        matches!(stop(user, agent).await, Err(Error::NotFound)),
        "before its row is there"
    );
    ledger::checkpoint(&bank.app, &held, &progress(&bank, 1))
        .await
        .unwrap();
    assert!(matches!(
        stop(UserId::new(bank.app.clock()), agent).await,
        Err(Error::NotFound)
    ));
    join_all((0..5).map(|_| stop(user, agent)))
        .await
        .into_iter()
        .for_each(|r| assert_eq!(r.unwrap().status, 204));
    assert_eq!(
        bank.all::<serde_json::Value>("audit").await.len(),
        1,
        "audited once"
    );
    assert_eq!(
        ledger::checkpoint(&bank.app, &held, &progress(&bank, 2))
            .await
            .unwrap(),
        Checkpoint::Running { stop: true }
    );
    ledger::end(&bank.app, &held, Amount::ZERO).await.unwrap();
    ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!(
        stop(user, agent).await.unwrap().status,
        204,
        "after its end it changes nothing"
    );
    assert_eq!(bank.all::<serde_json::Value>("audit").await.len(), 1);
}
