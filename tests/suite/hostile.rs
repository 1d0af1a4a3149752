//! Hostile input through every body and every text field of every route that takes one: no 5xx, nothing that is no JSON
//! is taken, and what is accepted reads back as it was sent.

use std::ops::Deref;

use camarad::domain::plans::Plan;
use camarad_tests::app::{Answer, Client, Setup};
use camarad_tests::billing::Shop;
use camarad_tests::corpora::corpora;
use camarad_tests::peers::ai::AiPeer;
use camarad_tests::routes::{self, Route};
use camarad_tests::{dice, engine, openapi};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use crate::desk::{agent, fund, workspace};
use crate::onboarding_undone::{COMPLETE, wish};

/// Ann, who sends it.
struct Sender {
    shop: Shop,
    ann: Client,
    workspace: String,
    agent: String,
    /// Somebody who may begin an onboarding.
    newcomer: Option<Client>,
    sent: u32,
}

impl Deref for Sender {
    type Target = Shop;
    fn deref(&self) -> &Shop {
        &self.shop
    }
}

/// Routes that end what all other requests need.
const LEFT_OUT: [&str; 2] = ["DELETE /api/user", "POST /api/auth/logout"];

impl Sender {
    async fn new() -> Self {
        let shop = Shop::with(Setup {
            ai: Some(AiPeer::start().await.unwrap()),
            db: Some(engine::dynoxide().await),
            ..Setup::default()
        })
        .await;
        // An onboarding's steps have stories of their own; this is about what it is asked for with.
        shop.t.executions.hold(true);
        let ann = shop.t.sign_up("ann@example.com", Plan::Agency).await;
        fund(&shop.t, ann.user.unwrap(), camarad::money::Cbt::whole(100_000)).await;
        let workspace = workspace(&ann).await;
        let agent = agent(&ann, &workspace).await;
        Self {
            shop,
            ann,
            workspace,
            agent,
            newcomer: None,
            sent: 0,
        }
    }

    fn path(&self, route: &Route) -> String {
        let id = if route.path.contains("/agents/{id}") {
            &self.agent
        } else {
            &self.workspace
        };
        let path = route.path.replace("{id}", id);
        let parts = path
            .split('/')
            .map(|p| if p.starts_with('{') { "none" } else { p });
        parts.collect::<Vec<_>>().join("/")
    }

    /// Ann; where only a new person may, one.
    async fn who(&mut self, route: &Route) -> Client {
        if route.function != "onboarding" {
            return self.ann.clone();
        }
        match &self.newcomer {
            Some(known) if !self.sent.is_multiple_of(200) => known.clone(),
            _ => {
                let new = self.shop.t.newcomer(&format!("n{}@example.com", self.sent)).await;
                self.newcomer = Some(new.clone());
                new
            }
        }
    }

    /// Sends a body as it is; time goes on, so that no limit is met and no token grows old.
    async fn send(&mut self, route: &Route, body: &str) -> Answer {
        self.sent += 1;
        self.t.clock.advance(SignedDuration::from_millis(1_300));
        if self.sent.is_multiple_of(200) {
            self.ann = self.t.sign_in(self.ann.user.unwrap()).await;
        }
        let who = self.who(route).await.once(&format!("{}", self.sent));
        let answer = who
            .send(&route.method, &self.path(route), Some(body.to_owned()))
            .await;
        let shown: String = body.chars().take(200).collect();
        // 502 is what an AI provider's refusal becomes.
        assert!(
            answer.status < 500 || answer.status == 502,
            "{}: {shown}\n{}",
            route.name(),
            answer.body
        );
        if answer.status == 202 {
            self.newcomer = None; // it has begun
        }
        let own = route.audience == "public"; // its credential is in the body
        assert!(own || answer.status != 401, "{}: {}", route.name(), answer.body);
        answer
    }
}

/// Live routes with a body, with a sample of it.
fn with_bodies() -> Vec<(Route, Value)> {
    let document = openapi::document();
    let body = |route: &Route| {
        let operation = &document["paths"][&route.path][route.method.to_lowercase()];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        (!schema.is_null()).then(|| sample(&document, schema))
    };
    let found: Vec<_> = routes::live()
        .into_iter()
        .filter(|r| !LEFT_OUT.contains(&r.name().as_str()))
        // What Stripe sends is signed, and has a story of its own.
        .filter(|r| r.function != "stripe-webhook")
        .filter_map(|r| body(&r).map(|b| (r, b)))
        .collect();
    assert!(found.len() >= 9, "{}", found.len());
    found
}

