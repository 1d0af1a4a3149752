//! Onboarding as it is deployed: the state machine runs, the tasks are native binaries, and `Retry` and `Catch` go by the
//! errors' names. Each step fails, and its function is killed in it; afterwards there is all of it or nothing, and a second
//! try of the same person works. `make test` takes a share of the cases, by a seed; `make proof` all of them.

use std::sync::Arc;
use std::time::Duration;

use camarad::clock::{Stopwatch, SystemClock};
use camarad::domain::onboarding::Onboarding;
use camarad::ids::UserId;
use camarad::store::keys;
use camarad_tests::deployed::wire::Trouble;
use camarad_tests::deployed::{self, Deployed, eventually};
use camarad_tests::dice::{Dice, share};
use camarad_tests::visitor::Visitor;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{granted, text};
use crate::onboarding_undone::{COMPLETE, tells, wish};

/// A function that is killed may be at work for another story.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

const STEPS: [&str; 5] = [
    "validate",
    "createWorkspace",
    "createCustomer",
    "createCheckout",
    "complete",
];

/// What goes wrong in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    /// Its write to the table, this often.
    Table(Trouble, u32),
    /// Its call of Stripe is refused, each time: what Stripe says may be another thing a moment later.
    Stripe,
}

const ALWAYS: u32 = u32::MAX;

/// Four tries of 25 s, and taking it back.
const PATIENCE: Duration = Duration::from_secs(180);

impl Case {
    /// All of them, but for Stripe's, which only two steps call.
    const ALL: [Self; 7] = [
        Self::Table(Trouble::Denied, 1),
        Self::Table(Trouble::Denied, ALWAYS),
        Self::Table(Trouble::Down, ALWAYS),
        Self::Table(Trouble::DeathBefore, 1),
        Self::Table(Trouble::DeathAfter, 1),
        Self::Table(Trouble::DeathBefore, ALWAYS),
        Self::Table(Trouble::DeathAfter, ALWAYS),
    ];

    /// Whether the onboarding survives it.
    fn passes(self) -> bool {
        match self {
            Self::Table(Trouble::DeathBefore | Trouble::DeathAfter | Trouble::Denied, 1) => true,
            // The first death came after the commit: the next run finds the step done, and asks nothing.
            Self::Table(Trouble::DeathAfter, _) => true,
            Self::Table(..) | Self::Stripe => false,
        }
    }

    /// The errors' name.
    fn error(self) -> &'static str {
        match self {
            Self::Table(Trouble::Denied, _) => "Camarad.Fault",
            Self::Table(Trouble::Down, _) | Self::Stripe => "Camarad.Passing",
            Self::Table(Trouble::DeathBefore | Trouble::DeathAfter, _) => "Runtime.ExitError",
        }
    }

    /// How often it is met before the machine goes on, or gives up: the first try and what `Retry` says of the name.
    fn errors(self) -> usize {
        match self {
            Self::Table(Trouble::Denied, ALWAYS) => 2,
            Self::Table(Trouble::DeathAfter, _) | Self::Table(_, 1) => 1,
            Self::Table(..) | Self::Stripe => 4,
        }
    }
}

fn cases() -> Vec<(&'static str, Case)> {
    let table = STEPS.iter().flat_map(|step| Case::ALL.map(|case| (*step, case)));
    let stripe = ["createCustomer", "createCheckout"].map(|step| (step, Case::Stripe));
    table.chain(stripe).collect()
}

#[tokio::test]
async fn somebody_new_is_onboarded_pays_and_has_a_trial() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let d = deployed::shared().await;
    let ann = d.newcomer("onboarding@example.com").await;
    let refused = ann
        .post("/api/workspaces", json!({"name": "Home", "type": "personal"}))
        .await;
    refused.assert_problem(402, "subscription_required");
    let made = complete(&d, &ann, "1").await.expect("completed");
    let path = format!("/api/onboarding/{}", text(&made, "executionId"));
    assert_eq!(ann.get(&path).await.json(200), made);
    let eve = d.sign_in("onboarding.stranger").await;
    eve.get(&path).await.assert_problem(404, "not_found");
    assert_whole(&d, &ann, &made).await;

    // Nobody has paid: it can be read, and no more.
    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(subscription["status"], "incomplete");
    d.pay(&text(&made, "checkoutUrl")).await;
    assert_eq!(granted(&ann).await, "10000");
    let subscription = ann.get("/api/user/subscription").await.json(200);
    assert_eq!(
        (&subscription["status"], &subscription["plan"]),
        (&json!("trialing"), &json!("personal"))
    );
    assert_eq!(subscription["readOnly"], false);
    let more = json!({"name": "Second", "type": "personal"});
    ann.post("/api/workspaces", more).await.json(201);
}

#[tokio::test]
async fn whatever_fails_or_dies_in_whichever_step_there_is_all_or_nothing_and_a_second_try_works() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let d = deployed::shared().await;
    let mut dice = Dice::new(2_026);
    let chosen = match share() {
        1 => some(&mut dice),
        _ => cases(),
    };
    for (n, (step, case)) in chosen.iter().enumerate() {
        deployed::progress(&format!("{} of {}: {step}, {case:?}", n + 1, chosen.len()));
        let watch = Stopwatch::start();
        one(&d, &format!("onboarding.{n}@example.com"), (step, *case)).await;
        deployed::progress(&format!("    {:.1} s", watch.elapsed().as_secs_f32()));
    }
}

/// Four cases. A service that is down for good is waited for, four times 25 s: not here.
fn some(dice: &mut Dice) -> Vec<(&'static str, Case)> {
    let mut some = cases();
    some.retain(|(_, case)| !matches!(case, Case::Table(Trouble::Down, _)));
    while some.len() > 4 {
        let at = usize::try_from(dice.below(some.len() as u64)).unwrap();
        some.remove(at);
    }
    some
}

