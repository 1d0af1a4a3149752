//! The audit walk: every live write as it succeeds, as it is refused, and while the log cannot be written.

use std::collections::BTreeSet;

use camarad::domain::audit::person;
use camarad::domain::audit::view::views;
use camarad::ids::UserId;
use camarad::store::record::{Action, AuditRecord};
use camarad_tests::app::{Answer, Client};
use camarad_tests::faults::Fault;
use camarad_tests::routes::{self, Route};

use crate::audit_walk_scenes::{BROWSER, Ready, World};

/// What a write leaves in the log when it succeeds.
enum Leaves {
    /// These, in any order.
    Records(&'static [Action]),
    /// None, by design, and why.
    Nothing(&'static str),
}

mod typed;

use Leaves::{Nothing, Records};
use typed::{assert_nothing_typed, texts};

const ACCOUNTED: &str =
    "its hold, bill, ledger entries and usage event are its record, each numbered or written once";

/// Every live write. A new one fails this walk until it has a row here and a scene in `audit_walk_scenes`.
const WRITES: &[(&str, Leaves)] = &[
    (
        "POST /api/auth/refresh",
        Nothing(
            "the session goes on: its beginning and its end are on record, and so is a token that comes twice",
        ),
    ),
    ("POST /api/auth/logout", Records(&[Action::UserLogout])),
    ("PATCH /api/user", Records(&[Action::UserUpdated])),
    ("POST /api/workspaces", Records(&[Action::WorkspaceCreated])),
    ("PATCH /api/workspaces/{id}", Records(&[Action::WorkspaceUpdated])),
    (
        "DELETE /api/workspaces/{id}",
        Records(&[Action::WorkspaceDeleted]),
    ),
    (
        "POST /api/workspaces/{id}/agents",
        Records(&[Action::AgentCreated]),
    ),
    ("PATCH /api/agents/{id}", Records(&[Action::AgentUpdated])),
    ("DELETE /api/agents/{id}", Records(&[Action::AgentDeleted])),
    ("POST /api/ledger/grant", Records(&[Action::LedgerGranted])),
    ("POST /api/ledger/consume", Records(&[Action::LedgerConsumed])),
    ("POST /api/ledger/refund", Records(&[Action::LedgerRefunded])),
    ("POST /api/agents/{id}/chat", Nothing(ACCOUNTED)),
    ("POST /api/agents/{id}/stream", Nothing(ACCOUNTED)),
    (
        "POST /api/agents/{id}/calls/{callId}/stop",
        Records(&[Action::CallStopped]),
    ),
    ("POST /api/auth/2fa", Records(&[Action::UserLogin])),
    (
        "POST /api/auth/magic-link",
        Nothing("anybody may ask for any address, and nothing comes of it until its link signs in"),
    ),
    ("POST /api/auth/magic-link/verify", Records(&[Action::UserLogin])),
    ("POST /api/auth/step-up", Records(&[Action::UserLogin])),
    (
        "POST /api/users/{id}/sessions/revoke",
        Records(&[Action::SessionRevoked, Action::SessionRevoked]),
    ),
    (
        "DELETE /api/user/security/2fa",
        Records(&[Action::SettingsUpdated]),
    ),
    ("POST /api/user/security/2fa", Records(&[Action::SettingsUpdated])),
    (
        "POST /api/user/security/2fa/recovery-codes",
        Records(&[Action::SettingsUpdated]),
    ),
    (
        "POST /api/user/security/2fa/verify",
        Records(&[Action::SettingsUpdated]),
    ),
    (
        "POST /api/user/security/api-keys",
        Records(&[Action::ApiKeyCreated]),
    ),
    (
        "DELETE /api/user/security/api-keys/{id}",
        Records(&[Action::ApiKeyRevoked]),
    ),
    (
        "POST /api/user/security/identities",
        Nothing("it begins an attempt; the provider's answer links, and `identity.linked` is written then"),
    ),
    (
        "DELETE /api/user/security/identities/{id}",
        Records(&[Action::IdentityUnlinked]),
    ),
    (
        "POST /api/user/security/sessions/revoke-others",
        Records(&[Action::SessionRevoked, Action::SessionRevoked]),
    ),
    (
        "DELETE /api/user/security/sessions/{id}",
        Records(&[Action::SessionRevoked]),
    ),
    (
        "POST /api/usage/record",
        Nothing("its events go to the queue, and each leaves a row that is written once and never changed"),
    ),
    (
        "POST /api/onboarding/complete",
        Nothing("it begins an execution; what its steps make is recorded with it, in the same person's name"),
    ),
    ("POST /api/billing/checkout", Records(&[Action::BillingRequested])),
    ("POST /api/billing/portal", Records(&[Action::BillingRequested])),
    (
        "POST /api/billing/change-plan",
        Records(&[Action::BillingRequested]),
    ),
    ("POST /api/billing/cancel", Records(&[Action::BillingRequested])),
    ("POST /api/billing/resume", Records(&[Action::BillingRequested])),
    ("POST /api/billing/topup", Records(&[Action::BillingRequested])),
    ("DELETE /api/user", Records(&[Action::AccountDeleted])),
    ("POST /api/user/export", Records(&[Action::DataExported])),
    ("PATCH /api/user/preferences", Records(&[Action::SettingsUpdated])),
    (
        "PUT /api/workspaces/{id}/allocation",
        Records(&[Action::SettingsUpdated]),
    ),
    (
        "PATCH /api/workspaces/{id}/settings",
        Records(&[Action::SettingsUpdated]),
    ),
];

/// The live writes with what they leave. Stripe's news are nobody's write; the records of what follows from them are in
/// `billing`.
fn writes() -> Vec<(Route, &'static Leaves)> {
    let stripe = |r: &Route| r.function == "stripe-webhook";
    let live: Vec<_> = routes::live()
        .into_iter()
        .filter(|r| r.is_write() && !stripe(r))
        .collect();
    let known: Vec<_> = WRITES.iter().map(|(name, _)| *name).collect();
    for (n, name) in known.iter().enumerate() {
        assert!(live.iter().any(|r| r.name() == *name), "{name} is no live write");
        assert!(!known[..n].contains(name), "{name} has two rows");
    }
    let row = |route: Route| {
        let found = WRITES.iter().find(|(name, _)| *name == route.name());
        let (_, leaves) = found.unwrap_or_else(|| panic!("what does {} leave in the log?", route.name()));
        (route, leaves)
    };
    live.into_iter().map(row).collect()
}

fn succeeded(route: &Route, answer: &Answer) {
    assert!(
        (200..300).contains(&answer.status),
        "{}: {} {}",
        route.name(),
        answer.status,
        answer.body
    );
}

/// What `after` has and `before` has not.
fn new(before: &[AuditRecord], after: Vec<AuditRecord>) -> Vec<AuditRecord> {
    let kept = before.iter().all(|r| after.contains(r));
    assert!(kept, "a record was changed or is gone");
    after.into_iter().filter(|r| !before.contains(r)).collect()
}

/// The record names who did it and in which request, and its address and client open with that person's key alone.
async fn attributed(w: &World, route: &Route, record: &AuditRecord, user: Option<UserId>, answer: &Answer) {
    let name = route.name();
    let actor = record
        .actor
        .person()
        .unwrap_or_else(|| panic!("{name}: {record:?}"));
    assert!(user.is_none_or(|u| u == actor), "{name}: {record:?}");
    assert_eq!(
        Some(record.request_id.as_str()),
        answer.header("x-request-id"),
        "{name}"
    );
    assert!(
        record.expires_at > record.at && !record.resource.is_empty(),
        "{name}"
    );
    let sealed = record
        .personal
        .as_ref()
        .unwrap_or_else(|| panic!("{name}: {record:?}"));
    assert_eq!(record.network, None, "{name}");
    let key = person::key_of(&w.t.app, actor, record.at).await.unwrap();
    let personal = key.open(&record.id.to_string(), sealed).unwrap();
    assert_eq!(
        (personal.ip.as_deref(), personal.user_agent.as_deref()),
        (Some("203.0.113.7"), Some(BROWSER)),
        "{name}"
    );
    let text = format!("{record:?}");
    assert!(!text.contains("203.0.113.7") && !text.contains(BROWSER), "{text}");
}

#[tokio::test]
async fn every_write_that_succeeds_leaves_the_records_that_its_row_says_and_no_other() {
    let w = World::new().await;
    let mut typed = BTreeSet::new();
    for (route, leaves) in writes() {
        let Ready {
            who,
            path,
            body,
            user,
        } = w.ready(&route).await;
        // A form has a token in it, and nothing else.
        if let Some(Ok(body)) = body.as_deref().map(serde_json::from_str) {
            texts(&body, true, &mut typed);
        }
        let before = w.records().await;
        let answer = who.send(&route.method, &path, body).await;
        succeeded(&route, &answer);
        let left = new(&before, w.records().await);
        let mut actions: Vec<_> = left.iter().map(|r| r.action).collect();
        actions.sort();
        match leaves {
            Nothing(why) => assert!(
                actions.is_empty(),
                "{}, although {why}: {actions:?}",
                route.name()
            ),
            Records(expected) => assert_eq!(actions, *expected, "{}", route.name()),
        }
        for record in &left {
            attributed(&w, &route, record, user, &answer).await;
        }
    }
    for name in ["Home", "Office", "Boss", "ci", "goodwill", "a picture"] {
        assert!(typed.contains(name), "{name} was typed");
    }
    assert_nothing_typed(&w.records().await, &typed);
}

#[tokio::test]
async fn a_write_whose_record_cannot_be_written_has_no_effect() {
    let w = World::new().await;
    for (route, leaves) in writes() {
        if matches!(leaves, Nothing(_)) {
            continue;
        }
        let Ready { who, path, body, .. } = w.ready(&route).await;
        // One for each write, as an operator does several of them.
        let who = who.once(&route.name());
        let before = w.effects().await;
        w.faults.whenever(Some(("AUDIT#", Fault::Denied)));
        let answer = who.send(&route.method, &path, body.clone()).await;
        w.faults.whenever(None);
        assert!(
            answer.status >= 500,
            "{}: {} {}",
            route.name(),
            answer.status,
            answer.body
        );
        let (name, after) = (route.name(), w.effects().await);
        let gone: Vec<_> = before.iter().filter(|i| !after.contains(i)).collect();
        let come: Vec<_> = after.iter().filter(|i| !before.contains(i)).collect();
        assert!(
            gone.is_empty() && come.is_empty(),
            "{name} has an effect without a record: {gone:?} {come:?}"
        );
        // It was the record alone that was missing.
        if !route.path.ends_with("/2fa") && !route.path.ends_with("/step-up") {
            succeeded(&route, &who.send(&route.method, &path, body).await);
        }
        w.settled(&path).await;
    }
}

/// The ways that a write is refused whatever is in it: by its query, its size, its media type, its body, its caller, its
/// ids.
async fn spoilt(
    w: &World,
    ready: &Ready,
    route: &Route,
) -> Vec<(&'static str, Client, String, Option<String>)> {
    let (who, path, body) = (|| ready.who.clone(), || ready.path.clone(), || ready.body.clone());
    let large = Some(" ".repeat(256 * 1024 + 1));
    let mut all = vec![
        (
            "a made-up parameter",
            who(),
            format!("{}?made=up", path()),
            body(),
        ),
        ("a body too large", who(), path(), large),
    ];
    if ready.body.is_some() {
        let as_text = who().header("Content-Type", "text/plain");
        all.push(("another media type", as_text, path(), body()));
        all.push(("a made-up field", who(), path(), Some(r#"{"made":"up"}"#.into())));
        all.push(("half a body", who(), path(), Some("{\"".into())));
    }
    if route.audience != "public" {
        let nobody = w.t.anonymous().header("User-Agent", BROWSER);
        all.push(("nobody", nobody, path(), body()));
        let program = w.program(ready.user.unwrap()).await;
        all.push(("a key without its scope", program, path(), body()));
    }
    if route.audience != "public" && route.path.contains('{') {
        all.push(("a stranger", w.person("stranger").await, path(), body()));
        all.push((
            "an id that is none",
            who(),
            route.path.replace(['{', '}'], ""),
            body(),
        ));
    }
    all
}

#[tokio::test]
async fn a_write_that_is_refused_leaves_no_record() {
    let w = World::new().await;
    for (route, _) in writes() {
        let ready = w.ready(&route).await;
        let before = w.records().await;
        for (what, who, path, body) in spoilt(&w, &ready, &route).await {
            let answer = who.send(&route.method, &path, body).await;
            assert!(
                (400..500).contains(&answer.status) && answer.status != 429,
                "{} with {what}: {} {}",
                route.name(),
                answer.status,
                answer.body
            );
            let left = new(&before, w.records().await);
            assert!(left.is_empty(), "{} with {what}: {left:?}", route.name());
        }
    }
}

/// Whom a refused request is known to come from.
enum Known {
    /// From this person.
    Person,
    /// From whoever has something of a person.
    Owner,
    /// From nobody that is known.
    Nobody,
}

/// What of the refusals is on record: where somebody may be trying to get in as another.
#[tokio::test]
async fn the_refusals_that_are_on_record_are_these() {
    let w = World::new().await;
    for (name, action, known) in [
        ("POST /api/auth/2fa", Action::UserLoginFailed, Known::Person),
        ("POST /api/auth/step-up", Action::UserLoginFailed, Known::Person),
        (
            "POST /api/auth/magic-link/verify",
            Action::UserLoginFailed,
            Known::Nobody,
        ),
        ("POST /api/auth/refresh", Action::SessionRevoked, Known::Owner),
    ] {
        let route = routes::live().into_iter().find(|r| r.name() == name).unwrap();
        let spoilt = w.spoilt(&route).await;
        let before = w.records().await;
        let answer = spoilt
            .who
            .send(&route.method, &spoilt.path, spoilt.body.clone())
            .await;
        assert!((400..500).contains(&answer.status), "{name}: {}", answer.body);
        let left = new(&before, w.records().await);
        let actions: Vec<_> = left.iter().map(|r| r.action).collect();
        assert_eq!(actions, [action], "{name}");
        match known {
            Known::Person => attributed(&w, &route, &left[0], spoilt.user, &answer).await,
            // Somebody has a token of a person: who they are is not known, where they are is the person's to see.
            Known::Owner => {
                let record = &left[0];
                assert_eq!(record.actor.person(), None, "{name}");
                assert!(record.network.is_none() && record.personal.is_some(), "{name}");
                let shown = views(&w.t.app, vec![record.clone()]).await.unwrap();
                assert_eq!(shown[0].ip.as_deref(), Some("203.0.113.7"), "{name}");
            }
            // Whose it is is just what is not known: a network is left, and no client.
            Known::Nobody => {
                assert_eq!(left[0].network.as_deref(), Some("203.0.113.0/24"), "{name}");
                assert_eq!(
                    (left[0].actor.person(), &left[0].personal),
                    (None, &None),
                    "{name}"
                );
            }
        }
    }
}
