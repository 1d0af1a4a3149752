//! Onboarding as it is deployed: the state machine runs, the tasks are native binaries, and `Retry` and `Catch` go by the
//! errors' names. Each step fails, and its function is killed in it; afterwards there is all of it or nothing, and a second
//! try of the same person works. `make test` takes a share of the cases, by a seed; `make proof` all of them, side by side:
//! each is a person's own, and an instance of a function has one task at a time.

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
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{granted, text};
use crate::onboarding_undone::{COMPLETE, tells, wish};

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
    /// Its call of Stripe is not accepted, and never will be.
    Refused,
    /// Stripe takes no calls now.
    Busy,
}

const ALWAYS: u32 = u32::MAX;

/// How many go on at once, beside those that wait for a service which is down: four tries of 25 s each.
const AT_ONCE: usize = 3;

/// After so long a state machine has given up for sure; the sweeper's word for it.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

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
            Self::Table(..) | Self::Refused | Self::Busy => false,
        }
    }

    /// Whether each try waits until it is given up.
    fn waits(self) -> bool {
        matches!(self, Self::Table(Trouble::Down, _))
    }

    /// The errors' name.
    fn error(self) -> &'static str {
        match self {
            Self::Table(Trouble::Denied, _) | Self::Refused => "Camarad.Fault",
            Self::Table(Trouble::Down, _) | Self::Busy => "Camarad.Passing",
            Self::Table(Trouble::DeathBefore | Trouble::DeathAfter, _) => "Runtime.ExitError",
        }
    }

    /// How often it is met before the machine goes on, or gives up: the first try and what `Retry` says of the name.
    fn errors(self) -> usize {
        match self {
            Self::Table(Trouble::Denied, ALWAYS) | Self::Refused => 2,
            Self::Table(Trouble::DeathAfter, _) | Self::Table(_, 1) => 1,
            Self::Table(..) | Self::Busy => 4,
        }
    }

    /// What Stripe answers, and how often it is asked: a call that is not accepted once by each try, one that it has no time
    /// for three times.
    fn stripe(self) -> Option<(u16, usize)> {
        match self {
            Self::Table(..) => None,
            Self::Refused => Some((400, self.errors())),
            Self::Busy => Some((429, 3 * self.errors())),
        }
    }
}

fn cases() -> Vec<(&'static str, Case)> {
    let table = STEPS.iter().flat_map(|step| Case::ALL.map(|case| (*step, case)));
    let stripe = ["createCustomer", "createCheckout"].map(|step| [(step, Case::Refused), (step, Case::Busy)]);
    table.chain(stripe.into_iter().flatten()).collect()
}

#[tokio::test]
async fn somebody_new_is_onboarded_pays_and_has_a_trial() {
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
    let d = deployed::shared().await;
    let chosen = match share() {
        1 => some(&mut Dice::new(2_026)),
        _ => cases(),
    };
    let total = chosen.len();
    let watch = Stopwatch::start();
    let numbered = chosen.into_iter().enumerate();
    let (waiting, others): (Vec<_>, Vec<_>) = numbered.partition(|(_, (_, case))| case.waits());
    let at_once = waiting.len() + AT_ONCE;
    let run = async |(n, (step, case)): (usize, (&'static str, Case))| {
        let own = Stopwatch::start();
        one(&d, &format!("onboarding.{n}@example.com"), (step, case)).await;
        deployed::progress(&format!("{step}, {case:?}: {:.1} s", own.elapsed().as_secs_f32()));
    };
    stream::iter(waiting.into_iter().chain(others))
        .for_each_concurrent(at_once, run)
        .await;
    let took = watch.elapsed().as_secs_f32();
    deployed::progress(&format!("{total} cases in {took:.1} s"));
}

/// Four cases, of those that do not wait.
fn some(dice: &mut Dice) -> Vec<(&'static str, Case)> {
    let mut some = cases();
    some.retain(|(_, case)| !case.waits());
    while some.len() > 4 {
        let at = usize::try_from(dice.below(some.len() as u64)).unwrap();
        some.remove(at);
    }
    some
}

async fn one(d: &Deployed, email: &str, (step, case): (&str, Case)) {
    let ann = d.newcomer(email).await;
    let user = text(&ann.tokens["user"], "id");
    if let Case::Table(trouble, times) = case {
        d.tasks_wire()
            .cross(&[&user, &format!("\"{step}\"")], trouble, times);
    }
    if let Some((status, times)) = case.stripe() {
        let path = match step {
            "createCustomer" => "/v1/customers",
            _ => "/v1/checkout/sessions",
        };
        // As often as it is asked and no oftener: the second try meets none of it.
        let order =
            json!({"method": "POST", "path": path, "holding": user, "times": times, "status": status});
        d.stripe().order("faults", &order).await.unwrap();
    }
    let made = complete(d, &ann, "1").await;
    d.tasks_wire().mend(&user);
    let last = last(d, &user).await;
    let errors = errors(d, &last.execution_id.to_string()).await;
    let expected = vec![case.error().to_owned(); case.errors()];
    assert_eq!(errors, expected, "{step}: {case:?}");
    assert_eq!(made.is_some(), case.passes(), "{step}: {case:?}");
    let made = match made {
        Some(made) => made,
        None => {
            assert_nothing(d, &ann, &last).await;
            let again = complete(d, &ann, "1").await;
            again.unwrap_or_else(|| panic!("the second try works: {step}: {case:?}"))
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
    let (mut open, mut after) = (0, String::new());
    loop {
        let path = format!("/v1/checkout/sessions?limit=100{after}");
        let page = d.stripe().get(&path).await.unwrap();
        let sessions = page["data"].as_array().unwrap();
        let own = sessions
            .iter()
            .filter(|s| s["client_reference_id"] == user && s["status"] == "open");
        open += own.count();
        match sessions.last() {
            Some(last) if page["has_more"] == true => {
                after = format!("&starting_after={}", text(last, "id"));
            }
            _ => return open,
        }
    }
}
