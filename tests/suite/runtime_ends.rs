//! How calls end other than by themselves: stopped, left, out of time, killed.

use std::time::Duration;

use camarad::domain::ledger::{self, Kind};
use camarad::money::Cbt;
use camarad_tests::peers::ai::Behaviour;
use futures_util::StreamExt;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::desk::{Desk, cbt, names, say, text};

fn slowly(ms: u64) -> Behaviour {
    let words = (0..400).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ");
    Behaviour::All {
        of: vec![Behaviour::text(words), Behaviour::Slow { chunk_delay_ms: ms }],
    }
}

async fn stop(d: &Desk, call: &Value, key: &str) -> Value {
    let path = format!("/api/agents/{}/calls/{}/stop", d.agent, call.as_str().unwrap());
    d.ann.once(key).post(&path, json!({})).await.json(202)
}

#[tokio::test]
async fn stop_ends_a_call_and_the_bill_is_what_was_produced() {
    let d = Desk::open().await;
    d.t.ai().push(slowly(40));
    let (_, mut events) = d.listen(&d.ann.once("k"), say("Talk.")).await;
    let call = events.next().await.unwrap().data["callId"].clone();
    let mut heard = vec![events.next().await.unwrap()];
    assert_eq!(stop(&d, &call, "s").await["stopping"], true);
    heard.extend(events.collect::<Vec<_>>().await);
    let done = heard.last().unwrap();
    assert_eq!(done.name, "done");
    assert!(!names(&heard).contains(&"error"));
    let receipt = &done.data["receipt"];
    assert_eq!(
        (receipt["status"].as_str(), receipt["estimated"].as_bool()),
        (Some("stopped"), Some(true))
    );
    assert_eq!(
        receipt["outputTokens"].as_u64().unwrap(),
        text(&heard).len().div_ceil(4) as u64,
        "what was heard is what is billed"
    );
    assert!(
        d.t.ai().wait_until(|r| r[0].ended).await[0].client_left,
        "the provider is hung up on"
    );
    d.assert_spent(cbt(&receipt["cost"])).await;
    assert_eq!(d.receipt(&call).await["status"], "stopped");
    let turn = &d.turns(&receipt["conversationId"]).await[0];
    assert_eq!(turn["answer"], text(&heard));

    assert_eq!(
        stop(&d, &call, "late").await["stopping"],
        true,
        "asking again changes nothing"
    );
    d.assert_spent(cbt(&receipt["cost"])).await;
}

#[tokio::test]
async fn a_call_that_is_stopped_before_its_first_word_costs_its_prompt() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::All {
        of: vec![
            Behaviour::text("Late."),
            Behaviour::StallAfter { chunks: 0, ms: 5_000 },
        ],
    });
    let silent = d.chat("k", say("Talk."));
    let stopping = async {
        d.t.ai().wait_for_requests(1).await;
        let page = camarad::store::PageRequest::default();
        let hold = ledger::entries(&d.t.app, d.ann.user.unwrap(), &page)
            .await
            .unwrap()
            .items[0]
            .clone();
        stop(&d, &json!(hold.call.unwrap()), "s").await
    };
    let (answer, _) = tokio::join!(silent, stopping);
    let stopped = answer.json(200);
    assert_eq!(
        (stopped["status"].as_str(), stopped["answer"].as_str()),
        (Some("stopped"), Some(""))
    );
    let receipt = &stopped["receipt"];
    assert_eq!(
        (receipt["outputTokens"].as_u64(), receipt["estimated"].as_bool()),
        (Some(0), Some(true)),
        "the provider took the prompt and said nothing"
    );
    assert!(receipt["inputTokens"].as_u64().unwrap() > 0 && cbt(&receipt["cost"]) > Cbt::ZERO);
    d.assert_spent(cbt(&receipt["cost"])).await;
    assert_eq!(d.chat("k", say("Talk.")).await.body, answer.body);
    let go_on = json!({"message": "Go on.", "conversationId": stopped["conversationId"]});
    let next = d.chat("next", go_on).await.json(200);
    assert_eq!(
        d.t.ai().requests()[1].body["messages"].as_array().unwrap().len(),
        2,
        "what has no answer is not sent"
    );
    assert_eq!(next["receipt"]["droppedTurns"], 1);
}

