//! What services of ours charge: once per key, exact beside whatever else runs, and refused with the reason.

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::ids::{AgentId, UserId, WorkspaceId};
use camarad::money::Cbt;
use camarad::store::{Update, keys};
use camarad_tests::app::{Answer, Client, OPERATOR, TestApp, serve};
use camarad_tests::bank;
use camarad_tests::faults::{Fault, Faults};
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::desk::{agent, fund, workspace};

/// A service, and somebody with an agent whom it works for.
struct Shop {
    service: Client,
    operator: Client,
    ann: Client,
    home: String,
    agent: String,
}

impl Shop {
    async fn open(t: &TestApp, credit: i64) -> Self {
        let operator = t.sign_up(OPERATOR, Plan::Personal).await;
        let made = operator
            .post(
                "/api/user/security/api-keys",
                json!({"name": "Painter", "scopes": ["ledger:consume"]}),
            )
            .await
            .json(201);
        let ann = t.sign_up("ann@example.com", Plan::Agency).await;
        fund(t, ann.user.unwrap(), Cbt::whole(credit)).await;
        let home = workspace(&ann).await;
        let agent = agent(&ann, &home).await;
        let service = t.anonymous().with_token(made["key"].as_str().unwrap());
        Self {
            service,
            operator,
            ann,
            home,
            agent,
        }
    }

    fn order(&self, amount: &str) -> Value {
        json!({"userId": self.ann.user, "agentId": self.agent, "amount": amount, "reason": "a picture"})
    }

    async fn charge(&self, key: &str, amount: &str) -> Answer {
        self.service
            .once(key)
            .post("/api/ledger/consume", self.order(amount))
            .await
    }

    /// Balance and available.
    async fn balance(&self) -> (Value, Value) {
        let now = self.ann.get("/api/ledger/balance").await.json(200);
        (now["balance"].clone(), now["available"].clone())
    }
}

#[tokio::test]
async fn a_service_charges_once_under_its_key_for_good() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    let first = shop.charge("event-1", "2.5").await;
    let debit = first.json(201);
    assert_eq!(
        (&debit["amount"], &debit["userId"], &debit["accountId"]),
        (&json!("2.5"), &json!(shop.ann.user), &json!(shop.ann.user))
    );
    assert_eq!(shop.balance().await, (json!("7.5"), json!("7.5")));
    let entry = shop.ann.get("/api/ledger").await.json(200)["items"][0].clone();
    assert_eq!(
        (
            &entry["type"],
            &entry["delta"],
            &entry["reason"],
            &entry["agentId"]
        ),
        (
            &json!("consume"),
            &json!("-2.5"),
            &json!("a picture"),
            &json!(shop.agent)
        )
    );
    for days in [0, 2, 20] {
        t.clock.advance(SignedDuration::from_hours(24 * days));
        let again = shop.charge("event-1", "2.5").await;
        assert_eq!(
            again.header("idempotency-replayed"),
            Some("true"),
            "after {days} days"
        );
        assert_eq!(again.json(201), debit, "after {days} days");
        shop.charge("event-1", "3")
            .await
            .assert_problem(422, "idempotency_key_reused");
    }
    let records = t.snapshot().await;
    let audited = records
        .iter()
        .filter(|item| item.contains("ledger.consumed") && item.contains("AUDIT#platform"));
    assert_eq!(audited.count(), 1);
}