/// A value of a schema, with all its fields.
fn sample(document: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        return sample(document, &document["components"]["schemas"][name]);
    }
    for word in ["oneOf", "anyOf", "allOf"] {
        let parts = schema[word].as_array();
        if let Some(part) = parts.into_iter().flatten().find(|p| p["type"] != "null") {
            return sample(document, part);
        }
    }
    if let Some(value) = schema["examples"].get(0).or_else(|| schema.get("example")) {
        return value.clone();
    }
    if let Some(value) = schema["enum"].get(0) {
        return value.clone();
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec!["object"],
    };
    match types.into_iter().find(|t| *t != "null") {
        Some("object") => {
            let fields = schema["properties"].as_object().cloned().unwrap_or_default();
            let values = fields.into_iter().map(|(name, s)| (name, sample(document, &s)));
            Value::Object(values.collect::<Map<_, _>>())
        }
        Some("array") => json!([sample(document, &schema["items"])]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        _ => json!("text"),
    }
}

/// Where a sample has text, as JSON pointers.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(at.to_owned()),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(n, v)| texts(v, &format!("{at}/{n}"), found)),
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, v)| texts(v, &format!("{at}/{name}"), found)),
        _ => {}
    }
}

/// The smallest body that has this field: the others would be refused for their samples.
fn alone(route: &Route, sample: &Value, at: &str, text: &str) -> Value {
    let mut body = match (route.method.as_str(), route.path.as_str()) {
        ("PATCH", _) if at.matches('/').count() == 1 => json!({}),
        (_, path) if path.ends_with("/chat") || path.ends_with("/stream") => {
            json!({"message": "x", "maxTokens": 1})
        }
        ("POST", "/api/billing/checkout") => json!({"planId": "personal"}),
        ("POST", "/api/billing/topup") => json!({"cbt": "10000"}),
        ("POST", "/api/billing/portal") => json!({}),
        ("POST", "/api/workspaces") => json!({"name": "x", "type": "personal"}),
        ("POST", COMPLETE) => wish(),
        _ => sample.clone(),
    };
    if let (Some(name), Some(fields)) = (
        at.strip_prefix('/').filter(|n| !n.contains('/')),
        body.as_object_mut(),
    ) {
        fields.insert(name.to_owned(), json!(text));
    } else {
        put(&mut body, at, text);
    }
    body
}

/// Puts a text in its place, whatever of the way there is missing.
fn put(body: &mut Value, at: &str, text: &str) {
    if let Some(place) = body.pointer_mut(at) {
        *place = json!(text);
    } else if let Some((object, name)) = at.rsplit_once('/') {
        if body.pointer(object).is_none() {
            put(body, object, "");
            *body.pointer_mut(object).unwrap() = json!({});
        }
        body.pointer_mut(object).unwrap()[name] = json!(text);
    }
}

/// Whether both are amounts, and the same one: `0.00` comes back as `0`.
fn same_amount(one: &str, other: &str) -> bool {
    let amount = |text: &str| serde_json::from_value::<camarad::money::Cbt>(json!(text)).ok();
    amount(one).is_some_and(|known| amount(other) == Some(known))
}

/// Checks that an answer repeats an accepted field as it was sent, but for spaces around it, and an amount for what it is.
fn assert_same(route: &Route, answer: &Value, at: &str, text: &str) {
    if let Some(back) = answer.pointer(at).and_then(Value::as_str) {
        assert!(
            back == text || back == text.trim() || same_amount(back, text),
            "{} {at}: sent {text:?}, got {back:?}",
            route.name()
        );
    }
}

#[tokio::test]
async fn naughty_strings_in_every_text_field_harm_nothing_and_come_back_as_sent() {
    let mut s = Sender::new().await;
    // `make test` takes a part of them for each field, `make proof` all.
    let step = if dice::share() > 1 { 1 } else { 6 };
    let (mut accepted, mut fields) = (0, 0);
    for (route, body) in with_bodies() {
        let mut places = Vec::new();
        texts(&body, "", &mut places);
        for at in places {
            fields += 1;
            for text in corpora().strings.iter().skip(fields % step).step_by(step) {
                let answer = s.send(&route, &alone(&route, &body, &at, text).to_string()).await;
                if !(200..300).contains(&answer.status) || route.path.ends_with("/stream") {
                    continue;
                }
                accepted += 1;
                let told = serde_json::from_str(&answer.body).unwrap_or_default();
                assert_same(&route, &told, &at, text);
                if route.method == "PATCH" {
                    let read = s.ann.get(&s.path(&route)).await;
                    assert_same(&route, &read.json(200), &at, text);
                }
            }
        }
    }
    assert!(
        fields >= 12 && accepted >= 100,
        "{fields} fields, {accepted} accepted"
    );
}