#[tokio::test]
async fn who_leaves_is_charged_in_full_and_finds_the_answer_in_the_history() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::All {
        of: vec![
            Behaviour::text("one two three four"),
            Behaviour::Slow { chunk_delay_ms: 100 },
        ],
    });
    let (_, mut events) = d.listen(&d.ann.once("k"), say("Count.")).await;
    let start = events.next().await.unwrap();
    events.next().await.unwrap();
    drop(events);
    let balance = d.settled().await;
    let receipt = d.receipt(&start.data["callId"]).await;
    assert_eq!(
        (receipt["status"].as_str(), receipt["estimated"].as_bool()),
        (Some("completed"), Some(false))
    );
    assert_eq!(
        balance.balance,
        Cbt::whole(1_000).checked_sub(cbt(&receipt["cost"])).unwrap()
    );
    d.assert_spent(cbt(&receipt["cost"])).await;
    assert_eq!(
        d.turns(&start.data["conversationId"]).await[0]["answer"],
        "one two three four"
    );
}

#[tokio::test]
async fn who_reads_too_slowly_does_not_hold_up_the_settlement() {
    let d = Desk::open().await;
    d.t.ai().push(slowly(0));
    let (_, events) = d.listen(&d.ann.once("k"), say("Talk.")).await;
    // Nobody reads: the channel fills, and after ten seconds the call goes on without a listener.
    let balance = d.settled().await;
    assert!(balance.balance < Cbt::whole(1_000));
    let heard: Vec<_> = events.collect().await;
    let receipt = d.receipt(&heard[0].data["callId"]).await;
    assert_eq!(
        (receipt["status"].as_str(), receipt["estimated"].as_bool()),
        (Some("completed"), Some(false))
    );
    d.assert_spent(cbt(&receipt["cost"])).await;
    let turn = d.turns(&heard[0].data["conversationId"]).await[0]["answer"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(turn.ends_with("word399") && turn.starts_with(&text(&heard)));
}

#[tokio::test]
async fn a_call_ends_and_settles_before_its_function_is_killed() {
    let d = Desk::open().await;
    // Twenty seconds are kept back for settling.
    let hurried = d.ann.once("k").killed_after(Duration::from_secs(22));
    d.t.ai().push(slowly(50));
    let (_, events) = d.listen(&hurried, say("Talk.")).await;
    let heard: Vec<_> = tokio::time::timeout(Duration::from_secs(10), events.collect())
        .await
        .unwrap();
    let [.., error, done] = heard.as_slice() else {
        panic!("{heard:?}")
    };
    assert_eq!((error.name.as_str(), done.name.as_str()), ("error", "done"));
    assert_eq!(done.data["receipt"]["status"], "cut");
    assert!(text(&heard).starts_with("word0 word1"));
    d.assert_spent(cbt(&done.data["receipt"]["cost"])).await;

    let hurried = hurried.once("silent");
    d.t.ai().push(Behaviour::StallBeforeHeaders { ms: 20_000 });
    let before = d.balance().await;
    let answer = hurried.post(&d.chat_path(), say("Talk.")).await;
    answer.assert_problem(502, "upstream_failed");
    assert_eq!(d.balance().await, before);
}

/// Runs `work` on a runtime of its own, which is then torn down with everything that still runs on it: as a function that
/// is killed.
async fn killed<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let doomed = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let out = doomed.block_on(work);
        drop(doomed);
        let _ = tell.send(out);
    });
    told.await.unwrap()
}

