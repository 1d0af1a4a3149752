//! Allocations: what a workspace may draw from its owner's account, exact under concurrency.

use camarad::domain::ledger::{self, Grant, HoldRequest, Operation, Period, Reservation, Reserve};
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::error::Error;
use camarad::ids::OperationId;
use camarad::money::Cbt;
use camarad_tests::app::TestApp;
use camarad_tests::bank::{Bank, amount, grant};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::json;

use crate::desk::{agent, cbt, fund, say, workspace};

async fn held(bank: &Bank, request: &HoldRequest) -> Reservation {
    match ledger::reserve(&bank.app, request).await.unwrap() {
        Reserve::Held(held) => held,
        Reserve::Refused(refused) => panic!("{refused:?}"),
    }
}

async fn refusal(bank: &Bank, request: &HoldRequest) -> Error {
    match ledger::reserve(&bank.app, request).await.unwrap() {
        Reserve::Held(held) => panic!("{held:?}"),
        Reserve::Refused(refused) => refused.error(),
    }
}

async fn left(bank: &Bank, of: &camarad::domain::workspaces::Workspace) -> (i64, i64, Option<i64>) {
    let now = bank
        .app
        .db()
        .get(&camarad::store::keys::workspace(of.id))
        .await
        .unwrap();
    let view = ledger::allocation(&bank.app, &now.unwrap()).await.unwrap();
    (
        view.used.as_micro(),
        view.held.as_micro(),
        view.left.map(Cbt::as_micro),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_parallel_calls_as_many_pass_as_the_allocation_covers() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    let home = bank.workspace(account).await;
    bank.allocate(&home, Some(70)).await;
    let requests: Vec<_> = (0..64).map(|_| bank.request_in(&home, 10)).collect();
    let answers = join_all(requests.iter().map(|r| ledger::reserve(&bank.app, r))).await;
    let mut passed = Vec::new();
    for answer in answers {
        match answer.unwrap() {
            Reserve::Held(held) => passed.push(held),
            Reserve::Refused(refused) => {
                assert!(matches!(refused.error(), Error::CbtHeld { .. }), "{refused:?}")
            }
        }
    }
    assert_eq!(passed.len(), 7);
    assert_eq!(left(&bank, &home).await, (0, 70, Some(0)));
    held(&bank, &bank.request(account, 100)).await;
    for held in &passed {
        bank.write_bill(&bank.bill(held, 9)).await.unwrap();
        ledger::end(&bank.app, held, amount(9)).await.unwrap();
    }
    assert_eq!(left(&bank, &home).await, (63, 0, Some(7)));
    let over = refusal(&bank, &bank.request_in(&home, 8)).await;
    assert!(matches!(over, Error::AllocationExhausted), "{over:?}");
    held(&bank, &bank.request_in(&home, 7)).await;
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
    assert_eq!(left(&bank, &home).await, (63, 0, Some(7)));
}

/// 400 callers in the long proof, 60 in a short run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_calls_for_the_last_cbt_as_many_pass_as_balance_and_allocations_cover() {
    let callers = if camarad_tests::dice::share() > 1 { 400 } else { 60 };
    let bank = Bank::open().await;
    let account = bank.account(90).await;
    let homes = [
        (bank.workspace(account).await, Some(40)),
        (bank.workspace(account).await, Some(30)),
        (bank.workspace(account).await, None),
    ];
    for (home, limit) in &homes {
        bank.allocate(home, *limit).await;
    }
    let ask = async |n: usize| {
        let (home, _) = &homes[n % 3];
        // Half of them guess wrongly whether there is an allocation.
        let mut request = bank.request_in(home, 10);
        request.capped = n.is_multiple_of(2);
        loop {
            match ledger::reserve(&bank.app, &request).await {
                Ok(answer) => return (n % 3, answer),
                Err(busy) => assert!(matches!(busy, Error::Unavailable(_)), "{busy:?}"),
            }
        }
    };
    let answers = join_all((0..callers).map(ask)).await;
    let mut passed = [0; 3];
    for (place, answer) in answers {
        match answer {
            Reserve::Held(_) => passed[place] += 1,
            Reserve::Refused(refused) => {
                assert!(matches!(refused.error(), Error::CbtHeld { .. }), "{refused:?}")
            }
        }
    }
    assert!(passed[0] <= 4 && passed[1] <= 3, "{passed:?}");
    assert_eq!(passed.iter().sum::<i32>(), 9, "{passed:?}");
    assert_eq!(bank.balance(account).await, (90, 0));
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
    for (home, limit) in &homes {
        assert_eq!(left(&bank, home).await, (0, 0, *limit), "all of it is free again");
    }
}

#[tokio::test]
async fn the_balance_is_told_from_the_allocation() {
    let bank = Bank::open().await;
    let account = bank.account(10).await;
    let home = bank.workspace(account).await;
    bank.allocate(&home, Some(5)).await;
    let poor = refusal(&bank, &bank.request_in(&home, 11)).await;
    assert!(matches!(poor, Error::InsufficientCbt), "{poor:?}");
    let capped = refusal(&bank, &bank.request_in(&home, 6)).await;
    assert!(matches!(capped, Error::AllocationExhausted), "{capped:?}");
    held(&bank, &bank.request(account, 8)).await;
    let busy = refusal(&bank, &bank.request_in(&home, 4)).await;
    assert!(matches!(busy, Error::CbtHeld { .. }), "{busy:?}");
}

