//! Usage over all the workspaces that somebody owns: their own, all of them, and nobody else's.

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::workspaces::Workspace;
use camarad::ids::{AgentId, UserId, WorkspaceId};
use camarad::store::{Update, keys};
use camarad_tests::app::{Client, TestApp};
use serde_json::{Value, json};

use crate::usage::{deliver, message, recorded, stats};
use crate::workspaces::workspace;

/// A new workspace of this person's.
async fn place(who: &Client, name: &str) -> WorkspaceId {
    workspace(who, name).await.parse().unwrap()
}

/// So many calls there, of this person with one new agent, each of which costs so many micro-cbT.
async fn used(
    t: &TestApp,
    (user, at): (UserId, WorkspaceId),
    model: &str,
    (calls, cost): (usize, i64),
) -> AgentId {
    let agent = AgentId::new(at, t.app.clock());
    let now = t.app.clock().now();
    let all = (0..calls).map(|n| message(n, &recorded(t.app.clock(), (user, agent), model, now, cost)));
    assert_eq!(deliver(t, all.collect()).await, Vec::<String>::new());
    agent
}

/// The keys, calls and costs of the parts of the last bucket.
fn parts(stats: &Value) -> Vec<(String, i64, String)> {
    let last = stats["buckets"].as_array().unwrap().last().unwrap();
    let groups = last["groups"].as_array().unwrap().iter();
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    groups
        .map(|g| (text(&g["key"]), g["calls"].as_i64().unwrap(), text(&g["cost"])))
        .collect()
}

fn sorted<T: Ord>(mut all: Vec<T>) -> Vec<T> {
    all.sort();
    all
}

