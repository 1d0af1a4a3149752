//! An onboarding that fails: nothing of it is left, and a second try works.

use std::collections::BTreeSet;

use camarad::context::Context;
use camarad::domain::onboarding::start::{self, Wish};
use camarad::domain::onboarding::undo::{self, Undone};
use camarad::domain::onboarding::{Onboarding, Which, steps};
use camarad::domain::outbox;
use camarad::domain::plans::Plan;
use camarad::domain::workspaces::WorkspaceType;
use camarad::ids::{SessionId, UserId};
use camarad::store::keys;
use camarad::store::tx::OnceKey;
use camarad_tests::app::{Client, TestApp, machine};
use camarad_tests::faults::{Fault, Faults};
use jiff::SignedDuration;
use serde_json::{Value, json};

pub const COMPLETE: &str = "/api/onboarding/complete";

pub fn wish() -> Value {
    json!({
        "planId": "personal",
        "workspace": {"name": "Home", "type": "personal"},
        "selectedAgentPresetIds": ["coach", "finance", "travel"],
        "preferences": {"theme": "dark", "timezone": "Europe/Vienna", "notifications": {"payment.failed": {"push": false}}},
    })
}

/// What may be there after an onboarding that was taken back: records of what happened, events, what the person has anyway
/// (profile and account, which are compared by what they say), and the onboarding itself.
pub fn tells(item: &str) -> bool {
    let kinds = [
        "audit",
        "auditChain",
        "auditMark",
        "auditSeal",
        "outbox",
        "onboarding",
        "chain",
        "seal",
        "once",
    ];
    kinds
        .iter()
        .any(|kind| item.contains(&format!("\"kind\": S(\"{kind}\")")))
}

/// Everything else, without the counters of versions.
pub async fn rest(t: &TestApp) -> BTreeSet<String> {
    let items = t.snapshot().await.into_iter().filter(|item| !tells(item));
    let mut rest = BTreeSet::new();
    for item in items {
        let mut kept = item;
        for name in ["version", "updatedAt", "rev"] {
            kept = without(&kept, name);
        }
        kept = kept.replace(
            "\"preferences\": {\"display\": {}, \"notifications\": {}, }, ",
            "",
        );
        rest.insert(kept);
    }
    rest
}

/// The text of an item without one attribute.
fn without(item: &str, name: &str) -> String {
    let mut text = item.to_owned();
    while let Some(at) = text.find(&format!("\"{name}\": ")) {
        let end = text[at..].find(')').map_or(text.len(), |end| at + end + 1);
        text.replace_range(at..end, "");
    }
    text
}

/// What a person sees of themselves.
pub async fn seen(who: &Client) -> Value {
    let mut seen = json!({});
    for path in [
        "/api/user",
        "/api/user/preferences",
        "/api/user/subscription",
        "/api/workspaces",
    ] {
        let mut answer = who.get(path).await.json(200);
        answer["version"] = Value::Null;
        answer["updatedAt"] = Value::Null;
        seen[path] = answer;
    }
    seen
}

/// The last onboarding of somebody.
pub async fn last(t: &TestApp, who: &Client) -> Onboarding {
    let key = keys::onboarding(who.user.unwrap());
    t.app.db().get(&key).await.unwrap().expect("an onboarding")
}

/// What was done in this scope.
async fn actions(t: &TestApp, scope: String) -> Vec<String> {
    let all = crate::auth::audits(t, &scope).await;
    all.into_iter().map(|(action, _)| action).collect()
}

#[tokio::test]
async fn what_cannot_be_is_told_with_its_field_before_anything_begins() {
    let t = TestApp::new().await;
    let ann = t.newcomer("ann@example.com").await;
    let before = t.snapshot().await;
    let with = |path: &str, value: Value| {
        let mut wish = wish();
        *wish.pointer_mut(path).unwrap() = value;
        wish
    };
    for (field, wish) in [
        ("planId", with("/planId", json!("custom"))),
        ("planId", with("/planId", json!("free"))),
        ("workspace.name", with("/workspace/name", json!("  "))),
        ("workspace.type", with("/workspace/type", json!("castle"))),
        (
            "selectedAgentPresetIds[1]",
            with("/selectedAgentPresetIds", json!(["coach", "nobody"])),
        ),
        (
            "selectedAgentPresetIds",
            with("/selectedAgentPresetIds", json!([])),
        ),
        (
            "selectedAgentPresetIds",
            with(
                "/selectedAgentPresetIds",
                json!(["coach", "coach", "coach", "coach", "coach", "coach"]),
            ),
        ),
        (
            "preferences.theme",
            with("/preferences", json!({"theme": "pink"})),
        ),
        (
            "preferences.timezone",
            with("/preferences", json!({"timezone": "Mars/Base"})),
        ),
    ] {
        ann.once(field).post(COMPLETE, wish).await.assert_invalid(field);
    }
    ann.post(COMPLETE, wish())
        .await
        .assert_invalid("header.Idempotency-Key");
    assert_eq!(before, t.snapshot().await);
    assert_eq!(t.executions.inputs(), Vec::<Value>::new());
}

