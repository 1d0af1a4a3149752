//! The route walk: every live route, by nobody, by a stranger, and by each role. What routes.tsv says, holds.

use camarad::domain::auth::api_keys::{ApiKeyToken, KeyScope, Realm};
use camarad::domain::permissions::{Permission, Role};
use camarad::domain::plans::Plan;
use camarad::ids::{AgentId, CallId, ConversationId, WorkspaceId};
use camarad_tests::app::{Answer, Client, TestApp};
use camarad_tests::routes::{self, Route};
use serde_json::{Value, json};

/// The path with its variables filled in: `{id}` is a workspace's or an agent's, by where it stands.
fn fill(t: &TestApp, route: &Route, workspace: &str, agent: &str) -> String {
    let clock = t.app.clock();
    let id = if route.path.contains("/agents/{id}") {
        agent
    } else {
        workspace
    };
    let path = route
        .path
        .replace("{id}", id)
        .replace("{callId}", &CallId::new(clock).to_string())
        .replace("{conversationId}", &ConversationId::new(clock).to_string())
        .replace("{provider}", "none");
    if route.path.starts_with("/api/usage") && route.audience == "member" {
        format!("{path}?workspaceId={workspace}")
    } else {
        path
    }
}

async fn call(client: &Client, route: &Route, path: &str) -> Answer {
    let client = if route.is_write() {
        client.once(&format!("walk {path} {:?}", client.user))
    } else {
        client.clone()
    };
    client
        .send(&route.method, path, route.is_write().then(|| "{}".to_owned()))
        .await
}

/// An answer without what differs from request to request.
fn essence(answer: &Answer) -> (u16, Value) {
    let mut body: Value = serde_json::from_str(&answer.body).unwrap_or(Value::Null);
    if let Some(problem) = body.as_object_mut() {
        problem.remove("requestId");
    }
    (answer.status, body)
}

struct Home {
    workspace: String,
    agent: String,
    owner: Client,
}

/// A workspace with an agent; `name` tells its owner from those of others.
async fn home(t: &TestApp, name: &str) -> Home {
    let owner = t
        .sign_up(
            &format!("{}@example.com", camarad::store::keys::digest(name)),
            Plan::Agency,
        )
        .await;
    let workspace = owner
        .post("/api/workspaces", json!({"name": "Home", "type": "agency"}))
        .await
        .json(201);
    let workspace = workspace["id"].as_str().unwrap().to_owned();
    let agents = owner
        .post(
            &format!("/api/workspaces/{workspace}/agents"),
            json!({"presetIds": ["ceo"]}),
        )
        .await
        .json(201);
    let agent = agents["items"][0]["id"].as_str().unwrap().to_owned();
    Home {
        workspace,
        agent,
        owner,
    }
}

