//! What each route costs in DynamoDB, as a snapshot: a change of cost shows up in review.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::auth::second_factor::shown;
use camarad::domain::plans::Plan;
use camarad::money::Cbt;
use camarad::store::cost::Cost;
use camarad_tests::app::{Answer, Client, MAIL_FROM, OPERATOR, Setup, TestApp};
use camarad_tests::billing::Shop;
use camarad_tests::engine;
use camarad_tests::peers::ai::{AiPeer, Options};
use camarad_tests::routes;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::desk::fund;
use super::quota::spend;

mod billing;
mod entry;
mod left_out;

use left_out::LEFT_OUT;

#[derive(Default)]
struct Ledger {
    seen: BTreeSet<String>,
    text: String,
}

impl Ledger {
    fn row(&mut self, route: &str, note: &str, answer: &Answer) {
        self.paid_row(route, note, answer, 0);
    }

    /// The same for what also asked Stripe, this often.
    fn paid_row(&mut self, route: &str, note: &str, answer: &Answer, asked: usize) {
        assert!(
            (200..300).contains(&answer.status),
            "{route}: {} {}",
            answer.status,
            answer.body
        );
        self.line(route, note, answer.cost, asked);
        self.seen.insert(route.to_owned());
    }

    fn line(&mut self, route: &str, note: &str, cost: Cost, asked: usize) {
        write!(
            self.text,
            "{route:<62} {note:<22} serial {:>2}  calls {:>2}  read {:>5}  write {:>5}",
            cost.serial, cost.calls, cost.rcu, cost.wcu
        )
        .unwrap();
        match asked {
            0 => self.text.push('\n'),
            _ => writeln!(self.text, "  Stripe {asked:>2}").unwrap(),
        }
    }
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

async fn workspaces(l: &mut Ledger, ann: &Client) -> String {
    let new = json!({"name": "Home", "type": "business"});
    let made = ann.post("/api/workspaces", new.clone()).await;
    l.row("POST /api/workspaces", "", &made);
    l.row(
        "POST /api/workspaces",
        "with a key",
        &ann.once("w").post("/api/workspaces", new.clone()).await,
    );
    l.row(
        "POST /api/workspaces",
        "the same key again",
        &ann.once("w").post("/api/workspaces", new).await,
    );
    let workspace = id(&made.json(201));
    let path = format!("/api/workspaces/{workspace}");
    l.row("GET /api/workspaces", "of two", &ann.get("/api/workspaces").await);
    l.row("GET /api/workspaces/{id}", "", &ann.get(&path).await);
    l.row(
        "PATCH /api/workspaces/{id}",
        "",
        &ann.patch(&path, json!({"name": "Office"})).await,
    );
    let settings = format!("{path}/settings");
    l.row("GET /api/workspaces/{id}/settings", "", &ann.get(&settings).await);
    l.row(
        "PATCH /api/workspaces/{id}/settings",
        "",
        &ann.patch(&settings, json!({"auditRetentionDays": 365})).await,
    );
    let allocation = format!("{path}/allocation");
    l.row(
        "PUT /api/workspaces/{id}/allocation",
        "",
        &ann.put(&allocation, json!({"limit": "1000000"})).await,
    );
    l.row(
        "GET /api/workspaces/{id}/allocation",
        "",
        &ann.get(&allocation).await,
    );
    l.row(
        "GET /api/workspaces/{id}/members",
        "",
        &ann.get(&format!("{path}/members")).await,
    );
    workspace
}

async fn agents(l: &mut Ledger, ann: &Client, workspace: &str) -> String {
    let path = format!("/api/workspaces/{workspace}/agents");
    let made = ann.post(&path, json!({"presetIds": ["ceo", "cto"]})).await;
    l.row("POST /api/workspaces/{id}/agents", "two", &made);
    let items = made.json(201);
    let (agent, other) = (id(&items["items"][0]), id(&items["items"][1]));
    l.row("GET /api/workspaces/{id}/agents", "of two", &ann.get(&path).await);
    l.row(
        "GET /api/agents/{id}",
        "",
        &ann.get(&format!("/api/agents/{agent}")).await,
    );
    l.row(
        "PATCH /api/agents/{id}",
        "",
        &ann.patch(&format!("/api/agents/{agent}"), json!({"name": "Chief"}))
            .await,
    );
    l.row(
        "DELETE /api/agents/{id}",
        "",
        &ann.delete(&format!("/api/agents/{other}")).await,
    );
    l.row("GET /api/agent-presets", "", &ann.get("/api/agent-presets").await);
    agent
}

async fn calls(l: &mut Ledger, ann: &Client, agent: &str) {
    let path = format!("/api/agents/{agent}");
    let first = ann
        .once("c1")
        .post(
            &format!("{path}/chat"),
            json!({"message": "Where do we stand?", "maxTokens": 24}),
        )
        .await;
    l.row("POST /api/agents/{id}/chat", "new conversation", &first);
    let body = first.json(200);
    let conversation = body["conversationId"].as_str().unwrap().to_owned();
    let call = body["callId"].as_str().unwrap().to_owned();
    let next = json!({"message": "And then?", "conversationId": conversation, "maxTokens": 24});
    l.row(
        "POST /api/agents/{id}/chat",
        "its second turn",
        &ann.once("c2").post(&format!("{path}/chat"), next.clone()).await,
    );
    l.row(
        "POST /api/agents/{id}/chat",
        "the same key again",
        &ann.once("c2").post(&format!("{path}/chat"), next).await,
    );
    l.row(
        "GET /api/agents/{id}/calls/{callId}",
        "",
        &ann.get(&format!("{path}/calls/{call}")).await,
    );
    l.row(
        "GET /api/agents/{id}/conversations",
        "",
        &ann.get(&format!("{path}/conversations")).await,
    );
    let turns = format!("{path}/conversations/{conversation}/turns");
    l.row(
        "GET /api/agents/{id}/conversations/{conversationId}/turns",
        "of two",
        &ann.get(&turns).await,
    );
}

async fn person(l: &mut Ledger, ann: &Client) {
    l.row("GET /api/auth/session", "", &ann.get("/api/auth/session").await);
    l.row("GET /api/user", "", &ann.get("/api/user").await);
    l.row(
        "GET /api/user/security/identities",
        "of none",
        &ann.get("/api/user/security/identities").await,
    );
    l.row(
        "PATCH /api/user",
        "",
        &ann.patch("/api/user", json!({"name": "Ann"})).await,
    );
    let asked = ann.post("/api/user/export", json!({})).await;
    l.row("POST /api/user/export", "", &asked);
    let export = format!("/api/user/export/{}", id(&asked.json(201)));
    l.row("GET /api/user/export/{id}", "", &ann.get(&export).await);
    let preferences = "/api/user/preferences";
    l.row("GET /api/user/preferences", "", &ann.get(preferences).await);
    l.row(
        "PATCH /api/user/preferences",
        "",
        &ann.patch(preferences, json!({"theme": "dark"})).await,
    );
    l.row(
        "GET /api/user/subscription",
        "",
        &ann.get("/api/user/subscription").await,
    );
}

const SECURITY: &str = "/api/user/security";

async fn sessions_and_keys(l: &mut Ledger, t: &TestApp, ann: &Client) {
    let user = ann.user.unwrap();
    t.sign_in(user).await;
    let path = format!("{SECURITY}/sessions");
    let list = ann.get(&path).await;
    l.row("GET /api/user/security/sessions", "of two", &list);
    let other = id(&list.json(200)["items"][0]);
    let ended = ann.delete(&format!("{path}/{other}")).await;
    l.row("DELETE /api/user/security/sessions/{id}", "", &ended);
    t.sign_in(user).await;
    let ended = ann.post(&format!("{path}/revoke-others"), json!({})).await;
    l.row("POST /api/user/security/sessions/revoke-others", "one", &ended);
    let path = format!("{SECURITY}/api-keys");
    let made = ann
        .post(&path, json!({"name": "Robot", "scopes": ["user:read"]}))
        .await;
    l.row("POST /api/user/security/api-keys", "", &made);
    let list = ann.get(&path).await;
    l.row("GET /api/user/security/api-keys", "of one", &list);
    let program = t.anonymous().with_token(made.json(201)["key"].as_str().unwrap());
    l.row(
        "GET /api/user",
        "a key's first use",
        &program.get("/api/user").await,
    );
    l.row("GET /api/user", "with a key", &program.get("/api/user").await);
    let gone = ann
        .delete(&format!("{path}/{}", id(&list.json(200)["items"][0])))
        .await;
    l.row("DELETE /api/user/security/api-keys/{id}", "", &gone);
}

async fn second_factor(l: &mut Ledger, t: &TestApp, ann: &Client) {
    let path = format!("{SECURITY}/2fa");
    let setup = ann.post(&path, json!({})).await;
    l.row("POST /api/user/security/2fa", "", &setup);
    let setup = setup.json(200);
    let code = || json!({"code": shown(setup["secret"].as_str().unwrap(), t.app.clock().now()).unwrap()});
    let on = ann.post(&format!("{path}/verify"), code()).await;
    l.row("POST /api/user/security/2fa/verify", "", &on);
    l.row("GET /api/user/security/2fa", "", &ann.get(&path).await);
    let codes = ann.post(&format!("{path}/recovery-codes"), json!({})).await;
    l.row("POST /api/user/security/2fa/recovery-codes", "", &codes);
    t.clock.advance(SignedDuration::from_secs(60));
    let fresh = ann.post("/api/auth/step-up", code()).await;
    l.row("POST /api/auth/step-up", "with a code", &fresh);
    l.row("DELETE /api/user/security/2fa", "", &ann.delete(&path).await);
}

async fn debit(l: &mut Ledger, t: &TestApp, operator: &Client, (ann, agent): (&Client, &str)) {
    let service = t
        .api_key(operator.user.unwrap(), &[KeyScope::LedgerConsume], None)
        .await;
    let picture = json!({"userId": ann.user, "agentId": agent, "amount": "1", "reason": "a picture"});
    for note in ["", "the same key again"] {
        let answer = service
            .once("p")
            .post("/api/ledger/consume", picture.clone())
            .await;
        l.row("POST /api/ledger/consume", note, &answer);
    }
}

async fn money(l: &mut Ledger, t: &TestApp, ann: &Client, (workspace, agent): (&str, &str)) {
    let operator = t.sign_up(OPERATOR, Plan::Personal).await;
    let grant = json!({"userId": ann.user, "amount": "10", "reason": "goodwill"});
    l.row(
        "POST /api/ledger/grant",
        "",
        &operator.once("g").post("/api/ledger/grant", grant).await,
    );
    let guest = t.newcomer("taken.over@example.com").await.user.unwrap();
    let path = format!("/api/users/{guest}/sessions/revoke");
    l.row(
        "POST /api/users/{id}/sessions/revoke",
        "of one session",
        &operator.once("e").post(&path, json!({})).await,
    );
    debit(l, t, &operator, (ann, agent)).await;
    let call = spend(&t.app, ann.user.unwrap(), 60).await;
    let refund = json!({"callId": call, "reason": "goodwill"});
    let refund = operator.once("r").post("/api/ledger/refund", refund).await;
    l.row("POST /api/ledger/refund", "of a call of just now", &refund);
    entry::recorded(l, t, operator.user.unwrap()).await;
    l.row("GET /api/ledger", "", &ann.get("/api/ledger").await);
    l.row(
        "GET /api/ledger/export",
        "of a few entries",
        &ann.get("/api/ledger/export").await,
    );
    let log = |format: &str| format!("/api/workspaces/{workspace}/audit-logs{format}");
    l.row(
        "GET /api/workspaces/{id}/audit-logs",
        "",
        &ann.get(&log("")).await,
    );
    l.row(
        "GET /api/workspaces/{id}/audit-logs/export",
        "until its head",
        &ann.get(&log("/export")).await,
    );
    l.row(
        "GET /api/user/audit-logs",
        "",
        &ann.get("/api/user/audit-logs").await,
    );
    l.row(
        "GET /api/user/audit-logs/export",
        "until its head",
        &ann.get("/api/user/audit-logs/export").await,
    );
    l.row(
        "GET /api/audit-logs",
        "16 shards",
        &operator.get("/api/audit-logs").await,
    );
    l.row(
        "GET /api/audit-logs/export",
        "until its head",
        &operator.get("/api/audit-logs/export").await,
    );
    l.row(
        "GET /api/ledger/balance",
        "",
        &ann.get("/api/ledger/balance").await,
    );
    l.row(
        "GET /api/notifications",
        "of none",
        &ann.get("/api/notifications").await,
    );
    l.row(
        "GET /api/usage",
        "",
        &ann.get(&format!("/api/usage?workspaceId={workspace}")).await,
    );
    for (route, note, rest) in [
        ("stats", "in UTC", ""),
        ("stats", "in another zone", "&timezone=Europe/Bucharest"),
        ("breakdown", "in UTC", ""),
        ("export", "until its head", ""),
    ] {
        let answer = ann
            .get(&format!("/api/usage/{route}?workspaceId={workspace}{rest}"))
            .await;
        l.row(&format!("GET /api/usage/{route}"), note, &answer);
    }
    for (route, rest) in [("stats", ""), ("breakdown", "?groupBy=workspace")] {
        let answer = ann.get(&format!("/api/usage/{route}{rest}")).await;
        l.row(
            &format!("GET /api/usage/{route}"),
            "of all one owns (two)",
            &answer,
        );
    }
}

/// So slow that a call's checkpoint, which runs beside it, always ends before the call does.
fn at_leisure() -> Options {
    let chunk_delay = Duration::from_millis(8);
    Options {
        chunk_delay,
        ..Options::default()
    }
}

#[tokio::test]
async fn every_route_costs_what_it_is_known_to_cost() {
    // dynoxide reports what every operation consumed; MiniStack is silent about batch reads.
    let setup = Setup {
        ai: Some(AiPeer::start_with(at_leisure()).await.unwrap()),
        db: Some(engine::dynoxide().await),
        mail_from: Some(MAIL_FROM.into()),
        ..Setup::default()
    };
    let shop = Shop::with(setup).await;
    let t = &shop.t;
    // Whole milliseconds, as their text is about as long in each run, and with it what is stored.
    let beyond = i64::from(t.app.clock().now().subsec_nanosecond());
    t.clock
        .advance(SignedDuration::from_nanos(1_000_000_000 - beyond));
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    fund(t, ann.user.unwrap(), Cbt::whole(1_000)).await;
    let mut l = Ledger::default();
    let workspace = workspaces(&mut l, &ann).await;
    let agent = agents(&mut l, &ann, &workspace).await;
    calls(&mut l, &ann, &agent).await;
    person(&mut l, &ann).await;
    sessions_and_keys(&mut l, t, &ann).await;
    second_factor(&mut l, t, &ann).await;
    money(&mut l, t, &ann, (&workspace, &agent)).await;
    for path in [
        "/.well-known/jwks.json",
        "/.well-known/audit-keys.json",
        "/api/auth/providers",
        "/api/health",
        "/api/health/ready",
        "/openapi.json",
        "/docs",
    ] {
        l.row(&format!("GET {path}"), "", &t.anonymous().get(path).await);
    }
    entry::mailed_links(&mut l, t).await;
    l.row(
        "DELETE /api/workspaces/{id}",
        "",
        &ann.delete(&format!("/api/workspaces/{workspace}")).await,
    );
    l.row(
        "POST /api/auth/logout",
        "",
        &ann.post("/api/auth/logout", json!({})).await,
    );
    billing::billing(&mut l, &shop).await;
    entry::lives(&mut l, t).await;

    let told: BTreeSet<_> = l
        .seen
        .iter()
        .cloned()
        .chain(LEFT_OUT.iter().map(|(route, _)| (*route).to_owned()))
        .collect();
    let live = routes::live();
    let live: BTreeSet<_> = live.iter().map(routes::Route::name).collect();
    assert_eq!(told, live, "every route is measured, or left out for a reason");
    insta::assert_snapshot!("cost", l.text);
}
