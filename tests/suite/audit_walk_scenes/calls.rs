//! The writes of agents and their calls.

use std::time::Duration;

use camarad::domain::auth::api_keys::KeyScope;
use camarad::domain::plans::Plan;
use camarad::money::Cbt;
use camarad_tests::app::{Client, OPERATOR};
use camarad_tests::peers::ai::Behaviour;
use camarad_tests::routes::Route;
use futures_util::StreamExt;
use serde_json::json;

use super::{BROWSER, Ready, World, ready};
use crate::desk::{agent, fund, say, workspace};

impl World {
    pub(super) async fn debit(&self) -> Ready {
        let ann = self.person("ann").await;
        let home = workspace(&ann).await;
        let agent = agent(&ann, &home).await;
        fund(&self.t, ann.user.unwrap(), Cbt::whole(100)).await;
        let owner = match self.operator().await {
            Some(known) => known,
            None => self.t.sign_up(OPERATOR, Plan::Personal).await.user.unwrap(),
        };
        let program = self.t.api_key(owner, &[KeyScope::LedgerConsume], None).await;
        // When a key was used last is noted, whatever comes of it.
        program.post("/api/ledger/consume", json!({})).await;
        let body = json!({"userId": ann.user, "agentId": agent, "amount": "1", "reason": "a picture"});
        Ready {
            user: Some(owner),
            ..ready(
                program.header("User-Agent", BROWSER).once("debit"),
                "/api/ledger/consume",
                Some(body),
            )
        }
    }

    pub(super) async fn agents(&self, route: &Route) -> Option<Ready> {
        let ann = self.person("ann").await;
        let home = workspace(&ann).await;
        let agent = agent(&ann, &home).await;
        let path = route.path.replace("{id}", &agent);
        let body = match route.name().as_str() {
            "PATCH /api/agents/{id}" => Some(json!({"name": "Boss"})),
            "DELETE /api/agents/{id}" => None,
            "POST /api/agents/{id}/chat" | "POST /api/agents/{id}/stream" => {
                fund(&self.t, ann.user.unwrap(), Cbt::whole(100)).await;
                return Some(ready(ann.once("call"), &path, Some(say("Hello"))));
            }
            "POST /api/agents/{id}/calls/{callId}/stop" => {
                fund(&self.t, ann.user.unwrap(), Cbt::whole(100)).await;
                let call = self.running(&ann, &agent).await;
                return Some(ready(ann, &path.replace("{callId}", &call), None));
            }
            _ => return None,
        };
        Some(ready(ann, &path, body))
    }

    /// The id of a call that has begun and will not end for a while; nobody listens, and it goes on.
    async fn running(&self, who: &Client, agent: &str) -> String {
        let silent = Behaviour::StallAfter {
            chunks: 1,
            ms: 60_000,
        };
        let of = vec![Behaviour::text("a word or two and then silence"), silent];
        self.t.ai().push(Behaviour::All { of });
        let path = format!("/api/agents/{agent}/stream");
        let who = who.once("running");
        let asked = who.open("POST", &path, Some(say("Talk.").to_string()));
        let (_, mut events) = asked.await;
        let start = events.next().await.unwrap().unwrap();
        let start = String::from_utf8(start.to_vec()).unwrap();
        let id = start.split("\"callId\":\"").nth(1).unwrap();
        id.split('"').next().unwrap().to_owned()
    }

    /// Waits until the call of this path, if it is one, has come to its end.
    pub async fn settled(&self, path: &str) {
        let Some(call) = path
            .split("/calls/")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
        else {
            return;
        };
        let turn = format!("TURN#{call}");
        while !self.t.snapshot().await.iter().any(|item| item.contains(&turn)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
