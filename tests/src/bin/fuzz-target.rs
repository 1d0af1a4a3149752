//! The API for a fuzzer: all functions in this process, over HTTP, a table in memory and the Stripe peer. With each request the clock goes
//! on by seconds, so that no limit ends the run, and `Authorization: Bearer ann` becomes a fresh session of Ann's, who is an
//! operator too.
//!
//! Prints one line of JSON when it listens: where, and what there is. Ends when its standard input closes.

use std::io::Write;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use camarad::domain::plans::Plan;
use camarad::ids::UserId;
use camarad_tests::app::{Client, OPERATOR, Setup, TestApp};
use camarad_tests::billing::Shop;
use camarad_tests::engine;
use camarad_tests::parent::parent_gone;
use camarad_tests::peers::ai::AiPeer;
use jiff::SignedDuration;
use serde_json::{Value, json};

/// Ann, and where she works.
struct Target {
    t: TestApp,
    ann: UserId,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let ai = AiPeer::start().await.expect("the AI peer starts");
    let shop = Shop::with(Setup {
        ai: Some(ai),
        db: Some(engine::dynoxide().await),
        ..Setup::default()
    });
    let t = shop.await.t;
    let ann = t.sign_up(OPERATOR, Plan::Agency).await;
    let home = made(&ann, "/api/workspaces", json!({"name": "Home", "type": "agency"})).await;
    let workspace = home["id"].as_str().expect("an id").to_owned();
    let agents = format!("/api/workspaces/{workspace}/agents");
    let agents = made(&ann, &agents, json!({"presetIds": ["ceo"]})).await;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    let told = json!({"url": format!("http://{address}"), "workspace": workspace, "agent": agents["items"][0]["id"]});
    let service = t.service();
    let target = Arc::new(Target {
        ann: ann.user.expect("signed in"),
        t,
    });
    let service = service.layer(middleware::from_fn_with_state(target, known));
    let mut out = std::io::stdout();
    writeln!(out, "{told}")
        .and_then(|()| out.flush())
        .expect("somebody reads");
    let served = axum::serve(listener, service).with_graceful_shutdown(parent_gone());
    served.await.expect("it serves");
}

async fn made(who: &Client, path: &str, body: Value) -> Value {
    who.post(path, body).await.json(201)
}

async fn known(State(target): State<Arc<Target>>, mut request: Request, next: Next) -> Response {
    target.t.clock.advance(SignedDuration::from_secs(8));
    let is_ann = request
        .headers()
        .get("authorization")
        .is_some_and(|v| v == "Bearer ann");
    if is_ann {
        let token = target.t.sign_in(target.ann).await.token.expect("a token");
        let value = format!("Bearer {token}").parse().expect("a header value");
        request.headers_mut().insert("authorization", value);
    }
    next.run(request).await
}