#[tokio::test]
async fn one_key_at_once_charges_once_and_many_keys_charge_what_there_is() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    let same = join_all((0..16).map(|_| shop.charge("the same", "4"))).await;
    let charged: Vec<_> = same
        .iter()
        .filter(|a| a.status == 201)
        .map(|a| a.json(201))
        .collect();
    assert!(!charged.is_empty() && charged.iter().all(|c| *c == charged[0]));
    for busy in same.iter().filter(|a| a.status != 201) {
        busy.assert_problem(409, "cbt_held"); // its twins hold what there is
    }
    assert_eq!(shop.balance().await, (json!("6"), json!("6")));
    let keys: Vec<_> = (0..16).map(|n| format!("event-{n}")).collect();
    let mut open: Vec<_> = keys.iter().collect();
    let mut passed = 0;
    while !open.is_empty() {
        let answers = join_all(open.iter().map(|key| shop.charge(key, "1"))).await;
        let mut held = Vec::new();
        for (key, answer) in open.iter().zip(&answers) {
            match answer.status {
                201 => passed += 1,
                409 => held.push(*key),
                _ => drop(answer.assert_problem(402, "insufficient_cbt")),
            }
        }
        open = held;
    }
    assert_eq!(passed, 6);
    assert_eq!(shop.balance().await, (json!("0"), json!("0")));
}

#[tokio::test]
async fn a_refusal_tells_why_and_charges_nothing() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    shop.charge("a", "10.000001")
        .await
        .assert_problem(402, "insufficient_cbt");
    let allocation = format!("/api/workspaces/{}/allocation", shop.home);
    shop.ann.put(&allocation, json!({"limit": "3"})).await.json(200);
    shop.charge("b", "3.5")
        .await
        .assert_problem(402, "allocation_exhausted");
    // The key of what was refused may be used again, as nothing was done under it.
    shop.charge("b", "2").await.json(201);
    shop.charge("c", "2")
        .await
        .assert_problem(402, "allocation_exhausted");
    shop.ann.put(&allocation, json!({"limit": null})).await.json(200);
    let held = hold(&t, &shop, 7).await;
    shop.charge("d", "2").await.assert_problem(409, "cbt_held");
    camarad::domain::ledger::end(&t.app, &held, camarad::money::Amount::ZERO)
        .await
        .unwrap();
    shop.charge("d", "2").await.json(201);
    assert_eq!(shop.balance().await, (json!("6"), json!("6")));
    let mut stranger = shop.order("1");
    stranger["userId"] = json!(shop.operator.user);
    let mut nowhere = shop.order("1");
    let clock = t.app.clock();
    nowhere["agentId"] = json!(AgentId::new(WorkspaceId::new(clock), clock));
    let mut nobody = shop.order("1");
    nobody["userId"] = json!(UserId::new(clock));
    let mut nothing = shop.order("0");
    nothing["reason"] = json!("a picture");
    let mut less = shop.order("-1");
    less["reason"] = json!("a picture");
    for (order, field) in [
        (stranger, "agentId"),
        (nowhere, "agentId"),
        (nobody, "agentId"),
        (nothing, "amount"),
        (less, "amount"),
    ] {
        let answer = shop.service.once("e").post("/api/ledger/consume", order).await;
        answer.assert_invalid(field);
    }
    shop.service
        .post("/api/ledger/consume", shop.order("1"))
        .await
        .assert_invalid("header.Idempotency-Key");
    assert_eq!(shop.balance().await, (json!("6"), json!("6")));
}

#[tokio::test]
async fn nobody_pays_for_work_of_an_agent_that_may_not_work() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    shop.charge("done", "1").await.json(201);
    let agent = format!("/api/agents/{}", shop.agent);
    let place = keys::workspace(shop.home.parse().unwrap());
    let set = async |update: Update| drop(t.app.db().update(&update).await.unwrap());
    let before = shop.balance().await;

    shop.ann.patch(&agent, json!({"active": false})).await.json(200);
    shop.charge("a", "1").await.assert_problem(409, "agent_inactive");
    shop.ann.patch(&agent, json!({"active": true})).await.json(200);

    // As a smaller plan leaves it: an agent beyond the limit, then a workspace.
    set(Update::of(place.clone()).set("newestAgent", "").unwrap()).await;
    shop.charge("a", "1").await.assert_problem(403, "plan_limit");
    set(Update::of(place.clone()).remove("newestAgent")).await;
    set(Update::of(place.clone()).set("readOnly", true).unwrap()).await;
    shop.charge("a", "1").await.assert_problem(403, "plan_limit");
    assert_eq!(shop.balance().await, before);
    // What was charged before is told again all the same.
    let again = shop.charge("done", "1").await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));

    set(Update::of(place).set("readOnly", false).unwrap()).await;
    shop.charge("a", "1").await.json(201);
    assert_eq!(shop.balance().await, (json!("8"), json!("8")));
}