#[tokio::test]
async fn without_a_token_every_route_but_the_public_ones_answers_401_and_nothing_changes() {
    let t = TestApp::new().await;
    let h = home(&t, "home").await;
    let before = t.snapshot().await;
    for route in routes::live() {
        let path = fill(&t, &route, &h.workspace, &h.agent);
        let answer = call(&t.anonymous(), &route, &path).await;
        if route.audience == "public" {
            let own = route.path == "/api/auth/refresh"; // its credential is the refresh token
            assert!(answer.status < 500, "{}: {}", route.name(), answer.body);
            assert!(
                own || answer.status != 401,
                "{} is public: {}",
                route.name(),
                answer.body
            );
        } else {
            answer.assert_problem(401, "unauthenticated");
            assert!(
                answer
                    .header("www-authenticate")
                    .is_some_and(|v| v.starts_with("Bearer")),
                "{}",
                route.name()
            );
        }
    }
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn the_public_routes_are_these_and_no_more() {
    let public: Vec<_> = routes::live()
        .into_iter()
        .filter(|r| r.audience == "public")
        .map(|r| r.name())
        .collect();
    assert_eq!(
        public,
        [
            "GET /.well-known/jwks.json",
            "GET /api/auth/providers",
            "GET /api/auth/{provider}/login",
            "GET /api/auth/{provider}/callback",
            "POST /api/auth/refresh",
            "GET /api/agent-presets",
            "GET /api/health",
            "GET /api/health/ready",
            "GET /openapi.json",
            "GET /docs",
            "POST /api/auth/2fa",
            "POST /api/auth/magic-link",
            "GET /api/auth/magic-link/verify",
            "POST /api/auth/magic-link/verify",
            "GET /.well-known/audit-keys.json",
        ]
    );
}

#[tokio::test]
async fn a_foreign_workspace_and_a_missing_one_look_alike_and_nothing_changes() {
    let t = TestApp::new().await;
    let h = home(&t, "home").await;
    let stranger = t.sign_up("stranger@example.com", Plan::Agency).await;
    let missing = WorkspaceId::new(t.app.clock());
    let missing_agent = AgentId::new(missing, t.app.clock());
    let before = t.snapshot().await;
    for route in routes::live().into_iter().filter(|r| r.audience == "member") {
        let foreign = call(&stranger, &route, &fill(&t, &route, &h.workspace, &h.agent)).await;
        let absent = call(
            &stranger,
            &route,
            &fill(&t, &route, &missing.to_string(), &missing_agent.to_string()),
        )
        .await;
        foreign.assert_problem(404, "not_found");
        assert_eq!(essence(&foreign), essence(&absent), "{}", route.name());
        let nonsense = call(&stranger, &route, &fill(&t, &route, "not-an-id", "not-an-id")).await;
        assert_eq!(essence(&foreign), essence(&nonsense), "{}", route.name());
    }
    assert_eq!(before, t.snapshot().await);
}

#[tokio::test]
async fn each_role_may_what_the_list_says_and_no_more() {
    let t = TestApp::new().await;
    for route in routes::live().into_iter().filter(|r| r.audience == "member") {
        let permission = *Permission::ALL
            .iter()
            .find(|p| p.as_str() == route.permission)
            .unwrap();
        let h = home(&t, &route.name()).await;
        for role in Role::ALL {
            let client = match role {
                Role::Owner => h.owner.clone(),
                role => t.join(&h.workspace, role).await,
            };
            if role.may(permission)
                && role == Role::Owner
                && route.path == "/api/workspaces/{id}"
                && route.method == "DELETE"
            {
                continue; // tried last, below
            }
            let before = t.snapshot().await;
            let answer = call(&client, &route, &fill(&t, &route, &h.workspace, &h.agent)).await;
            if role.may(permission) {
                // A call or conversation that there is not; an agent that the owner, who comes first, has deleted.
                let made_up = route.path.contains("Id}") || (route.method == "DELETE" && role != Role::Owner);
                let refused = [401, 403].contains(&answer.status) || answer.status >= 500;
                assert!(
                    !refused && (made_up || answer.status != 404),
                    "{} as {role:?}: {}",
                    route.name(),
                    answer.body
                );
            } else {
                answer.assert_problem(403, "forbidden");
                assert_eq!(
                    before,
                    t.snapshot().await,
                    "{} as {role:?} changed something",
                    route.name()
                );
            }
        }
        if route.path == "/api/workspaces/{id}" && route.method == "DELETE" {
            call(&h.owner, &route, &fill(&t, &route, &h.workspace, &h.agent))
                .await
                .assert_empty(204);
        }
    }
}

#[tokio::test]
async fn no_workspace_role_reaches_an_operators_route() {
    let t = TestApp::new().await;
    let h = home(&t, "home").await;
    for route in routes::live().into_iter().filter(|r| r.audience == "operator") {
        for role in Role::ALL {
            let client = if role == Role::Owner {
                h.owner.clone()
            } else {
                t.join(&h.workspace, role).await
            };
            let before = t.snapshot().await;
            call(&client, &route, &route.path)
                .await
                .assert_problem(403, "forbidden");
            assert_eq!(before, t.snapshot().await);
        }
    }
}

#[tokio::test]
async fn an_api_key_reaches_what_its_scopes_name_and_nothing_else() {
    let t = TestApp::new().await;
    let asked_who = |r: &Route| !["public", "webhook"].contains(&r.audience.as_str());
    for route in routes::live().into_iter().filter(asked_who) {
        let h = home(&t, &route.name()).await;
        let path = fill(&t, &route, &h.workspace, &h.agent);
        let owner = h.owner.user.unwrap();
        let needed = KeyScope::parse(&route.scope);
        let others: Vec<_> = KeyScope::ALL
            .iter()
            .copied()
            .filter(|s| Some(*s) != needed)
            .collect();
        let program = t.api_key(owner, &others, None).await;
        let before = without_keys(&t).await;
        let answer = call(&program, &route, &path).await;
        answer.assert_problem(403, "insufficient_scope");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        assert_eq!(
            needed.is_some_and(|s| challenge.contains(s.as_str())),
            needed.is_some(),
            "{challenge}"
        );
        assert_eq!(before, without_keys(&t).await, "{}", route.name());
        if let Some(scope) = needed {
            let answer = call(&t.api_key(owner, &[scope], None).await, &route, &path).await;
            let refused = [401, 403].contains(&answer.status) || answer.status >= 500;
            // A key with a scope of services is good in the hands of an operator alone.
            assert_eq!(
                refused,
                scope.is_of_services(),
                "{}: {}",
                route.name(),
                answer.body
            );
        }
    }
}

/// Everything but keys, which tell when they were used.
async fn without_keys(t: &TestApp) -> Vec<String> {
    let all = t.snapshot().await.into_iter();
    all.filter(|item| !item.contains("\"KEY#")).collect()
}

#[tokio::test]
async fn an_api_key_that_was_made_up_learns_nothing_and_changes_nothing() {
    let t = TestApp::new().await;
    let h = home(&t, "home").await;
    let real = t.api_key(h.owner.user.unwrap(), KeyScope::ALL, None).await;
    let forged = with_another_secret(real.token.as_deref().unwrap());
    let before = t.snapshot().await;
    for route in routes::live().into_iter().filter(|r| r.audience != "public") {
        // So seldom that no limit speaks first.
        t.clock.advance(jiff::SignedDuration::from_secs(8));
        for (workspace, agent) in [
            (h.workspace.as_str(), h.agent.as_str()),
            ("not-an-id", "not-an-id"),
        ] {
            let path = fill(&t, &route, workspace, agent);
            for token in [forged.as_str(), &format!("{forged}0"), "cbk_", "cbk_live_"] {
                call(&h.owner.with_token(token), &route, &path)
                    .await
                    .assert_problem(401, "unauthenticated");
            }
        }
    }
    assert_eq!(before, t.snapshot().await);
    // Its requests were counted against itself, not against the key whose ids it has.
    real.get("/api/user").await.json(200);
}

/// The ids of a key, with another secret and the checksum that fits.
pub fn with_another_secret(real: &str) -> String {
    let realm = Realm::Test;
    let real = ApiKeyToken::parse(realm, real).unwrap();
    let mut forged = ApiKeyToken::new(realm, real.user, &camarad::clock::SystemClock);
    forged.id = real.id;
    forged.expose()
}

#[tokio::test]
async fn a_token_that_is_not_ours_opens_nothing() {
    let t = TestApp::new().await;
    let h = home(&t, "home").await;
    let good = h.owner.token.clone().unwrap();
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let none = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"none","typ":"at+jwt"}"#);
    let hs = data_encoding::BASE64URL_NOPAD.encode(br#"{"alg":"HS256","typ":"at+jwt"}"#);
    let flipped: String = signature.chars().rev().collect();
    let bad = [
        "",
        "x",
        "..",
        "a.b.c",
        &format!("{none}.{claims}."),
        &format!("{hs}.{claims}.{signature}"),
        &format!("{head}.{claims}.{flipped}"),
        &format!("{head}.{claims}"),
    ];
    for token in bad {
        h.owner
            .with_token(token)
            .get("/api/user")
            .await
            .assert_problem(401, "unauthenticated");
    }
    h.owner.get("/api/user").await.json(200);
    t.clock.advance(jiff::SignedDuration::from_mins(11));
    h.owner
        .get("/api/user")
        .await
        .assert_problem(401, "unauthenticated");
}