async fn one(d: &Deployed, email: &str, (step, case): (&str, Case)) {
    let ann = d.newcomer(email).await;
    let user = text(&ann.tokens["user"], "id");
    match case {
        Case::Table(trouble, times) => {
            d.tasks_wire()
                .cross(&[&user, &format!("\"{step}\"")], trouble, times);
        }
        Case::Stripe => {
            let path = match step {
                "createCustomer" => "/v1/customers",
                _ => "/v1/checkout/sessions",
            };
            let error = json!({"type": "invalid_request_error", "message": "no"});
            let order =
                json!({"method": "POST", "path": path, "times": 1_000, "status": 400, "error": error});
            d.stripe().order("faults", &order).await.unwrap();
        }
    }
    let made = complete(d, &ann, "1").await;
    d.tasks_wire().mend(&user);
    d.stripe().delete("/_peer/faults").await.unwrap();
    let last = last(d, &user).await;
    let errors = errors(d, &last.execution_id.to_string()).await;
    let expected = vec![case.error().to_owned(); case.errors()];
    assert_eq!(errors, expected, "{step}: {case:?}");
    assert_eq!(made.is_some(), case.passes(), "{step}: {case:?}");
    let made = match made {
        Some(made) => made,
        None => {
            assert_nothing(d, &ann, &last).await;
            complete(d, &ann, "1").await.expect("the second try works")
        }
    };
    assert_whole(d, &ann, &made).await;
}

/// Asks for an onboarding, and waits for its end; `None` when it was taken back.
async fn complete(d: &Deployed, who: &Visitor, key: &str) -> Option<Value> {
    let asked = who.header("idempotency-key", key).post(COMPLETE, wish()).await;
    if asked.status == 201 {
        return Some(asked.json(201));
    }
    let user = text(&who.get("/api/user").await.json(200), "id");
    let watch = Stopwatch::start();
    let mut ended = last(d, &user).await;
    while ended.goes_on() {
        assert!(watch.elapsed() < PATIENCE, "it does not end: {ended:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
        ended = last(d, &user).await;
    }
    let path = format!("/api/onboarding/{}", ended.execution_id);
    let told = who.get(&path).await.json(200);
    (told["status"] == "completed").then_some(told)
}

async fn last(d: &Deployed, user: &str) -> Onboarding {
    let user: UserId = user.parse().unwrap();
    let app = d.app(Arc::new(SystemClock));
    let found = app.db().get(&keys::onboarding(user)).await.unwrap();
    found.expect("an onboarding")
}

/// The names of the errors of an execution's tasks, in their order, once it has ended: a function that dies after the last
/// commit is noticed when the onboarding is complete already.
async fn errors(d: &Deployed, execution: &str) -> Vec<String> {
    let history = eventually("end of the execution", async || {
        let history = d.history(execution).await;
        let ends = ["ExecutionSucceeded", "ExecutionFailed"];
        let ended = history
            .iter()
            .any(|event| ends.iter().any(|end| event["type"] == *end));
        ended.then_some(history)
    })
    .await;
    let failed = history.iter().filter_map(|event| {
        let error = event["taskFailedEventDetails"]["error"].as_str()?;
        Some(error.to_owned())
    });
    failed.collect()
}

/// There is all of it, once.
async fn assert_whole(d: &Deployed, who: &Visitor, made: &Value) {
    let workspaces = who.get("/api/workspaces").await.json(200);
    assert_eq!(workspaces["items"].as_array().unwrap().len(), 1, "{workspaces}");
    assert_eq!(workspaces["items"][0]["id"], made["workspaceId"]);
    let path = format!("/api/workspaces/{}/agents", text(made, "workspaceId"));
    let agents = who.get(&path).await.json(200);
    assert_eq!(agents["items"].as_array().unwrap().len(), 3, "{agents}");
    let subscription = who.get("/api/user/subscription").await.json(200);
    assert_eq!(subscription["usage"], json!({"workspaces": 1, "agents": 3}));
    let user = who.get("/api/user").await.json(200);
    assert!(user["onboardingCompletedAt"].is_string(), "{user}");
    assert_eq!(who.get("/api/user/preferences").await.json(200)["theme"], "dark");
    assert_eq!(open_pages(d, &text(&user, "id")).await, 1);
}

/// There is nothing of it.
async fn assert_nothing(d: &Deployed, who: &Visitor, undone: &Onboarding) {
    assert_eq!(who.get("/api/workspaces").await.json(200)["items"], json!([]));
    let subscription = who.get("/api/user/subscription").await.json(200);
    assert_eq!(subscription["usage"], json!({"workspaces": 0, "agents": 0}));
    let user = who.get("/api/user").await.json(200);
    assert_eq!(user.get("onboardingCompletedAt"), None, "{user}");
    assert_ne!(who.get("/api/user/preferences").await.json(200)["theme"], "dark");
    assert_eq!(open_pages(d, &text(&user, "id")).await, 0);
    // Of the workspace there are only records that it was there.
    let workspace = undone.workspace_id().to_string();
    let all = d.items().await;
    let left: Vec<_> = all
        .iter()
        .map(|item| format!("{item:?}"))
        .filter(|item| item.contains(&workspace) && !tells(item))
        .collect();
    assert!(left.is_empty(), "{left:#?}");
}

/// How many pages a person could pay on.
async fn open_pages(d: &Deployed, user: &str) -> usize {
    let sessions = d.stripe().get("/v1/checkout/sessions?limit=100").await.unwrap();
    let sessions = sessions["data"].as_array().unwrap();
    let own = sessions
        .iter()
        .filter(|s| s["client_reference_id"] == user && s["status"] == "open");
    own.count()
}