/// What a running call of theirs holds.
async fn hold(t: &TestApp, shop: &Shop, cbt: i64) -> camarad::domain::ledger::Reservation {
    let mut request = bank::request(&t.app, shop.ann.user.unwrap(), Cbt::whole(cbt).as_micro());
    request.memo.agent = shop.agent.parse().unwrap();
    bank::held(&t.app, &request).await
}

#[tokio::test]
async fn a_member_of_an_agency_is_paid_for_by_its_owner() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    let bob = t.join(&shop.home, Role::Member).await;
    let mut order = shop.order("1");
    order["userId"] = json!(bob.user);
    let debit = shop
        .service
        .once("a")
        .post("/api/ledger/consume", order)
        .await
        .json(201);
    assert_eq!(debit["accountId"], json!(shop.ann.user));
    assert_eq!(shop.balance().await, (json!("9"), json!("9")));
}

#[tokio::test]
async fn only_a_service_of_an_operator_charges_and_only_as_long_as_they_are_one() {
    let t = TestApp::new().await;
    let shop = Shop::open(&t, 10).await;
    let hers = t
        .api_key(shop.ann.user.unwrap(), &[KeyScope::LedgerConsume], None)
        .await;
    for who in [&shop.ann, &hers, &shop.operator] {
        let answer = who.once("x").post("/api/ledger/consume", shop.order("1")).await;
        answer.assert_problem(403, "forbidden");
    }
    shop.ann
        .post(
            "/api/user/security/api-keys",
            json!({"name": "Painter", "scopes": ["ledger:consume"]}),
        )
        .await
        .assert_problem(403, "forbidden");
    let mut retired = t.app.config().clone();
    retired.operators.clear();
    let without = shop.service.of(serve(&t.instance_with(retired)));
    let answer = without
        .once("y")
        .post("/api/ledger/consume", shop.order("1"))
        .await;
    answer.assert_problem(403, "forbidden");
    assert_eq!(shop.balance().await, (json!("10"), json!("10")));
}

/// Whoever dies on the way: the same key charges once, or nothing is charged and what was held is free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debit_whose_function_dies_is_whole_or_nothing() {
    for (operation, text) in [
        ("UpdateItem", "hold:call_"),
        ("TransactWriteItems", "\"BILL\""),
        ("UpdateItem", "end:call_"),
    ] {
        for done in [false, true] {
            let faults = Faults::new(1);
            let t = TestApp::over(&faults).await;
            let shop = Shop::open(&t, 10).await;
            faults.die_at(operation, text, done);
            tokio::select! {
                () = faults.dead() => {}
                answer = shop.charge("event", "4") => panic!("{}", answer.body),
            }
            let billed = text.starts_with("end:") || (done && text.contains("BILL"));
            t.clock.advance(SignedDuration::from_secs(120));
            let app = &t.app;
            let account = shop.ann.user.unwrap();
            camarad::domain::ledger::flush(app, account).await.unwrap();
            camarad::domain::ledger::sweep(app).await.unwrap();
            let left = if billed { "6" } else { "10" };
            assert_eq!(shop.balance().await, (json!(left), json!(left)), "{text} {done}");
            shop.charge("event", "4").await.json(201);
            assert_eq!(shop.balance().await, (json!("6"), json!("6")), "{text} {done}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debit_whose_answers_get_lost_is_charged_once() {
    for operation in ["UpdateItem", "TransactWriteItems"] {
        let faults = Faults::new(1);
        let t = TestApp::over(&faults).await;
        let shop = Shop::open(&t, 10).await;
        faults.next(operation, Fault::AnswerLost);
        shop.charge("event", "4").await.json(201);
        assert_eq!(shop.balance().await, (json!("6"), json!("6")));
    }
}
