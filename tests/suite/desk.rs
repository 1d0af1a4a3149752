//! What the stories of the AI call share: somebody with credit, a workspace and an agent, and an AI provider.

use std::time::Duration;

use camarad::domain::ledger::{self, Balance, Grant, Kind, Operation, Until};
use camarad::domain::plans::Plan;
use camarad::ids::{OperationId, UserId};
use camarad::money::{Cbt, Positive};
use camarad::store::PageRequest;
use camarad_tests::app::{Answer, Client, TestApp};
use camarad_tests::peers::ai::count_tokens;
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

/// Ann at her desk, with an agent to talk to.
pub struct Desk {
    pub t: TestApp,
    pub ann: Client,
    pub workspace: String,
    pub agent: String,
    credit: Cbt,
}

/// An event of an answer's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Ev {
    pub name: String,
    pub data: Value,
}

impl Desk {
    /// With 1,000 cbT.
    pub async fn open() -> Self {
        Self::with(Cbt::whole(1_000)).await
    }

    /// With so much; with nothing, in a trial whose cbT are still to come.
    pub async fn with(credit: Cbt) -> Self {
        let t = TestApp::with_ai().await;
        let ann = t.sign_up("ann@example.com", Plan::Business).await;
        if credit > Cbt::ZERO {
            fund(&t, ann.user.unwrap(), credit).await;
        }
        let workspace = workspace(&ann).await;
        let agent = agent(&ann, &workspace).await;
        Self {
            t,
            ann,
            workspace,
            agent,
            credit,
        }
    }

    pub fn chat_path(&self) -> String {
        format!("/api/agents/{}/chat", self.agent)
    }

    pub fn stream_path(&self) -> String {
        format!("/api/agents/{}/stream", self.agent)
    }

    pub async fn chat(&self, key: &str, body: Value) -> Answer {
        self.ann.once(key).post(&self.chat_path(), body).await
    }

    /// Asks, and reads the whole stream.
    pub async fn stream(&self, key: &str, body: Value) -> Vec<Ev> {
        let (head, events) = self.listen(&self.ann.once(key), body).await;
        assert_eq!(head.status, 200);
        events.collect().await
    }

    /// Asks, and gives the head and the events as they come.
    pub async fn listen(
        &self,
        who: &Client,
        body: Value,
    ) -> (http::response::Parts, impl Stream<Item = Ev> + Unpin + use<>) {
        let (head, bytes) = who
            .open("POST", &self.stream_path(), Some(body.to_string()))
            .await;
        let events = bytes.eventsource().map(|event| {
            let event = event.expect("the body ends well");
            Ev {
                name: event.event,
                data: serde_json::from_str(&event.data).expect("JSON"),
            }
        });
        (head, Box::pin(events))
    }

    pub async fn receipt(&self, call: &Value) -> Value {
        let path = format!("/api/agents/{}/calls/{}", self.agent, call.as_str().unwrap());
        self.ann.get(&path).await.json(200)
    }

    pub async fn turns(&self, conversation: &Value) -> Vec<Value> {
        let path = format!(
            "/api/agents/{}/conversations/{}/turns",
            self.agent,
            conversation.as_str().unwrap()
        );
        self.ann.get(&path).await.json(200)["items"]
            .as_array()
            .unwrap()
            .clone()
    }

    pub async fn balance(&self) -> Balance {
        ledger::balance(&self.t.app, self.ann.user.unwrap())
            .await
            .unwrap()
    }

