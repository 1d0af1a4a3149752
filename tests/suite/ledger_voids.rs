//! A reserve whose answer got lost: it is found if it was made, and never happens later if it was not.

use camarad::domain::ledger::{self, Operation, Reserve};
use camarad::ids::OperationId;
use camarad_tests::bank::{Bank, amount, grant};
use camarad_tests::faults::Fault;
use serde_json::Value;

/// The calls whose lost attempt is void.
async fn voids(bank: &Bank) -> usize {
    let heads: Vec<Value> = bank.all("ledgerHead").await;
    heads[0]["voids"].as_object().map_or(0, serde_json::Map::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_is_made_once_whatever_became_of_its_first_request() {
    for fault in [
        Fault::Unsent,
        Fault::AnswerLost,
        Fault::Late,
        Fault::InternalError,
    ] {
        let bank = Bank::open().await;
        let account = bank.account(100).await;
        bank.faults.next("UpdateItem", fault);
        let held = bank.hold(account, 30).await;
        assert_eq!(bank.balance(account).await, (100, 70), "{fault:?}");
        // The call ends and leaves the journal before what is late arrives.
        ledger::end(&bank.app, &held, amount(0)).await.unwrap();
        ledger::flush(&bank.app, account).await.unwrap();
        bank.faults.settle().await;
        assert_eq!(bank.balance(account).await, (100, 100), "{fault:?}");
        let lost = matches!(fault, Fault::Unsent | Fault::Late);
        assert_eq!(voids(&bank).await, usize::from(lost), "{fault:?}");
        bank.come_to_rest(&[account]).await;
        assert_eq!(bank.audit(account).await.len(), 3, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_got_lost_is_heard_and_less_may_be_asked_for() {
    let bank = Bank::open().await;
    let account = bank.account(20).await;
    let mut request = bank.request(account, 30);
    bank.faults.next("UpdateItem", Fault::AnswerLost);
    let refused = ledger::reserve(&bank.app, &request).await.unwrap();
    assert!(matches!(refused, Reserve::Refused(_)), "{refused:?}");
    // The same call, as a shorter answer would be asked for.
    request.amount = camarad_tests::bank::micro(20);
    let held = ledger::reserve(&bank.app, &request).await.unwrap();
    assert!(matches!(held, Reserve::Held(_)), "{held:?}");
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_void_is_forgotten_after_a_while() {
    let bank = Bank::open().await;
    let account = bank.account(100).await;
    for _ in 0..2 {
        bank.faults.next("UpdateItem", Fault::Unsent);
        let held = bank.hold(account, 10).await;
        ledger::end(&bank.app, &held, amount(0)).await.unwrap();
        ledger::flush(&bank.app, account).await.unwrap();
    }
    assert_eq!(voids(&bank).await, 2);
    bank.wait(599);
    let order = grant(Operation::granted(OperationId::new(bank.app.clock())), 1);
    ledger::grant(&bank.app, account, &order).await.unwrap();
    ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!(voids(&bank).await, 2);
    bank.wait(1);
    let order = grant(Operation::granted(OperationId::new(bank.app.clock())), 1);
    ledger::grant(&bank.app, account, &order).await.unwrap();
    ledger::flush(&bank.app, account).await.unwrap();
    assert_eq!(voids(&bank).await, 0);
    bank.faults.next("UpdateItem", Fault::Unsent);
    bank.hold(account, 10).await;
    assert_eq!(voids(&bank).await, 1);
}