#[tokio::test]
async fn what_stripe_signed_is_no_error_of_ours_whatever_it_is() {
    let s = Sender::new().await;
    let mut taken = 0;
    let mut told = Vec::new();
    for text in &corpora().strings {
        let object = json!({"id": text, "object": text, "customer": text});
        let own = format!("evt_{}", told.len());
        let data = json!({"object": object});
        for (id, event_type) in [
            (&own, text.as_str()),
            (&own, "invoice.paid"),
            (text, "invoice.paid"),
        ] {
            let event = json!({"id": id, "type": event_type, "created": 1, "data": data});
            told.push(event.to_string());
        }
    }
    told.extend(corpora().json.iter().map(|case| case.input.clone()));
    let step = if dice::share() > 1 { 1 } else { 5 };
    for body in told.iter().step_by(step) {
        s.t.clock.advance(SignedDuration::from_millis(1_300));
        let signature = s.signature(body.as_bytes(), s.t.app.clock().now());
        let answer = s.post(body, &signature).await;
        let known = [204, 400].contains(&answer.status);
        assert!(known, "{} {}\n{body}", answer.status, answer.body);
        taken += usize::from(answer.status == 204);
    }
    assert!(taken > 20, "{taken}");
}

#[tokio::test]
async fn a_message_reads_back_as_it_was_sent() {
    let mut s = Sender::new().await;
    let chat = routes::live()
        .into_iter()
        .find(|r| r.path.ends_with("/chat"))
        .unwrap();
    let (mut conversation, mut sent) = (None, Vec::new());
    for text in corpora()
        .strings
        .iter()
        .filter(|t| !t.trim().is_empty())
        .step_by(29)
    {
        let mut body = json!({"message": text, "maxTokens": 1});
        if let Some(id) = &conversation {
            body["conversationId"] = json!(id);
        }
        let answer = s.send(&chat, &body.to_string()).await.json(200);
        conversation = answer["conversationId"].as_str().map(str::to_owned);
        sent.push(text.clone());
    }
    let path = format!(
        "/api/agents/{}/conversations/{}/turns?limit=100",
        s.agent,
        conversation.unwrap()
    );
    let turns = s.ann.get(&path).await.json(200);
    let back: Vec<_> = turns["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(back, sent);
}

#[tokio::test]
async fn what_is_no_json_is_told_so_and_what_is_json_is_never_an_error_of_ours() {
    let mut s = Sender::new().await;
    let every: Vec<_> = with_bodies();
    for (n, case) in corpora().json.iter().enumerate() {
        for (m, (route, _)) in every.iter().enumerate() {
            // The parser is one; PATCH /api/user gets all of it, the others take turns.
            let first = route.name() == "PATCH /api/user";
            if !first && dice::share() == 1 && n % every.len() != m {
                continue;
            }
            let answer = s.send(route, &case.input).await;
            if !first {
                continue;
            }
            assert!(
                !case.name.starts_with("y_") || answer.status != 400,
                "{}: {}",
                case.name,
                answer.body
            );
            match &case.name[..2] {
                "n_" => drop(answer.assert_problem(400, "malformed")),
                // `{}` is a change of nothing.
                _ => assert!(
                    [200, 400, 422].contains(&answer.status),
                    "{}: {}",
                    case.name,
                    answer.body
                ),
            }
        }
    }
    assert!(corpora().json.len() > 300);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_malformed() {
    let s = Sender::new().await;
    for bytes in [
        b"\"\xff\"".as_slice(),
        b"{\"name\":\"\xed\xa0\x80\"}",
        b"{\"name\":\"\xc0\x80\"}",
        b"\xff\xfe{\x00}\x00",
        b"\x00",
    ] {
        let answer = s.ann.send_bytes("PATCH", "/api/user", bytes).await;
        answer.assert_problem(400, "malformed");
    }
}

#[tokio::test]
async fn a_made_up_path_or_query_is_refused_and_harms_nothing() {
    let mut s = Sender::new().await;
    let step = if dice::share() > 1 { 1 } else { 4 };
    for (n, text) in corpora().strings.iter().enumerate().step_by(step) {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let encoded = encoded.replace('+', "%20");
        s.t.clock.advance(SignedDuration::from_millis(4_000));
        if n % 80 == 0 {
            s.ann = s.t.sign_in(s.ann.user.unwrap()).await;
        }
        for path in [
            format!("/api/workspaces/{encoded}"),
            format!("/api/agents/{encoded}"),
            format!("/api/{encoded}"),
        ] {
            let answer = s.ann.get(&path).await;
            // `.` and `..` lead to another path.
            assert!([200, 404].contains(&answer.status), "{path}: {}", answer.body);
        }
        let limit = s.ann.get(&format!("/api/workspaces?limit={encoded}")).await;
        let known = s.ann.get(&format!("/api/workspaces?cursor={encoded}")).await;
        let unknown = s.ann.get(&format!("/api/workspaces?x{encoded}=1")).await;
        for answer in [&limit, &known] {
            assert!([200, 422].contains(&answer.status), "{text:?}: {}", answer.body);
        }
        unknown.assert_problem(422, "invalid");
    }
}
