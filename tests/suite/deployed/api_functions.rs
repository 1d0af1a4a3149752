//! One story per function behind the API: it is wired, and its own role lets it do its work.

use std::sync::Arc;

use camarad::clock::{Clock, SystemClock};
use camarad::context::Context;
use camarad::domain::notifications::{self, Notice};
use camarad::domain::plans::Plan;
use camarad::domain::users::preferences::NotificationType;
use camarad::ids::UserId;
use camarad_tests::app::{OPERATOR, ORIGIN};
use camarad_tests::deployed::{self, PROVIDER, eventually};
use serde_json::json;

use super::{granted, text, workspace};
use crate::quota::spend;

#[tokio::test]
async fn auth_signs_in_renews_and_signs_out() {
    let d = deployed::shared().await;
    let anybody = d.visitor();
    let providers = anybody.get("/api/auth/providers").await.json(200);
    assert_eq!(providers["items"][0]["id"], PROVIDER);
    let keys = anybody.get("/.well-known/jwks.json").await.json(200);
    assert_eq!(keys["keys"][0]["alg"], "EdDSA", "{keys}");

    let ann = d.sign_in("auth").await;
    ann.get("/api/auth/session").await.json(200);
    let renewal = json!({"refreshToken": text(&ann.tokens, "refreshToken")});
    let renewed = anybody.post("/api/auth/refresh", renewal).await.json(200);
    let ann = anybody.with_token(&text(&renewed, "accessToken"));
    ann.get("/api/auth/session").await.json(200);
    ann.send("POST", "/api/auth/logout", None).await.assert_empty(204);
    let late = ann
        .post("/api/workspaces", json!({"name": "Late", "type": "personal"}))
        .await;
    late.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn users_reads_and_changes_a_profile() {
    let d = deployed::shared().await;
    let ann = d.sign_in("users").await;
    assert_eq!(ann.get("/api/user").await.json(200)["email"], "users@example.com");
    let change = json!({"name": "Ann"});
    ann.patch("/api/user", change)
        .await
        .assert_problem(428, "precondition_required");
    let changed = ann
        .header("if-match", "*")
        .patch("/api/user", json!({"name": "Ann", "timezone": "Europe/Paris"}))
        .await;
    assert_eq!(changed.json(200)["name"], "Ann");
    assert_eq!(ann.get("/api/user").await.json(200)["timezone"], "Europe/Paris");
    assert_eq!(
        ann.get("/api/user/subscription").await.json(200)["plan"],
        "business"
    );
}

#[tokio::test]
async fn workspaces_are_made_renamed_and_deleted() {
    let d = deployed::shared().await;
    let ann = d.sign_in("workspaces").await;
    let (id, _) = workspace(&ann, &["ceo"]).await;
    let path = format!("/api/workspaces/{id}");
    assert_eq!(
        ann.patch(&path, json!({"name": "Office"})).await.json(200)["name"],
        "Office"
    );
    assert_eq!(
        ann.get("/api/workspaces").await.json(200)["items"][0]["name"],
        "Office"
    );
    let members = ann.get(&format!("{path}/members")).await.json(200);
    assert_eq!(members["items"][0]["role"], "owner");
    ann.delete(&path).await.assert_empty(204);
    ann.get(&path).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn agents_are_made_from_presets_renamed_and_deleted() {
    let d = deployed::shared().await;
    let presets = d.visitor().get("/api/agent-presets").await.json(200);
    assert_eq!(presets["items"].as_array().map(Vec::len), Some(40));
    let ann = d.sign_in("agents").await;
    let (workspace, agents) = workspace(&ann, &["ceo", "cmo"]).await;
    let path = format!("/api/agents/{}", agents[0]);
    assert_eq!(
        ann.patch(&path, json!({"name": "Chief"})).await.json(200)["name"],
        "Chief"
    );
    ann.delete(&path).await.assert_empty(204);
    ann.get(&path).await.assert_problem(404, "not_found");
    let left = ann
        .get(&format!("/api/workspaces/{workspace}/agents"))
        .await
        .json(200);
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
}

#[tokio::test]
async fn ledger_grants_for_operators_and_for_nobody_else() {
    let d = deployed::shared().await;
    let ann = d.sign_in("ledger").await;
    assert_eq!(granted(&ann).await, "40000");
    let user = text(&ann.get("/api/user").await.json(200), "id");
    let order = json!({"userId": user, "amount": "12.5", "reason": "A gift"});
    ann.post("/api/ledger/grant", order.clone())
        .await
        .assert_problem(403, "forbidden");
    let operator = d.sign_in_as(OPERATOR, Plan::Personal).await;
    operator.post("/api/ledger/grant", order).await.json(201);
    assert_eq!(
        ann.get("/api/ledger/balance").await.json(200)["balance"],
        "40012.5"
    );
    assert_eq!(
        ann.get("/api/ledger").await.json(200)["items"][0]["reason"],
        "A gift"
    );
    let call = spend(&d.app(Arc::new(SystemClock)), user.parse().unwrap(), 60).await;
    let order = json!({"callId": call, "reason": "The answer was empty"});
    let back = operator.post("/api/ledger/refund", order).await.json(201);
    assert_eq!(back["amount"], "0.00006");
    assert_eq!(
        ann.get("/api/ledger/balance").await.json(200)["balance"],
        "40012.5"
    );
}

#[tokio::test]
async fn usage_shows_members_what_there_is_and_strangers_nothing() {
    let d = deployed::shared().await;
    let (ann, eve) = (d.sign_in("usage").await, d.sign_in("usage.stranger").await);
    let (workspace, _) = workspace(&ann, &["ceo"]).await;
    let path = format!("/api/usage?workspaceId={workspace}");
    assert_eq!(ann.get(&path).await.json(200)["items"], json!([]));
    let stats = ann
        .get(&format!("/api/usage/stats?workspaceId={workspace}"))
        .await
        .json(200);
    assert_eq!(stats["totals"]["calls"], 0);
    let owned = ann.get("/api/usage/stats?range=day&groupBy=workspace").await;
    assert_eq!(owned.json(200)["totals"]["calls"], 0);
    eve.get(&path).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn notifications_tells_a_person_what_was_raised_for_them() {
    let d = deployed::shared().await;
    let ann = d.sign_in("notifications").await;
    let user: UserId = text(&ann.get("/api/user").await.json(200), "id").parse().unwrap();
    let app = d.app(Arc::new(SystemClock));
    let cause = Context::system("story", SystemClock.now());
    let notice = Notice {
        user,
        kind: NotificationType::PaymentFailed,
        data: json!({"invoiceId": "in_1"}),
        dedupe: "in_1".into(),
    };
    let tx = notifications::stage(app.tx(&cause), &notice).unwrap();
    tx.run().await.unwrap();
    let told = eventually("notice", async || {
        let page = ann.get("/api/notifications").await.json(200);
        page["items"].get(0).cloned()
    })
    .await;
    assert_eq!(told["data"], notice.data);
    d.visitor()
        .get("/api/notifications")
        .await
        .assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn runtime_answers_whole_and_remembers() {
    let d = deployed::shared().await;
    let ann = d.sign_in("runtime").await;
    granted(&ann).await;
    let (_, agents) = workspace(&ann, &["ceo"]).await;
    let agent = format!("/api/agents/{}", agents[0]);
    let question = json!({"message": "What should we stop doing?"});
    let answer = d
        .post_streaming(&ann, &format!("{agent}/chat"), &question)
        .await
        .json(200);
    let conversation = text(&answer["receipt"], "conversationId");
    let found = ann.get(&format!("{agent}/conversations")).await.json(200);
    assert_eq!(found["items"][0]["id"], conversation.as_str(), "{found}");
    let turns = ann
        .get(&format!("{agent}/conversations/{conversation}/turns"))
        .await
        .json(200);
    assert!(
        turns.to_string().contains("What should we stop doing?"),
        "{turns}"
    );
    let refused = d
        .post_streaming(&d.visitor(), &format!("{agent}/chat"), &question)
        .await;
    refused.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn meta_answers_health_documents_and_preflights() {
    let d = deployed::shared().await;
    let anybody = d.visitor();
    for path in ["/api/health", "/api/health/ready", "/openapi.json", "/docs"] {
        let answer = anybody.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    }
    let browser = anybody.header("access-control-request-method", "POST");
    for (origin, allowed) in [(ORIGIN, Some(ORIGIN)), ("https://elsewhere.example", None)] {
        let answer = browser
            .header("origin", origin)
            .send("OPTIONS", "/api/workspaces", None)
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{answer:?}"
        );
    }
}