#[tokio::test]
async fn without_a_workspace_all_that_one_owns_is_added_up_and_divided() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let bob = t.sign_up("bob@example.com", Plan::Agency).await;
    let (home, studio, idle) = (
        place(&ann, "Home").await,
        place(&ann, "Studio").await,
        place(&ann, "Idle").await,
    );
    let theirs = place(&bob, "Bob's").await;
    let member = t.join(&theirs.to_string(), Role::Admin).await.user.unwrap();
    let user = ann.user.unwrap();
    let one = used(&t, (user, home), "small", (3, 10)).await;
    let two = used(&t, (member, studio), "small", (2, 100)).await;
    let three = used(&t, (user, studio), "large", (1, 1_000)).await;
    used(&t, (bob.user.unwrap(), theirs), "small", (50, 7)).await;
    assert_ne!(idle, home);

    // As the product's page writes it.
    let by = async |by: &str| {
        ann.get(&format!("/api/usage/stats?range=day&groupBy={by}"))
            .await
            .json(200)
    };
    let row = |key: String, calls: i64, cost: &str| (key, calls, cost.to_owned());
    assert_eq!(
        parts(&by("workspace").await),
        sorted(vec![
            row(home.to_string(), 3, "0.00003"),
            row(studio.to_string(), 3, "0.0012")
        ])
    );
    assert_eq!(
        parts(&by("agent").await),
        sorted(vec![
            row(one.to_string(), 3, "0.00003"),
            row(two.to_string(), 2, "0.0002"),
            row(three.to_string(), 1, "0.001")
        ])
    );
    assert_eq!(
        parts(&by("model").await),
        [row("large".into(), 1, "0.001"), row("small".into(), 5, "0.00023")]
    );
    assert_eq!(
        parts(&by("member").await),
        sorted(vec![
            row(user.to_string(), 4, "0.00103"),
            row(member.to_string(), 2, "0.0002")
        ])
    );
    let whole = ann.get("/api/usage/stats?timezone=Asia/Kolkata").await.json(200);
    assert_eq!(
        (&whole["totals"]["calls"], &whole["totals"]["cost"]),
        (&json!(6), &json!("0.00123"))
    );
    assert_eq!(whole["buckets"].as_array().unwrap().len(), 30);
    let alone = stats(&ann, studio, "&groupBy=workspace").await;
    assert_eq!(parts(&alone), [row(studio.to_string(), 3, "0.0012")]);

    let shares = ann.get("/api/usage/breakdown?groupBy=workspace").await.json(200);
    let items: Vec<_> = shares["items"].as_array().unwrap().iter().collect();
    let told: Vec<_> = items
        .iter()
        .map(|i| (&i["name"], &i["costPercent"], &i["callsPercent"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("Studio"), &json!(97.56), &json!(50.0)),
            (&json!("Home"), &json!(2.44), &json!(50.0))
        ]
    );
    let agents = ann.get("/api/usage/breakdown").await.json(200);
    assert_eq!(agents["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_one_does_not_own_is_not_in_it() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let bob = t.sign_up("bob@example.com", Plan::Agency).await;
    let (anns, bobs) = (place(&ann, "Ann's").await, place(&bob, "Bob's").await);
    let guest = t.join(&anns.to_string(), Role::Admin).await;
    used(&t, (ann.user.unwrap(), anns), "small", (5, 1)).await;
    used(&t, (bob.user.unwrap(), bobs), "small", (2, 1)).await;
    let calls = async |who: &Client| who.get("/api/usage/stats").await.json(200)["totals"]["calls"].clone();
    assert_eq!((calls(&ann).await, calls(&bob).await), (json!(5), json!(2)));
    assert_eq!(
        calls(&guest).await,
        0,
        "an admin sees it by naming it, and owns nothing"
    );
    assert_eq!(stats(&guest, anns, "").await["totals"]["calls"], 5);
    let parts = guest.get("/api/usage/breakdown").await.json(200);
    assert_eq!(
        (&parts["items"], &parts["totals"]["calls"]),
        (&json!([]), &json!(0))
    );

    // The person's own list is a hint; who owns a workspace, the workspace says.
    let lost = Update::of(keys::workspace(anns))
        .set("ownerId", bob.user)
        .unwrap();
    t.app.db().update(&lost).await.unwrap();
    assert_eq!(calls(&ann).await, 0);
    let back = Update::of(keys::workspace(anns))
        .set("ownerId", ann.user)
        .unwrap();
    t.app.db().update(&back).await.unwrap();
    let gone = Update::of(keys::workspace(anns))
        .set("deletedAt", t.app.clock().now())
        .unwrap();
    t.app.db().update(&gone).await.unwrap();
    assert_eq!(calls(&ann).await, 0);

    t.anonymous()
        .get("/api/usage/stats")
        .await
        .assert_problem(401, "unauthenticated");
    let scopes = [camarad::domain::auth::api_keys::KeyScope::UsageRead];
    let user = bob.user.unwrap();
    let everywhere = t.api_key(user, &scopes, None).await;
    assert_eq!(calls(&everywhere).await, 2);
    let here = t.api_key(user, &scopes, Some(bobs)).await;
    here.get("/api/usage/stats")
        .await
        .assert_problem(403, "insufficient_scope");
    assert_eq!(stats(&here, bobs, "").await["totals"]["calls"], 2);
}

#[tokio::test]
async fn all_that_one_owns_is_read_once_and_has_its_bounds() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Agency).await;
    let mut all = Vec::new();
    for n in 0..12 {
        all.push(place(&ann, &format!("Place {n}")).await);
    }
    used(&t, (ann.user.unwrap(), all[3]), "small", (2, 1)).await;
    // Besides the rate counter: profile and memberships, then the workspaces, then one query for each.
    let answer = ann.get("/api/usage/stats?groupBy=workspace").await;
    let alone = ann.get(&format!("/api/usage/stats?workspaceId={}", all[3])).await;
    assert_eq!(
        alone.cost.calls + 11 + 2,
        answer.cost.calls,
        "{:?} {:?}",
        alone.cost,
        answer.cost
    );
    // 366 days of 12 workspaces are within the bound, and 100 months and more of them; 744 hours are not.
    let span = |range: &str, from: &str| {
        format!("/api/usage/stats?range={range}&from={from}&to=2026-10-01T00:00:00Z")
    };
    ann.get(&span("day", "2025-10-02T00:00:00Z")).await.json(200);
    ann.get(&span("hour", "2026-09-01T00:00:00Z"))
        .await
        .assert_invalid("query.from");
    ann.get("/api/usage/stats?range=week")
        .await
        .assert_invalid("query.range");
    ann.get("/api/usage/export")
        .await
        .assert_invalid("query.workspaceId");

    // More than a hundred are asked for one by one.
    let (user, now) = (ann.user.unwrap(), t.app.clock().now());
    for n in 12..101 {
        let id = WorkspaceId::new(t.app.clock());
        let kind = camarad::domain::workspaces::WorkspaceType::Agency;
        let place = Workspace::new(id, format!("Place {n}"), kind, (user, Plan::Agency), now);
        let membership = camarad::domain::workspaces::Membership {
            workspace_id: id,
            user_id: user,
            role: Role::Owner,
        };
        t.app.db().put(&place, None).await.unwrap();
        if n < 100 {
            t.app.db().put(&membership, None).await.unwrap();
            continue;
        }
        let hundred = ann.get("/api/usage/stats").await.json(200);
        assert_eq!(hundred["totals"]["calls"], 2);
        t.app.db().put(&membership, None).await.unwrap();
        ann.get("/api/usage/stats")
            .await
            .assert_invalid("query.workspaceId");
    }
}
