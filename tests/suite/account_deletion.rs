//! Deleting an account: at once for whoever uses it, in the end for everything that is personal, whatever goes wrong.

use camarad::domain::ledger;
use camarad::domain::outbox;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::domain::users::deletion::{self, Deletion, Stage};
use camarad::domain::users::identity::{HeldEmail, Identity, LinkedIdentity};
use camarad::ids::{IdentityId, UserId};
use camarad::money::Cbt;
use camarad::store::keys;
use camarad_tests::app::{Answer, Client, TestApp};
use camarad_tests::peers::ai::Behaviour;
use futures_util::StreamExt;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::account_export::name_everything;
use crate::auth::scene;
use crate::desk::{agent, fund, say};
use crate::notifications::tell;

const EMAIL: &str = "annabel@example.com";
pub const NAME: &str = "Annabel Leeward";
const PICTURE: &str = "https://pictures.example/annabel.png";
const BROWSER: &str = "AnnabelsBrowser/7.0";
const ADDRESS: &str = "198.51.100.77";
const SAID: &str = "the treasure lies beneath the old oak";

pub async fn delete(who: &Client) -> Answer {
    who.send(
        "DELETE",
        "/api/user",
        Some(json!({"confirm": "DELETE"}).to_string()),
    )
    .await
}

/// Lets what was under way come to its end, and the job to its own.
async fn finish(t: &TestApp, user: UserId) {
    deletion::carry_on(&t.app, user).await.unwrap();
    t.clock.advance(SignedDuration::from_mins(17));
    deletion::carry_on(&t.app, user).await.unwrap();
    outbox::sweep(&t.app).await.unwrap();
}

/// What somebody has who has been here for a while: a profile, ways to sign in, a workspace of their own with an agent,
/// a place in another's, something said in both.
pub struct Life {
    pub ann: Client,
    pub bob: Client,
    pub own: String,
    pub shared: String,
}

pub async fn named(who: &Client, name: &str) -> String {
    let made = who
        .post("/api/workspaces", json!({"name": name, "type": "business"}))
        .await
        .json(201);
    made["id"].as_str().unwrap().to_owned()
}

pub async fn live(t: &TestApp, ann: Client) -> Life {
    let user = ann.user.unwrap();
    let ann = ann.header("User-Agent", BROWSER).from(ADDRESS);
    fund(t, user, Cbt::whole(1_000)).await;
    let patch = json!({"name": NAME, "avatarUrl": PICTURE});
    ann.once("annabels key").patch("/api/user", patch).await.json(200);
    ann.patch("/api/user/preferences", json!({"theme": "dark"}))
        .await
        .json(200);
    let own = named(&ann, &format!("{NAME}'s studio")).await;
    let her_agent = agent(&ann, &own).await;
    name_everything(&ann, &own, &her_agent).await;
    let bob = t.sign_up("bob@example.com", Plan::Business).await;
    let shared = named(&bob, "His").await;
    let his_agent = agent(&bob, &shared).await;
    join(t, &shared, user).await;
    for (n, agent) in [&her_agent, &his_agent].into_iter().enumerate() {
        let path = format!("/api/agents/{agent}/chat");
        ann.once(&format!("said {n}"))
            .post(&path, say(SAID))
            .await
            .json(200);
    }
    Life {
        ann,
        bob,
        own,
        shared,
    }
}

async fn join(t: &TestApp, workspace: &str, user: UserId) {
    use camarad::domain::workspaces::{Member, Membership};
    let workspace_id = workspace.parse().unwrap();
    let (role, joined_at) = (Role::Member, t.app.clock().now());
    let member = Member {
        workspace_id,
        user_id: user,
        role,
        joined_at,
    };
    let membership = Membership {
        workspace_id,
        user_id: user,
        role,
    };
    t.app.db().put(&member, None).await.unwrap();
    t.app.db().put(&membership, None).await.unwrap();
}