#[tokio::test]
async fn the_hold_of_a_killed_function_expires_and_what_was_checkpointed_is_charged() {
    let d = std::sync::Arc::new(Desk::open().await);
    d.t.ai().push(slowly(200));
    let inner = std::sync::Arc::clone(&d);
    let start = killed(async move {
        let (_, mut events) = inner.listen(&inner.ann.once("k"), say("Talk.")).await;
        let start = events.next().await.unwrap();
        // Past the second checkpoint, which comes after five seconds.
        tokio::time::timeout(Duration::from_millis(6_500), async {
            while events.next().await.is_some() {}
        })
        .await
        .unwrap_err();
        start
    })
    .await;
    let held = d.balance().await;
    assert!(held.held > Cbt::ZERO, "nobody ended it");
    let running = d.receipt(&start.data["callId"]).await;
    assert_eq!(running["status"], "running");
    d.chat("k", say("Talk."))
        .await
        .assert_problem(422, "idempotency_key_reused");
    d.ann
        .once("k")
        .post(&d.stream_path(), say("Talk."))
        .await
        .assert_problem(409, "idempotency_in_progress");

    ledger::sweep(&d.t.app).await.unwrap();
    assert_eq!(d.balance().await.held, held.held, "not yet expired");
    d.t.clock.advance(SignedDuration::from_secs(121));
    let swept = ledger::sweep(&d.t.app).await.unwrap();
    assert_eq!((swept.ended, swept.failed), (1, 0));
    let receipt = d.receipt(&start.data["callId"]).await;
    assert_eq!(receipt["status"], "expired");
    let cost = cbt(&receipt["cost"]);
    assert!(cost > Cbt::ZERO && cost <= cbt(&receipt["held"]), "{receipt}");
    d.assert_spent(cost).await;

    let asked = d.t.ai().requests().len();
    let again = d.ann.once("k").post(&d.stream_path(), say("Talk.")).await;
    again.assert_problem(409, "call_lost");
    assert_eq!(d.t.ai().requests().len(), asked, "one key, one charge");
    d.assert_spent(cost).await;

    d.t.ai().push(Behaviour::text("Again."));
    let again = d.stream("another", say("Talk.")).await;
    assert_eq!(text(&again), "Again.");
    let second = cbt(&again.last().unwrap().data["receipt"]["cost"]);
    d.assert_spent(cost.checked_add(second).unwrap()).await;
}

#[tokio::test]
async fn a_function_killed_before_the_first_word_costs_nothing() {
    let d = std::sync::Arc::new(Desk::open().await);
    d.t.ai().push(Behaviour::StallBeforeHeaders { ms: 20_000 });
    let inner = std::sync::Arc::clone(&d);
    killed(async move {
        let client = inner.ann.once("k");
        let path = inner.chat_path();
        let chat = client.post(&path, say("Talk."));
        tokio::time::timeout(Duration::from_millis(3_000), chat)
            .await
            .unwrap_err();
    })
    .await;
    assert!(d.balance().await.held > Cbt::ZERO);
    d.t.clock.advance(SignedDuration::from_secs(121));
    ledger::sweep(&d.t.app).await.unwrap();
    d.assert_spent(Cbt::ZERO).await;
    assert_eq!(d.kinds().await, [Kind::Grant, Kind::Hold, Kind::Expire]);
    d.chat("k", say("Talk.")).await.json(200);
}

/// A call whose agent goes, by itself or with its workspace, while the answer comes.
async fn gone_meanwhile(d: &Desk, path: &str) {
    d.t.ai().push(slowly(20));
    let (_, mut events) = d.listen(&d.ann.once("k"), say("Talk.")).await;
    let call = events.next().await.unwrap().data["callId"].clone();
    events.next().await.unwrap();
    d.ann.delete(path).await.assert_empty(204);
    let (agent, workspace) = (d.agent.parse().unwrap(), d.workspace.parse().unwrap());
    camarad::domain::agents::delete::purge(&d.t.app, agent)
        .await
        .unwrap();
    camarad::domain::workspaces::delete::purge(&d.t.app, workspace)
        .await
        .unwrap();

    let heard: Vec<_> = events.collect().await;
    let done = heard.last().unwrap();
    assert_eq!(
        (done.name.as_str(), done.data["receipt"]["status"].as_str()),
        ("done", Some("completed"))
    );
    d.assert_spent(cbt(&done.data["receipt"]["cost"])).await;
    let left = d.t.snapshot().await;
    let kept = |kind: &str| {
        left.iter()
            .filter(|i| i.contains(&format!("S(\"{kind}\")")))
            .count()
    };
    assert_eq!(
        (kept("turn"), kept("conversation")),
        (0, 0),
        "nothing is left of what was said: {left:#?}"
    );
    assert!(
        left.iter().any(|i| i.contains(call.as_str().unwrap())),
        "what was paid for has its bill"
    );
}

#[tokio::test]
async fn a_call_whose_agent_is_deleted_meanwhile_is_charged_and_leaves_no_conversation() {
    let d = Desk::open().await;
    gone_meanwhile(&d, &format!("/api/agents/{}", d.agent)).await;
}

#[tokio::test]
async fn a_call_whose_workspace_is_deleted_meanwhile_is_charged_and_leaves_no_conversation() {
    let d = Desk::open().await;
    gone_meanwhile(&d, &format!("/api/workspaces/{}", d.workspace)).await;
}