#[tokio::test]
async fn the_progress_of_an_onboarding_is_its_own_persons() {
    let t = TestApp::new().await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    let bob = t.newcomer("bob@example.com").await;
    let begun = ann.once("1").post(COMPLETE, wish()).await.json(202);
    assert_eq!(begun["status"], "running");
    assert_eq!(
        begun["steps"][0],
        json!({"step": "validate", "status": "running"})
    );
    assert_eq!(begun["steps"][1]["status"], "waiting");
    assert_eq!(begun.get("workspaceId"), None);
    let path = format!("/api/onboarding/{}", begun["executionId"].as_str().unwrap());
    assert_eq!(ann.get(&path).await.json(200), begun);
    bob.get(&path).await.assert_problem(404, "not_found");
    let input = json!({"executionId": begun["executionId"], "userId": ann.user.unwrap()});
    assert_eq!(t.executions.inputs(), [input]);
    // The same request again is the same execution, another one has to wait.
    assert_eq!(ann.once("1").post(COMPLETE, wish()).await.json(202), begun);
    assert_eq!(t.executions.inputs().len(), 1);
    let other = ann.once("2").post(COMPLETE, wish()).await;
    other.assert_problem(409, "onboarding_in_progress");
}

#[tokio::test]
async fn an_execution_that_cannot_be_started_leaves_nothing_and_the_same_request_may_come_again() {
    let t = TestApp::new().await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    let (before, was) = (rest(&t).await, seen(&ann).await);
    t.executions.fail(true);
    let failed = ann.once("1").post(COMPLETE, wish()).await;
    failed.assert_problem(503, "unavailable");
    assert_eq!((rest(&t).await, seen(&ann).await), (before, was));
    let first = last(&t, &ann).await.execution_id;
    t.executions.fail(false);
    let begun = ann.once("1").post(COMPLETE, wish()).await.json(202);
    assert_ne!(begun["executionId"], json!(first));
}

#[tokio::test]
async fn an_execution_that_never_ends_is_taken_back_by_the_sweeper() {
    let t = TestApp::new().await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    let (before, was) = (rest(&t).await, seen(&ann).await);
    let begun = ann.once("1").post(COMPLETE, wish()).await.json(202);
    let which = last(&t, &ann).await.which();
    steps::validate(&t.app, which).await.unwrap();
    steps::create_workspace(&t.app, which).await.unwrap();
    assert_ne!(before, rest(&t).await);
    assert_eq!(undo::sweep(&t.app).await.unwrap().overdue, 0, "it has its time");

    let ann = t.later(&ann, SignedDuration::from_mins(21)).await;
    let swept = undo::sweep(&t.app).await.unwrap();
    assert_eq!((swept.overdue, swept.failed), (1, 0));
    assert_eq!(undo::sweep(&t.app).await.unwrap().overdue, 0);
    assert_eq!(before, rest(&t).await);
    assert_eq!(was, seen(&ann).await);
    // What was made and taken back is on record.
    let workspace = last(&t, &ann).await.workspace_id().to_string();
    let actions = [workspace, ann.user.unwrap().to_string()].map(|scope| actions(&t, scope));
    let [of_workspace, own] = futures_util::future::join_all(actions).await.try_into().unwrap();
    for action in ["workspace.created", "agent.created", "workspace.deleted"] {
        assert!(
            of_workspace.iter().any(|a| a == action),
            "{action}: {of_workspace:?}"
        );
    }
    assert_eq!(own, ["settings.updated", "settings.updated"]);
    let path = format!("/api/onboarding/{}", begun["executionId"].as_str().unwrap());
    let told = ann.get(&path).await.json(200);
    assert_eq!(told["status"], "failed");
    assert_eq!(
        (&told["steps"][1]["status"], &told["steps"][2]["status"]),
        (&json!("undone"), &json!("failed"))
    );
    // What comes late finds that it is over.
    let late = machine::play(&t.app, json!(which)).await;
    assert_eq!(
        (late.succeeded, late.errors.as_slice()),
        (false, ["Camarad.Refused".to_owned()].as_slice())
    );
    assert_eq!(before, rest(&t).await);
    ann.once("1").post(COMPLETE, wish()).await.json(202);
}

#[tokio::test]
async fn what_the_person_chose_meanwhile_stays() {
    let t = TestApp::new().await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    ann.once("1").post(COMPLETE, wish()).await.json(202);
    let which = last(&t, &ann).await.which();
    steps::validate(&t.app, which).await.unwrap();
    steps::create_workspace(&t.app, which).await.unwrap();
    let chosen = ann.get("/api/user/preferences").await.json(200);
    assert_eq!(
        (&chosen["theme"], &chosen["timezone"]),
        (&json!("dark"), &json!("Europe/Vienna"))
    );
    ann.patch("/api/user/preferences", json!({"theme": "light"}))
        .await
        .json(200);
    assert_eq!(undo::undo(&t.app, which, "x").await.unwrap(), Undone::Undone);
    let left = ann.get("/api/user/preferences").await.json(200);
    assert_eq!(
        (&left["theme"], &left["timezone"]),
        (&json!("light"), &json!("Europe/Vienna"))
    );
    assert_eq!(ann.get("/api/workspaces").await.json(200)["items"], json!([]));
}