/// Somebody who signed up with a provider, written as sign-up writes them.
pub async fn signed_up(t: &TestApp) -> Client {
    let ann = t.sign_up(EMAIL, Plan::Business).await;
    let (user_id, linked_at) = (ann.user.unwrap(), t.app.clock().now());
    let identity = Identity {
        id: IdentityId::new(t.app.clock()),
        provider: "local".into(),
        subject: "annabels subject".into(),
        user_id,
        linked_at,
    };
    let held = HeldEmail {
        email: EMAIL.into(),
        user_id,
    };
    let db = t.app.db();
    db.put(&identity, None).await.unwrap();
    db.put(&held, None).await.unwrap();
    let linked = LinkedIdentity {
        identity,
        email: EMAIL.into(),
    };
    db.put(&linked, None).await.unwrap();
    tell(t, user_id, json!({"name": NAME})).await;
    ann
}

#[track_caller]
pub fn assert_nothing_personal(table: &[String]) {
    let personal = [EMAIL, "annabel", NAME, PICTURE, BROWSER, ADDRESS, SAID];
    for item in table {
        let lower = item.to_lowercase();
        let found = personal.iter().find(|p| lower.contains(&p.to_lowercase()));
        assert!(found.is_none(), "{found:?} is in {item}");
    }
}

#[tokio::test]
async fn a_deletion_is_meant_and_fresh_and_ends_everything_at_once() {
    let t = TestApp::new().await;
    let ann = signed_up(&t).await;
    let other = t.sign_in(ann.user.unwrap()).await;
    let before = t.snapshot().await;
    for body in [
        json!({}),
        json!({"confirm": "delete"}),
        json!({"confirm": "DELETE", "x": 1}),
    ] {
        let answer = ann.send("DELETE", "/api/user", Some(body.to_string())).await;
        answer.assert_problem(422, "invalid");
    }
    ann.get("/api/user/deletion")
        .await
        .assert_problem(404, "not_found");
    assert_eq!(before, t.snapshot().await);

    let accepted = delete(&ann).await.json(202);
    assert_eq!(accepted["status"], "deleting");
    let token = accepted["statusToken"].as_str().unwrap();
    for session in [&ann, &other] {
        session
            .patch("/api/user", json!({"name": "Ann"}))
            .await
            .assert_problem(401, "unauthenticated");
        session.get("/api/user").await.assert_problem(404, "not_found");
        // An access token may read until it ends.
        let status = session.get("/api/user/deletion").await.json(200);
        assert_eq!(
            (&status["status"], status.get("statusToken")),
            (&json!("deleting"), None)
        );
    }
    delete(&ann).await.assert_problem(401, "unauthenticated");

    let shown = |token: &str| {
        let visitor = t.anonymous().with_token(token);
        async move { visitor.get("/api/user/deletion").await }
    };
    assert_eq!(shown(token).await.json(200)["status"], "deleting");
    let user = ann.user.unwrap();
    let made_up = format!("del_{}.{}", user.body(), "A".repeat(43));
    for wrong in [made_up.as_str(), "del_x.y", &format!("{token}x")] {
        shown(wrong).await.assert_problem(401, "unauthenticated");
    }
    t.anonymous()
        .with_token(token)
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");

    finish(&t, user).await;
    let status = shown(token).await.json(200);
    assert_eq!(status["status"], "completed");
    assert!(status["removedAt"].as_str() < status["completedAt"].as_str());
}

