//! Everything that is kept about a person, in one archive.

use std::collections::BTreeMap;

use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::ids::CallId;
use camarad_tests::app::{Client, Setup, TestApp};
use camarad_tests::faults::{Fault, Faults};
use camarad_tests::peers::ai::AiPeer;
use futures_util::StreamExt;
use jiff::SignedDuration;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::account_deletion::{Life, NAME, live, named, signed_up};

async fn ask(who: &Client) -> String {
    let made = who.post("/api/user/export", json!({})).await.json(201);
    made["download"].as_str().unwrap().to_owned()
}

/// The archive's lines by kind, after it was found to be whole.
fn read(archive: &str) -> BTreeMap<String, Vec<Value>> {
    let (before, last) = archive.trim_end().rsplit_once('\n').unwrap();
    let end: Value = serde_json::from_str(last).unwrap();
    assert_eq!(end["kind"], "end");
    let hash = Sha256::digest(format!("{before}\n").as_bytes());
    assert_eq!(end["item"]["sha256"], data_encoding::HEXLOWER.encode(&hash));
    let mut by_kind: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in before.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let kind = line["kind"].as_str().unwrap().to_owned();
        by_kind.entry(kind).or_default().push(line["item"].clone());
    }
    let counts: BTreeMap<_, _> = by_kind
        .iter()
        .map(|(k, items)| (k.clone(), items.len()))
        .collect();
    assert_eq!(end["item"]["counts"], json!(counts));
    by_kind
}

/// Gives what can be named names of hers, and takes some of it away again: all of that is on record.
pub async fn name_everything(ann: &Client, workspace: &str, agent: &str) {
    let path = format!("/api/workspaces/{workspace}");
    let renamed = json!({"name": format!("{NAME}'s atelier")});
    ann.patch(&path, renamed).await.json(200);
    let coach = json!({"name": "Annabel's coach"});
    ann.patch(&format!("/api/agents/{agent}"), coach).await.json(200);
    for name in ["Annabel's laptop", "Annabel's phone"] {
        let order = json!({"name": name, "scopes": ["user:read"]});
        let made = ann.post("/api/user/security/api-keys", order).await.json(201);
        if name.ends_with("phone") {
            let id = made["apiKey"]["id"].as_str().unwrap();
            ann.delete(&format!("/api/user/security/api-keys/{id}"))
                .await
                .assert_empty(204);
        }
    }
    let gone = crate::desk::agent(ann, workspace).await;
    let path = format!("/api/agents/{gone}");
    ann.patch(&path, json!({"name": "Annabel's other coach"}))
        .await
        .json(200);
    ann.delete(&path).await.assert_empty(204);
    let second = named(ann, "Annabel's second").await;
    ann.delete(&format!("/api/workspaces/{second}"))
        .await
        .assert_empty(204);
}

async fn rich() -> (TestApp, Life) {
    let t = TestApp::with_ai().await;
    let life = live(&t, signed_up(&t).await).await;
    // What was deleted is purged by its event, which the sweeper leaves to the stream for a minute.
    t.clock.advance(SignedDuration::from_mins(2));
    camarad::domain::outbox::sweep(&t.app).await.unwrap();
    (t, life)
}