#[tokio::test]
async fn a_step_out_of_its_turn_does_nothing() {
    let t = TestApp::new().await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    ann.once("1").post(COMPLETE, wish()).await.json(202);
    let which = last(&t, &ann).await.which();
    let before = t.snapshot().await;
    assert!(steps::create_workspace(&t.app, which).await.is_err());
    assert!(steps::complete(&t.app, which).await.is_err());
    let other = Which {
        execution_id: camarad::ids::ExecutionId::new(t.app.clock()),
        ..which
    };
    assert!(steps::validate(&t.app, other).await.is_err());
    assert_eq!(undo::undo(&t.app, other, "x").await.unwrap(), Undone::Undone);
    assert_eq!(before, t.snapshot().await);
}

/// A town over a table that can be told to fail, with an execution that waits to be played.
async fn waiting(faults: &Faults) -> (TestApp, Client, Which) {
    let t = TestApp::over(faults).await;
    t.executions.hold(true);
    let ann = t.newcomer("ann@example.com").await;
    let which = begin(&t, ann.user.unwrap(), Plan::Personal).await;
    (t, ann, which)
}

/// Begins as the request does, which then would wait for an end.
pub async fn begin(t: &TestApp, user: UserId, plan: Plan) -> Which {
    let clock = t.app.clock();
    let cause = Context::system("story", clock.now()).signed_in(user, SessionId::new(clock));
    let mut asked = wish();
    let presets: Vec<String> = serde_json::from_value(asked["selectedAgentPresetIds"].take()).unwrap();
    let preferences = serde_json::from_value(asked["preferences"].take()).unwrap();
    let name = serde_json::from_value(asked["workspace"]["name"].take()).unwrap();
    let first = (name, WorkspaceType::Personal);
    let wish = Wish::parse(plan, first, &presets, preferences).unwrap();
    let once = OnceKey::new(user, "1", "input");
    let begun = start::begin(&t.app, &cause, user, &once, wish).await.unwrap();
    let begun = begun.value().unwrap();
    Which {
        execution_id: begun.execution_id,
        user_id: user,
    }
}

/// The steps that need nothing but the table, each run twice, then taking it back.
async fn there_and_back(t: &TestApp, which: Which) {
    for _ in 0..2 {
        steps::validate(&t.app, which).await.unwrap();
        steps::create_workspace(&t.app, which).await.unwrap();
    }
    assert_eq!(undo::undo(&t.app, which, "x").await.unwrap(), Undone::Undone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_compensation_that_die_at_any_request_leave_all_or_nothing() {
    let mut died = 0;
    for done in [false, true] {
        for after in 0.. {
            let faults = Faults::new(11);
            let (t, ann, which) = waiting(&faults).await;
            let (before, was) = (rest(&t).await, seen(&ann).await);
            faults.die(after, done);
            tokio::select! {
                () = there_and_back(&t, which) => {}
                () = faults.dead() => died += 1,
            }
            let survived = faults.live();
            let workspaces = ann.get("/api/workspaces").await.json(200)["items"]
                .as_array()
                .unwrap()
                .len();
            let usage = ann.get("/api/user/subscription").await.json(200)["usage"].clone();
            let agents = workspaces * 3;
            assert_eq!(
                usage,
                json!({"workspaces": workspaces, "agents": agents}),
                "after {after}, done: {done}"
            );
            // Another instance takes it back, twice.
            for _ in 0..2 {
                assert_eq!(undo::undo(&t.app, which, "y").await.unwrap(), Undone::Undone);
            }
            outbox::sweep(&t.app).await.unwrap();
            assert_eq!(before, rest(&t).await, "after {after} requests, done: {done}");
            assert_eq!(was, seen(&ann).await, "after {after} requests, done: {done}");
            if survived {
                break;
            }
        }
    }
    assert!(died > 30, "it died {died} times");
}

#[tokio::test]
async fn a_table_that_refuses_makes_the_machine_take_it_back() {
    let faults = Faults::new(12);
    let (t, ann, which) = waiting(&faults).await;
    let (before, was) = (rest(&t).await, seen(&ann).await);
    faults.whenever(Some(("agent.created", Fault::Denied)));
    let played = machine::play(&t.app, json!(which)).await;
    faults.whenever(None);
    assert!(!played.succeeded);
    assert_eq!(played.errors, ["Camarad.Fault", "Camarad.Fault"]);
    assert_eq!(
        played.path,
        [
            "Validate",
            "CreateWorkspace",
            "CreateWorkspace",
            "Compensate",
            "WasItComplete",
            "Failed"
        ]
    );
    assert_eq!((before, was), (rest(&t).await, seen(&ann).await));
    let again = ann.once("1").post(COMPLETE, wish()).await.json(202);
    assert_ne!(again["executionId"], json!(which.execution_id));
}