#[tokio::test]
async fn a_limit_changes_while_calls_run_and_nothing_is_lost() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    let home = bank.workspace(account).await;
    let before = held(&bank, &bank.request_in(&home, 500)).await;
    bank.allocate(&home, Some(100)).await;
    let counted = held(&bank, &bank.request_in(&home, 60)).await;
    ledger::end(&bank.app, &before, amount(0)).await.unwrap();
    assert_eq!(
        left(&bank, &home).await,
        (0, 60, Some(40)),
        "what ran before does not count"
    );
    bank.allocate(&home, Some(30)).await;
    assert_eq!(left(&bank, &home).await, (0, 60, Some(-30)));
    bank.allocate(&home, None).await;
    held(&bank, &bank.request_in(&home, 400)).await;
    bank.allocate(&home, Some(500)).await;
    bank.write_bill(&bank.bill(&counted, 25)).await.unwrap();
    ledger::end(&bank.app, &counted, amount(25)).await.unwrap();
    bank.come_to_rest(&[account]).await;
    bank.audit(account).await;
    assert_eq!(left(&bank, &home).await, (25, 0, Some(475)));
    bank.allocate(&home, None).await;
    assert_eq!(left(&bank, &home).await, (0, 0, None));
    bank.allocate(&home, Some(9)).await;
    assert_eq!(
        left(&bank, &home).await,
        (0, 0, Some(9)),
        "a new limit begins anew"
    );
}

#[tokio::test]
async fn a_new_period_gives_the_allocation_back() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    let home = bank.workspace(account).await;
    bank.allocate(&home, Some(50)).await;
    let first = held(&bank, &bank.request_in(&home, 30)).await;
    bank.write_bill(&bank.bill(&first, 20)).await.unwrap();
    ledger::end(&bank.app, &first, amount(20)).await.unwrap();
    held(&bank, &bank.request_in(&home, 25)).await;
    assert_eq!(left(&bank, &home).await, (20, 25, Some(5)));
    let now = bank.app.clock().now();
    let period = Period {
        start: now,
        end: now + SignedDuration::from_hours(720),
    };
    let renewal = Grant {
        period: Some(period),
        ..grant(Operation::granted(OperationId::new(bank.app.clock())), 10)
    };
    ledger::grant(&bank.app, account, &renewal).await.unwrap();
    assert_eq!(
        left(&bank, &home).await,
        (0, 25, Some(25)),
        "what runs still counts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_parallel_changes_the_last_one_stands() {
    let bank = Bank::open().await;
    let account = bank.account(1_000).await;
    let home = bank.workspace(account).await;
    join_all((1..20).map(|n| bank.allocate(&home, (n % 5 > 0).then_some(n * 10)))).await;
    bank.publish().await;
    let now: Option<camarad::domain::workspaces::Workspace> = bank
        .app
        .db()
        .get(&camarad::store::keys::workspace(home.id))
        .await
        .unwrap();
    let limit = now.unwrap().allocation.map(Cbt::as_micro);
    let most = limit.unwrap_or(1_000);
    held(&bank, &bank.request_in(&home, most)).await;
    refusal(&bank, &bank.request_in(&home, 1)).await;
}

#[tokio::test]
async fn an_owner_sets_what_a_workspace_may_draw_and_nobody_else_does() {
    let t = TestApp::with_ai().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    fund(&t, owner.user.unwrap(), Cbt::whole(100)).await;
    let home = workspace(&owner).await;
    let agent = agent(&owner, &home).await;
    let bob = t.join(&home, Role::Admin).await;
    let path = format!("/api/workspaces/{home}/allocation");
    bob.put(&path, json!({"limit": "1"}))
        .await
        .assert_problem(403, "forbidden");
    for wrong in [json!({"limit": "-1"}), json!({"limit": 5}), json!({"limit": "x"})] {
        owner.put(&path, wrong).await.assert_invalid("limit");
    }
    assert_eq!(
        owner.put(&path, json!({})).await.status,
        422,
        "it is named, though it may be null"
    );
    let set = owner.put(&path, json!({"limit": "0.000001"})).await.json(200);
    assert_eq!(
        (&set["limit"], &set["left"]),
        (&json!("0.000001"), &json!("0.000001"))
    );
    let ask = format!("/api/agents/{agent}/chat");
    bob.once("1")
        .post(&ask, say("Go."))
        .await
        .assert_problem(402, "allocation_exhausted");
    owner.put(&path, json!({"limit": "50"})).await.json(200);
    let answer = bob.once("2").post(&ask, say("Go.")).await.json(200);
    let now = owner.get(&path).await.json(200);
    assert_eq!(cbt(&now["used"]), cbt(&answer["receipt"]["cost"]));
    owner.put(&path, json!({"limit": null})).await.json(200);
    bob.once("3").post(&ask, say("Go.")).await.json(200);
}