#[tokio::test]
async fn an_archive_is_whole_and_tells_who_the_person_is_and_what_they_did() {
    let (t, life) = rich().await;
    let ann = &life.ann;
    let asked = ann.once("e").post("/api/user/export", json!({})).await;
    let again = ann.once("e").post("/api/user/export", json!({})).await;
    assert_eq!((asked.status, &asked.body), (201, &again.body));
    let export = asked.json(201);
    let path = format!("/api/user/export/{}", export["id"].as_str().unwrap());
    assert_eq!(ann.get(&path).await.json(200), export);

    let answer = ann.get(&format!("{path}/download")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let disposition = answer.header("content-disposition").unwrap();
    assert!(disposition.starts_with("attachment; filename=\"camarad-") && disposition.ends_with(".ndjson\""));
    let lines = read(&answer.body);
    let user = ann.user.unwrap().to_string();
    let manifest = &lines["manifest"][0];
    assert_eq!(
        (&manifest["schema"], &manifest["userId"]),
        (&json!(1), &json!(user))
    );
    let profile = &lines["profile"][0];
    assert_eq!(
        (
            &profile["email"],
            &profile["name"],
            &profile["preferences"]["theme"]
        ),
        (
            &json!("annabel@example.com"),
            &json!("Annabel Leeward"),
            &json!("dark")
        )
    );
    assert_eq!(lines["identity"][0]["subject"], "annabels subject");
    assert_eq!(
        lines["workspace"].len(),
        1,
        "another's workspace is not theirs to take"
    );
    assert_eq!((lines["membership"].len(), lines["agent"].len()), (2, 1));
    assert_eq!((lines["conversation"].len(), lines["turn"].len()), (2, 2));
    assert!(
        lines["turn"]
            .iter()
            .all(|turn| turn["message"] == "the treasure lies beneath the old oak")
    );
    assert!(lines["ledgerEntry"].len() >= 3 && lines["balance"].len() == 1);
    let did: Vec<_> = lines["auditRecord"]
        .iter()
        .map(|r| r["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        did.iter().filter(|a| **a == "data.exported").count(),
        2,
        "{did:?}"
    );
    let told = lines["auditRecord"].last().unwrap();
    assert_eq!(
        told["ip"], "198.51.100.77",
        "what is sealed for the person is open to them"
    );
    // Nothing by which somebody could sign in, and no answer kept for a repeated request.
    for secret in ["Hash", "salt", "secret", "PK", "GSI1PK"] {
        assert!(!answer.body.contains(&format!("{secret}\":")), "{secret}");
    }
    let withheld = lines.get("withheld").cloned().unwrap_or_default();
    assert!(known(&withheld), "{withheld:?}");

    t.clock.advance(SignedDuration::from_hours(24));
    let tomorrow = t.sign_in(ann.user.unwrap()).await;
    tomorrow.get(&path).await.assert_problem(404, "not_found");
    tomorrow
        .get(&format!("{path}/download"))
        .await
        .assert_problem(404, "not_found");
}

/// What is told of only by its kind: seals and keys.
fn known(withheld: &[Value]) -> bool {
    let kinds = ["personKey", "second-factor"];
    withheld
        .iter()
        .all(|w| kinds.contains(&w["kind"].as_str().unwrap()))
}

#[tokio::test]
async fn only_the_person_gets_their_archive_and_only_soon_after_signing_in() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let eve = t.sign_up("eve@example.com", Plan::Business).await;
    let download = ask(&ann).await;
    let path = download.trim_end_matches("/download").to_owned();
    eve.get(&path).await.assert_problem(404, "not_found");
    eve.get(&download).await.assert_problem(404, "not_found");
    let later = t.later(&ann, SignedDuration::from_mins(16)).await;
    let before = t.snapshot().await;
    for refused in [
        later.post("/api/user/export", json!({})).await,
        later.get(&download).await,
    ] {
        refused.assert_problem(403, "step_up_required");
    }
    later.get(&path).await.json(200);
    later
        .get("/api/user/export/exp_x")
        .await
        .assert_problem(404, "not_found");
    assert_eq!(before, t.snapshot().await);
}

/// Items that name the person and are not in the archive, by what they are, each with its reason.
fn explained(item: &str) -> bool {
    let kind = |name: &str| item.contains(&format!("\"kind\": S(\"{name}\")"));
    // Answers under Idempotency-Keys: kept a day, about what is in the archive.
    kind("once") || kind("claim")
        // Say what the profile and the linked identity say.
        || kind("email") || kind("identity")
        // Each call's entries and usage event tell the same.
        || kind("bill") || kind("hold") || kind("ledgerOperation") || item.contains("S(\"LEDGER#")
        // Sums over all members of a workspace.
        || kind("usageCounter")
        // That a notice was told: the notice is in the archive.
        || kind("notice-told") || kind("quota-warned")
        // On its way, and gone within a second.
        || kind("outbox")
        // The workspace's log: its owner's.
        || (kind("audit") && item.contains("S(\"AUDIT#ws_"))
        // Sealing: no content of its own.
        || ["personKey", "auditChain", "auditSeal", "auditMark"].iter().any(|k| kind(k))
}

#[tokio::test]
async fn every_item_that_names_the_person_is_in_the_archive_or_on_the_list() {
    let (t, life) = rich().await;
    let user = life.ann.user.unwrap();
    t.join(&life.own, Role::Member).await;
    let archive = life.ann.get(&ask(&life.ann).await).await;
    let lines = read(&archive.body);
    let id = user.to_string();
    let mut looked_at = 0;
    for item in t.snapshot().await.iter().filter(|i| i.contains(&id)) {
        if explained(item) {
            continue;
        }
        looked_at += 1;
        // What tells an item from others of its kind is in the archive.
        let told = marks(item).into_iter().any(|mark| archive.body.contains(&mark));
        assert!(told, "not in the archive: {item}");
    }
    assert!(looked_at > 10, "{looked_at}");
    assert!(lines.len() > 8, "{:?}", lines.keys());
}

/// What names an item: the last id of its sort key, or of its partition.
fn marks(item: &str) -> Vec<String> {
    let attribute = |name: &str| {
        let (_, rest) = item.split_once(&format!("\"{name}\": S(\"")).unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    };
    let (pk, sk) = (attribute("PK"), attribute("SK"));
    if let Some(seq) = sk.strip_prefix("E#") {
        return vec![format!("\"seq\":{}", seq.trim_start_matches('0'))];
    }
    if sk == "META" {
        return vec![format!("\"id\":\"{}\"", pk.trim_start_matches("WS#"))];
    }
    match sk.as_str() {
        "PROFILE" | "ACCOUNT" => vec![format!("\"{}\"", pk.trim_start_matches("USER#"))],
        _ => vec![format!("\"{}\"", sk.rsplit('#').next().unwrap())],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_throttles_in_the_middle_ends_the_archive_visibly_broken() {
    let faults = Faults::new(11);
    let setup = Setup {
        ai: Some(AiPeer::start().await.unwrap()),
        faults: Some(faults.clone()),
        ..Setup::default()
    };
    let t = TestApp::with(setup).await;
    let life = live(&t, signed_up(&t).await).await;
    let whole = life.ann.get(&ask(&life.ann).await).await;
    read(&whole.body);

    let download = ask(&life.ann).await;
    faults.whenever(Some(("ENTRIES#", Fault::Throttled)));
    let (head, body) = life.ann.open("GET", &download, None).await;
    assert_eq!(head.status, 200, "the head was out before");
    let pieces: Vec<_> = body.collect().await;
    faults.whenever(None);
    assert!(pieces.last().unwrap().is_err(), "the connection breaks");
    let text: Vec<_> = pieces.into_iter().filter_map(Result::ok).collect();
    let text = String::from_utf8(text.concat()).unwrap();
    assert!(
        !text.contains("\"kind\":\"end\""),
        "nobody takes it for a whole one"
    );
}

#[tokio::test]
async fn a_large_account_is_told_to_its_end() {
    let t = TestApp::new().await;
    let ann = signed_up(&t).await;
    let workspace = crate::desk::workspace(&ann).await;
    let agent = crate::desk::agent(&ann, &workspace).await;
    let (agent, user) = (agent.parse().unwrap(), ann.user.unwrap());
    let now = t.app.clock().now();
    let conversation = camarad::ids::ConversationId::new(t.app.clock());
    fill(&t, (agent, user, conversation), now, 250).await;
    let archive = ann.get(&ask(&ann).await).await;
    let lines = read(&archive.body);
    assert_eq!((lines["conversation"].len(), lines["turn"].len()), (1, 250));
    let calls: std::collections::BTreeSet<_> = lines["turn"]
        .iter()
        .map(|turn| turn["callId"].as_str().unwrap())
        .collect();
    assert_eq!(calls.len(), 250, "none twice");
}

/// A conversation of so many turns of 4 KB.
async fn fill(
    t: &TestApp,
    (agent, user, id): (
        camarad::ids::AgentId,
        camarad::ids::UserId,
        camarad::ids::ConversationId,
    ),
    at: jiff::Timestamp,
    turns: u32,
) {
    use camarad::domain::runtime::{Conversation, Turn};
    let conversation = Conversation {
        id,
        agent_id: agent,
        user_id: user,
        workspace_id: agent.workspace(),
        title: "Long".into(),
        turns,
        created_at: at,
        last_at: at,
    };
    t.app.db().put(&conversation, None).await.unwrap();
    for _ in 0..turns {
        let turn: Turn = serde_json::from_value(json!({
            "callId": CallId::new(t.app.clock()),
            "conversationId": id,
            "message": "Why?",
            "answer": "x".repeat(4_000),
            "status": "completed",
            "model": "gpt-4o-mini",
            "at": at,
            "details": {"promptVersion": "ceo@0", "droppedTurns": 0, "held": 0, "holdSeq": 1, "holdAt": at},
        }))
        .unwrap();
        t.app.db().put(&turn, None).await.unwrap();
    }
}
