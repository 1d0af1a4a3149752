//! Onboarding with Stripe: all of it at once, and whatever fails on the way, all or nothing.

use std::collections::BTreeSet;

use camarad::domain::plans::Plan;
use camarad_tests::app::{Answer, Client, Setup, machine};
use camarad_tests::billing::Shop;
use camarad_tests::faults::Faults;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::onboarding_undone::{COMPLETE, begin, last, rest, seen, wish};

const BROWSER: &str = "Firefox/150";

/// A town with Stripe, and Ann, who is new.
struct Town {
    shop: Shop,
    ann: Client,
}

async fn town() -> Town {
    over(None).await
}

async fn over(faults: Option<&Faults>) -> Town {
    let shop = Shop::with(Setup {
        faults: faults.cloned(),
        ..Setup::default()
    })
    .await;
    let ann = shop.t.newcomer("ann@example.com").await;
    Town { shop, ann }
}

impl Town {
    async fn complete(&self, key: &str) -> Answer {
        self.ann.once(key).post(COMPLETE, wish()).await
    }

    /// The Checkout sessions by what they are: open, expired, complete.
    async fn pages(&self) -> Vec<String> {
        let all = self.list("checkout/sessions").await;
        all.iter()
            .map(|s| s["status"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn customers(&self) -> usize {
        self.list("customers").await.len()
    }

    /// What Stripe has of a kind.
    async fn list(&self, what: &str) -> Vec<Value> {
        self.shop.read(what).await["data"]
            .as_array()
            .expect("a list")
            .clone()
    }

    /// From now on calls of Stripe's meet this.
    async fn fault(&self, fault: Value) {
        self.shop.peer("faults", fault).await;
    }

    /// What an onboarding that failed must not have changed: table and person without what tells of it, and the customer.
    async fn all_of_it(&self) -> (BTreeSet<String>, Value) {
        let mut rest = rest(&self.shop.t).await;
        rest.retain(|item| {
            !item.contains("S(\"stripe_customer\")") && !item.contains("SK\": S(\"ACCOUNT\")")
        });
        (rest, seen(&self.ann).await)
    }

    /// That there is all of it, once.
    async fn assert_whole(&self, made: &Value) {
        let workspaces = self.ann.get("/api/workspaces").await.json(200);
        assert_eq!(workspaces["items"].as_array().unwrap().len(), 1, "{workspaces}");
        assert_eq!(workspaces["items"][0]["id"], made["workspaceId"]);
        let path = format!("/api/workspaces/{}/agents", made["workspaceId"].as_str().unwrap());
        let agents = self.ann.get(&path).await.json(200);
        let ids: Vec<_> = agents["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| &a["id"])
            .collect();
        let told: Vec<_> = made["agentIds"].as_array().unwrap().iter().collect();
        assert_eq!(ids, told);
        let usage = self.ann.get("/api/user/subscription").await.json(200)["usage"].clone();
        assert_eq!(usage, json!({"workspaces": 1, "agents": 3}));
        assert!(self.ann.get("/api/user").await.json(200)["onboardingCompletedAt"].is_string());
        assert_eq!(self.pages().await.iter().filter(|s| *s == "open").count(), 1);
        assert_eq!(self.customers().await, 1);
    }
}

#[tokio::test]
async fn a_new_person_gets_plan_workspace_agents_and_preferences_in_one_go() {
    let town = town().await;
    let made = town.complete("1").await;
    let body = made.json(201);
    assert_eq!(body["status"], "completed");
    assert_eq!(body["userId"], json!(town.ann.user.unwrap()));
    assert!(
        body["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "done" && s["doneAt"].is_string())
    );
    town.assert_whole(&body).await;

    let preferences = town.ann.get("/api/user/preferences").await.json(200);
    assert_eq!(
        (&preferences["theme"], &preferences["timezone"]),
        (&json!("dark"), &json!("Europe/Vienna"))
    );
    assert_eq!(preferences["notifications"]["payment.failed"]["push"], false);

    // The page sells the plan, nothing is due before the trial's end.
    let session = &town.list("checkout/sessions").await[0];
    assert_eq!(session["url"], body["checkoutUrl"]);
    assert_eq!(session["mode"], "subscription");
    let id = session["id"].as_str().unwrap();
    town.shop.pay(id, "4242424242424242").await;
    let subscription = &town.list("subscriptions").await[0];
    assert_eq!(subscription["status"], "trialing");
    let ends: jiff::Timestamp = body["trialEndsAt"].as_str().unwrap().parse().unwrap();
    assert_eq!(subscription["trial_end"], json!(ends.as_second()));

    // The same request tells the same, another one that it is done.
    let path = format!("/api/onboarding/{}", body["executionId"].as_str().unwrap());
    assert_eq!(town.ann.get(&path).await.json(200), body);
    let again = town.complete("1").await;
    assert_eq!((again.status, &again.body), (201, &made.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    town.complete("2").await.assert_problem(409, "already_onboarded");
    assert_eq!(town.shop.t.executions.inputs().len(), 1);
}

#[tokio::test]
async fn an_onboarding_is_in_the_archive_and_then_keeps_neither_address_nor_client() {
    let town = town().await;
    let ann = town.ann.header("User-Agent", BROWSER);
    let item = async || {
        let all = town.shop.t.snapshot().await;
        let kind = |item: &String| item.contains("\"kind\": S(\"onboarding\")");
        all.into_iter().find(kind).expect("an onboarding")
    };
    // One that is taken back, then one that is completed.
    let refusal = json!({"type": "invalid_request_error", "message": "no"});
    let fault = json!({
        "method": "POST", "path": "/v1/customers", "times": 1000, "status": 400, "error": refusal,
    });
    town.fault(fault).await;
    for status in ["failed", "completed"] {
        ann.once("1").post(COMPLETE, wish()).await;
        while last(&town.shop.t, &town.ann).await.goes_on() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let stored = item().await;
        assert!(stored.contains(&format!("S(\"{status}\")")), "{stored}");
        for personal in [BROWSER, "203.0.113.7"] {
            assert!(!stored.contains(personal), "{status}: {stored}");
        }
        town.shop.heal().await;
    }
    let export = ann.post("/api/user/export", json!({})).await.json(201);
    let archive = ann.get(export["download"].as_str().unwrap()).await.body;
    let lines = archive.lines().map(|line| serde_json::from_str(line).unwrap());
    let told: Vec<Value> = lines.filter(|l: &Value| l["kind"] == "onboarding").collect();
    assert_eq!(told.len(), 1, "{archive}");
    let told = &told[0]["item"];
    assert_eq!(
        (
            &told["workspace"]["name"],
            &told["agents"][0]["presetId"],
            told.get("once")
        ),
        (&json!("Home"), &json!("coach"), None),
        "{told}"
    );
    let withheld = json!({"item": {"kind": "onboarding"}, "kind": "withheld"});
    assert!(!archive.contains(&withheld.to_string()), "{archive}");
}

#[tokio::test]
async fn fifty_at_once_are_one() {
    let town = town().await;
    let requests = (0..50).map(|n| {
        // Half of them repeat one request, the others are requests of their own.
        let key = if n % 2 == 0 {
            "the same".to_owned()
        } else {
            format!("{n}")
        };
        let who = town.ann.once(&key);
        async move { who.post(COMPLETE, wish()).await }
    });
    let answers = join_all(requests).await;
    let made: Vec<_> = answers
        .iter()
        .filter(|a| a.status == 201 || a.status == 202)
        .collect();
    assert!(!made.is_empty());
    let executions: BTreeSet<_> = made
        .iter()
        .map(|a| a.json(a.status)["executionId"].to_string())
        .collect();
    assert_eq!(executions.len(), 1);
    for refused in answers.iter().filter(|a| a.status > 202) {
        assert_eq!(refused.status, 409, "{}", refused.body);
    }
    assert_eq!(town.shop.t.executions.inputs().len(), 1);
    let path = format!(
        "/api/onboarding/{}",
        executions.first().unwrap().trim_matches('"')
    );
    let mut told = town.ann.get(&path).await.json(200);
    for _ in 0..100 {
        if told["status"] == "completed" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        told = town.ann.get(&path).await.json(200);
    }
    town.assert_whole(&told).await;
}

#[tokio::test]
async fn what_stripe_refuses_for_good_is_taken_back_and_a_second_try_works() {
    // Stripe keeps the answer 500 under a key: tried again, it stays.
    for (path, status) in [
        ("/v1/customers", 400),
        ("/v1/checkout/sessions", 400),
        ("/v1/checkout/sessions", 500),
    ] {
        let town = town().await;
        let before = town.all_of_it().await;
        let refusal = json!({"type": "invalid_request_error", "message": "no"});
        town.fault(
            json!({"method": "POST", "path": path, "times": 1000, "status": status, "error": refusal}),
        )
        .await;
        let failed = town.complete("1").await;
        assert!(failed.status > 201, "{}", failed.body);
        while last(&town.shop.t, &town.ann).await.goes_on() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        town.shop.heal().await;
        assert_eq!(before, town.all_of_it().await, "{path} {status}");
        assert!(
            town.pages().await.iter().all(|page| page == "expired"),
            "{path} {status}"
        );
        let made = town.complete("1").await.json(201);
        town.assert_whole(&made).await;
    }
}

#[tokio::test]
async fn what_stripe_will_answer_again_is_asked_once_more_and_what_may_pass_oftener() {
    let asked = |path: &str, how: Value| {
        let mut fault = json!({"method": "POST", "path": path, "times": 1000});
        fault
            .as_object_mut()
            .unwrap()
            .extend(how.as_object().unwrap().clone());
        fault
    };
    let error = |kind: &str| json!({"type": kind, "message": "no"});
    for (how, name, times) in [
        (
            json!({"status": 400, "error": error("invalid_request_error")}),
            "Camarad.Fault",
            2,
        ),
        (
            json!({"status": 403, "error": error("invalid_request_error")}),
            "Camarad.Fault",
            2,
        ),
        (
            json!({"status": 409, "error": error("idempotency_error")}),
            "Camarad.Passing",
            4,
        ),
        (
            json!({"status": 429, "error": error("invalid_request_error")}),
            "Camarad.Passing",
            4,
        ),
        (
            json!({"status": 503, "error": error("api_error")}),
            "Camarad.Passing",
            4,
        ),
        (json!({"lose": "before"}), "Camarad.Passing", 4),
    ] {
        for path in ["/v1/customers", "/v1/checkout/sessions"] {
            let town = town().await;
            let t = &town.shop.t;
            let which = begin(t, town.ann.user.unwrap(), Plan::Personal).await;
            town.fault(asked(path, how.clone())).await;
            let played = machine::play(&t.app, json!(which)).await;
            assert!(!played.succeeded, "{path} {how}");
            assert_eq!(played.errors, vec![name; times], "{path} {how}");
            let calls = town.shop.calls("POST").await;
            let calls = calls.iter().filter(|call| call["path"] == path).count();
            // What may pass is sent again by the client, too.
            assert!(calls == 2 || times > 2 && calls > times, "{path} {how}: {calls}");
        }
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let town = town().await;
    let lost = |path: &str, lose: &str| json!({"method": "POST", "path": path, "times": 1, "lose": lose});
    let never = lost("/v1/checkout/sessions", "before");
    for fault in [lost("/v1/customers", "after"), never] {
        town.fault(fault).await;
    }
    let made = town.complete("1").await.json(201);
    town.assert_whole(&made).await;
}

#[tokio::test]
async fn a_page_whose_answer_got_lost_is_found_and_closed() {
    let town = town().await;
    let before = town.all_of_it().await;
    // Its answers are lost until the state machine gives up; then it is there, and nobody knows of it.
    let order = json!({"method": "POST", "path": "/v1/checkout/sessions", "times": 12, "lose": "after"});
    town.fault(order).await;
    town.shop.t.executions.hold(true);
    town.complete("1").await.json(202);
    let which = last(&town.shop.t, &town.ann).await.which();
    let played = machine::play(&town.shop.t.app, json!(which)).await;
    assert!(!played.succeeded, "{played:?}");
    assert!(played.errors.iter().all(|e| e == "Camarad.Passing"), "{played:?}");
    assert_eq!(town.pages().await, ["expired"]);
    assert_eq!(before, town.all_of_it().await);
    town.shop.t.executions.hold(false);
    let made = town.complete("1").await.json(201);
    town.assert_whole(&made).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_execution_whose_function_dies_at_any_request_goes_on_and_makes_nothing_twice() {
    let every = std::env::var_os("EVERY_REQUEST").is_some();
    let mut died = 0;
    for done in [false, true] {
        let (first, step) = if every { (0, 1) } else { (u32::from(done), 3) };
        for after in (first..).step_by(step) {
            let faults = Faults::new(13);
            let town = over(Some(&faults)).await;
            town.shop.t.executions.hold(true);
            town.complete("1").await.json(202);
            let which = json!(last(&town.shop.t, &town.ann).await.which());
            faults.die(after, done);
            tokio::select! {
                played = machine::play(&town.shop.t.app, which.clone()) => assert!(played.succeeded),
                () = faults.dead() => died += 1,
            }
            let survived = faults.live();
            // Step Functions calls the task again, in another instance; here all of them from the first one on.
            let played = machine::play(&town.shop.t.app, which).await;
            assert!(
                played.succeeded,
                "after {after} requests, done: {done}: {played:?}"
            );
            let made = town.complete("1").await.json(201);
            town.assert_whole(&made).await;
            assert_eq!(
                town.pages().await.len(),
                1,
                "after {after} requests, done: {done}"
            );
            if survived {
                break;
            }
        }
    }
    assert!(died > 8, "it died {died} times");
}