#[tokio::test]
async fn an_old_sign_in_deletes_nothing() {
    let t = TestApp::new().await;
    let ann = signed_up(&t).await;
    let later = t.later(&ann, SignedDuration::from_mins(16)).await;
    let before = t.snapshot().await;
    delete(&later).await.assert_problem(403, "step_up_required");
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn shared_workspaces_come_first() {
    let t = TestApp::new().await;
    let ann = t.sign_up(EMAIL, Plan::Agency).await;
    let (shared, alone) = (named(&ann, "Shared").await, named(&ann, "Alone").await);
    let bob = t.join(&shared, Role::Member).await;
    let before = t.snapshot().await;
    let refused = delete(&ann).await.assert_problem(409, "owns_shared_workspaces");
    assert_eq!(refused["workspaceIds"], json!([shared]));
    assert_eq!(before, t.snapshot().await);

    ann.delete(&format!("/api/workspaces/{shared}"))
        .await
        .assert_empty(204);
    delete(&ann).await.json(202);
    finish(&t, ann.user.unwrap()).await;
    let left = t.snapshot().await;
    let rows = left
        .iter()
        .filter(|i| i.contains(&alone) && i.contains("S(\"META\")"));
    assert_eq!(rows.count(), 0, "what nobody shares is closed with the account");
    let bob = t.sign_in(bob.user.unwrap()).await;
    bob.get("/api/user").await.json(200);
}

#[tokio::test]
async fn afterwards_nothing_personal_is_in_the_table_and_the_ledger_still_adds_up() {
    let t = TestApp::with_ai().await;
    let ann = signed_up(&t).await;
    let user = ann.user.unwrap();
    let life = live(&t, ann).await;
    let table = t.snapshot().await;
    // Client and address are there sealed: in audit records, as the log shows.
    let log = life.ann.get("/api/user/audit-logs").await.body;
    assert!(log.contains(BROWSER) && log.contains(ADDRESS), "{log}");
    for value in [EMAIL, NAME, PICTURE, SAID] {
        assert!(table.iter().any(|i| i.contains(value)), "{value} was there");
    }
    let balance = ledger::balance(&t.app, user).await.unwrap();

    delete(&life.ann).await.json(202);
    finish(&t, user).await;
    let left = t.snapshot().await;
    assert_nothing_personal(&left);
    assert_eq!(ledger::balance(&t.app, user).await.unwrap(), balance);
    let of_hers: Vec<_> = left
        .iter()
        .filter(|i| i.contains(&format!("S(\"USER#{user}\")")))
        .collect();
    assert_eq!(of_hers.len(), 1, "{of_hers:#?}");
    assert!(of_hers[0].contains("S(\"ACCOUNT\")") && of_hers[0].contains("S(\"closed\")"));
    assert!(
        !left
            .iter()
            .any(|i| i.contains(&life.own) && i.contains("S(\"META\")"))
    );

    // Others have everything of theirs.
    let bob = t.sign_in(life.bob.user.unwrap()).await;
    let members = bob
        .get(&format!("/api/workspaces/{}/members", life.shared))
        .await
        .json(200);
    assert_eq!(members["items"].as_array().unwrap().len(), 1);
    let log = left
        .iter()
        .filter(|i| i.contains("S(\"member.removed\")") && i.contains(&life.shared));
    assert_eq!(log.count(), 1);
    assert!(left.iter().any(|i| i.contains("S(\"account.deleted\")")));
}

#[tokio::test]
async fn whoever_signs_up_with_the_same_address_is_a_new_person() {
    let s = scene().await;
    let first = s.tokens(EMAIL).await;
    let ann = s.as_bearer(&first);
    let user: UserId = ann.get("/api/user").await.json(200)["id"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    delete(&ann).await.json(202);
    // Until it is all gone, nobody comes in by the old door, and no new one is made beside it.
    s.whole("mode=token", EMAIL)
        .await
        .assert_problem(409, "account_deleting");
    let refresh = json!({"refreshToken": first["refreshToken"]});
    assert_eq!(
        s.t.anonymous().post("/api/auth/refresh", refresh).await.status,
        401
    );

    deletion::carry_on(&s.t.app, user).await.unwrap();
    let again = s.as_bearer(&s.tokens(EMAIL).await);
    let new = again.get("/api/user").await.json(200);
    assert_ne!(new["id"], user.to_string());
    // The old account's last step does not touch the new one.
    finish(&s.t, user).await;
    let held = s.t.app.db().get::<HeldEmail>(&keys::email(EMAIL)).await.unwrap();
    assert_eq!(held.unwrap().user_id.to_string(), new["id"]);
    let again = s.t.sign_in(new["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(again.get("/api/user").await.json(200)["email"], EMAIL);
}

#[tokio::test]
async fn a_call_that_runs_meanwhile_is_settled_and_leaves_nothing_that_was_said() {
    let t = TestApp::with_ai().await;
    let ann = signed_up(&t).await;
    let user = ann.user.unwrap();
    let life = live(&t, ann).await;
    let agents = life
        .bob
        .get(&format!("/api/workspaces/{}/agents", life.shared))
        .await
        .json(200);
    let path = format!(
        "/api/agents/{}/stream",
        agents["items"][0]["id"].as_str().unwrap()
    );
    t.ai().push(Behaviour::All {
        of: vec![
            Behaviour::text("word ".repeat(200)),
            Behaviour::Slow { chunk_delay_ms: 20 },
        ],
    });
    let (head, mut body) = life
        .ann
        .once("runs")
        .open("POST", &path, Some(say(SAID).to_string()))
        .await;
    assert_eq!(head.status, 200);
    body.next().await.unwrap().unwrap();

    delete(&life.ann).await.json(202);
    deletion::carry_on(&t.app, user).await.unwrap();
    let rest: Vec<_> = body.map(|chunk| chunk.unwrap()).collect().await;
    assert!(
        String::from_utf8(rest.concat()).unwrap().contains("event: done"),
        "it was settled"
    );
    let held = ledger::balance(&t.app, user).await.unwrap().held;
    assert_eq!(held, Cbt::ZERO);

    finish(&t, user).await;
    assert_nothing_personal(&t.snapshot().await);
}

#[tokio::test]
async fn what_happens_to_the_event_does_no_harm() {
    let t = TestApp::with_ai().await;
    let life = live(&t, signed_up(&t).await).await;
    let user = life.ann.user.unwrap();
    deletion::carry_on(&t.app, life.bob.user.unwrap()).await.unwrap();
    life.bob.get("/api/user").await.json(200);
    delete(&life.ann).await.json(202);
    // Twice at once, then lost: the sweeper comes by the index.
    let (a, b) = tokio::join!(deletion::carry_on(&t.app, user), deletion::carry_on(&t.app, user));
    assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
    let swept = deletion::sweep(&t.app).await.unwrap();
    assert_eq!(
        swept.due, 0,
        "nothing is due before what was under way must have ended"
    );
    t.clock.advance(SignedDuration::from_mins(17));
    let swept = deletion::sweep(&t.app).await.unwrap();
    assert_eq!((swept.due, swept.failed), (1, 0));
    assert_eq!(deletion::sweep(&t.app).await.unwrap().due, 0);
    deletion::carry_on(&t.app, user).await.unwrap();
    let left = t
        .app
        .db()
        .get::<Deletion>(&keys::deletion(user))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(left.stage, Stage::Completed);
    outbox::sweep(&t.app).await.unwrap();
    assert_nothing_personal(&t.snapshot().await);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_is_told_yes_and_no_session_stays() {
    let t = TestApp::new().await;
    let ann = signed_up(&t).await;
    let user = ann.user.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..60 {
        sessions.push(t.sign_in(user).await);
    }
    let answers = futures_util::future::join_all(sessions[..4].iter().map(delete)).await;
    let mut statuses: Vec<_> = answers.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[0], 202, "{statuses:?}");
    assert!(
        statuses[1..].iter().all(|s| [401, 404].contains(s)),
        "{statuses:?}"
    );
    for session in &sessions {
        let refused = session.patch("/api/user", json!({"name": "X"})).await;
        refused.assert_problem(401, "unauthenticated");
    }
    let requested = t.snapshot().await;
    let records = requested
        .iter()
        .filter(|i| i.contains("\"action\": S(\"account.deleted\")"));
    assert_eq!(records.count(), 1);
}

/// What the log of a workspace tells of somebody who left is no name.
#[tokio::test]
async fn a_deleted_person_is_an_id_in_the_logs_of_others() {
    let t = TestApp::with_ai().await;
    let life = live(&t, signed_up(&t).await).await;
    let user = life.ann.user.unwrap();
    delete(&life.ann).await.json(202);
    finish(&t, user).await;
    let told = crate::auth::audits(&t, &life.shared).await;
    let removed: Vec<&Value> = told
        .iter()
        .filter(|(action, _)| action == "member.removed")
        .map(|(_, detail)| detail)
        .collect();
    assert_eq!(removed, [&json!({"reason": "account.deleted"})]);
}