    /// Waits until no call holds anything.
    pub async fn settled(&self) -> Balance {
        for _ in 0..600 {
            let balance = self.balance().await;
            if balance.held == Cbt::ZERO {
                return balance;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a hold never ended: {:?}", self.balance().await);
    }

    /// The ledger is exact, nothing is held, and exactly `spent` was spent.
    pub async fn assert_spent(&self, spent: Cbt) {
        assert_exact(&self.t, self.ann.user.unwrap(), self.credit, spent).await;
    }

    /// The kinds of all entries, oldest first.
    pub async fn kinds(&self) -> Vec<Kind> {
        let page = PageRequest::parse(Some("100"), None).unwrap();
        let entries = ledger::entries(&self.t.app, self.ann.user.unwrap(), &page)
            .await
            .unwrap();
        entries.items.iter().rev().map(|e| e.entry).collect()
    }
}

/// A workspace of this person.
pub async fn workspace(who: &Client) -> String {
    let made = who
        .post("/api/workspaces", json!({"name": "Studio", "type": "business"}))
        .await
        .json(201);
    made["id"].as_str().unwrap().to_owned()
}

/// An active agent in a workspace.
pub async fn agent(who: &Client, workspace: &str) -> String {
    let path = format!("/api/workspaces/{workspace}/agents");
    let made = who.post(&path, json!({"presetIds": ["ceo"]})).await.json(201);
    made["items"][0]["id"].as_str().unwrap().to_owned()
}

/// Gives an account cbT.
pub async fn fund(t: &TestApp, account: UserId, credit: Cbt) {
    let grant = Grant {
        operation: Operation::granted(OperationId::new(t.app.clock())),
        amount: Positive::new(credit).unwrap(),
        reason: "for a test".into(),
        until: Until::Unchanged,
        expires: None,
        grace: jiff::SignedDuration::ZERO,
        period: None,
    };
    ledger::grant(&t.app, account, &grant).await.unwrap();
}

/// All the ledger's invariants that its owner can see.
pub async fn assert_exact(t: &TestApp, account: UserId, credit: Cbt, spent: Cbt) {
    let balance = ledger::balance(&t.app, account).await.unwrap();
    assert_eq!(balance.held, Cbt::ZERO, "something is still held");
    assert_eq!(
        balance.balance,
        credit.checked_sub(spent).unwrap(),
        "spent {spent}"
    );
    let mut entries = Vec::new();
    let mut page = PageRequest::parse(Some("100"), None).unwrap();
    loop {
        let more = ledger::entries(&t.app, account, &page).await.unwrap();
        entries.extend(more.items);
        let Some(cursor) = more.next_cursor else { break };
        page = PageRequest::parse(Some("100"), Some(&cursor)).unwrap();
    }
    entries.reverse();
    let mut sum = Cbt::ZERO;
    let mut held = Cbt::ZERO;
    for (n, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, n as u64 + 1, "numbers have no gap");
        sum = sum.checked_add(entry.delta).unwrap();
        held = held.checked_add(entry.held).unwrap();
        assert_eq!(entry.balance, sum, "entry {}", entry.seq);
        assert!(held >= Cbt::ZERO && held <= sum, "entry {}", entry.seq);
    }
    assert_eq!((sum, held), (balance.balance, Cbt::ZERO));
}

/// Tokens that the provider counts in a request that it received.
pub fn tokens_read(body: &Value) -> u64 {
    let text = |v: &Value| count_tokens(v.as_str().unwrap_or_default());
    let messages = body["messages"].as_array().unwrap();
    text(&body["system"]) + messages.iter().map(|m| text(&m["content"])).sum::<u64>()
}

/// What gpt-4o-mini costs: USD 0.15 and 0.60 per million tokens, 500 pico-USD each micro-cbT.
pub fn mini(input: u64, output: u64) -> Cbt {
    Cbt::micro(i64::try_from(input * 300 + output * 1_200).unwrap())
}

/// A member of an object as an amount.
pub fn cbt(value: &Value) -> Cbt {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no amount: {value}"))
        .parse()
        .unwrap()
}

/// The texts of all deltas.
pub fn text(events: &[Ev]) -> String {
    let deltas = events.iter().filter(|e| e.name == "delta");
    deltas.map(|e| e.data["text"].as_str().unwrap()).collect()
}

/// The names of all events.
pub fn names(events: &[Ev]) -> Vec<&str> {
    events.iter().map(|e| e.name.as_str()).collect()
}

/// A message.
pub fn say(text: &str) -> Value {
    json!({ "message": text })
}
