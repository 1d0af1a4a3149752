//! Who may what: one table, shown in the docs, in force at once.

use camarad::domain::permissions::{Permission, Role};
use camarad::domain::plans::Plan;
use camarad::domain::workspaces::Member;
use camarad::store::{Cond, keys};
use camarad_tests::app::stack::repository;
use camarad_tests::app::{OPERATOR, TestApp};
use camarad_tests::routes;
use jiff::SignedDuration;
use serde_json::json;

use crate::desk::{agent, workspace};

const BEGIN: &str = "<!-- begin: written by tests/suite/permissions.rs -->\n";
const END: &str = "<!-- end -->\n";

fn matrix() -> String {
    let names = Role::ALL.map(|r| format!("{r:?}").to_lowercase());
    let mut rows = vec![
        format!("| permission | {} |", names.join(" | ")),
        format!("|---|{}", "---|".repeat(names.len())),
    ];
    for permission in Permission::ALL {
        let cells = Role::ALL.map(|role| if role.may(*permission) { "yes" } else { "no" });
        rows.push(format!("| `{}` | {} |", permission.as_str(), cells.join(" | ")));
    }
    rows.join("\n") + "\n"
}

#[test]
fn the_matrix_in_the_docs_is_the_table_in_the_code() {
    let path = repository().join("milestones/M10-rbac.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}{}{END}{after}", matrix());
    if std::env::var_os("UPDATE_MATRIX").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == expected,
        "milestones/M10-rbac.md: UPDATE_MATRIX=1 make test writes it"
    );
}

#[test]
fn every_permission_of_every_milestone_is_in_the_table() {
    let known: Vec<_> = Permission::ALL.iter().map(|p| p.as_str()).collect();
    for route in routes::all().iter().filter(|r| r.permission != "-") {
        assert!(
            known.contains(&route.permission.as_str()),
            "{}: {}",
            route.name(),
            route.permission
        );
        assert_eq!(route.audience, "member", "{}", route.name());
    }
}

#[tokio::test]
async fn a_change_of_role_counts_from_the_next_request_on() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner).await;
    let its = agent(&owner, &home).await;
    let admin = t.join(&home, Role::Admin).await;
    let path = format!("/api/agents/{its}");
    let rename = |name: &'static str| {
        let (admin, path) = (admin.clone(), path.clone());
        async move { admin.patch(&path, json!({"name": name})).await }
    };
    rename("One").await.json(200);
    let key = keys::member(home.parse().unwrap(), admin.user.unwrap());
    let set = |role: Role| {
        let (db, key) = (t.app.db().clone(), key.clone());
        async move {
            let mut member: Member = db.get(&key).await.unwrap().unwrap();
            member.role = role;
            db.put(&member, None).await.unwrap();
        }
    };
    set(Role::Member).await;
    let before = t.snapshot().await;
    rename("Two").await.assert_problem(403, "forbidden");
    admin.get(&path).await.json(200);
    assert_eq!(before, t.snapshot().await);
    set(Role::Admin).await;
    rename("Three").await.json(200);
    t.app.db().take(&key, &Cond::item_exists()).await.unwrap();
    rename("Four").await.assert_problem(404, "not_found");
    admin.get(&path).await.assert_problem(404, "not_found");
    assert_eq!(owner.get(&path).await.json(200)["name"], "Three");
}

#[tokio::test]
async fn an_operator_needs_a_fresh_sign_in_and_sees_no_tenants_content() {
    let t = TestApp::new().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    let home = workspace(&owner).await;
    let operator = t.sign_up(OPERATOR, Plan::Agency).await;
    operator
        .get(&format!("/api/workspaces/{home}"))
        .await
        .assert_problem(404, "not_found");
    // Sixteen minutes after signing in, with a new access token of the same session.
    t.clock.advance(SignedDuration::from_mins(16));
    let session = t
        .stale(operator.user.unwrap(), SignedDuration::from_mins(16))
        .await;
    let before = t.snapshot().await;
    for route in routes::live().into_iter().filter(|r| r.audience == "operator") {
        let body = route.is_write().then(|| "{}".to_owned());
        let answer = session.once("k").send(&route.method, &route.path, body).await;
        answer.assert_problem(403, "step_up_required");
    }
    assert_eq!(before, t.snapshot().await);
}
