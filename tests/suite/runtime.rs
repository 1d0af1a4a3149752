//! Talking to an agent: the answer comes as it is made, is stored, and costs exactly what the provider reported.

use camarad::domain::agents::presets;
use camarad::domain::ledger::Kind;
use camarad::domain::permissions::Role;
use camarad::domain::plans::Plan;
use camarad::money::Cbt;
use camarad_tests::peers::ai::{Behaviour, Usage, count_tokens};
use futures_util::StreamExt;
use serde_json::json;

use crate::desk::{Desk, agent, cbt, mini, names, say, text, tokens_read, workspace};

#[tokio::test]
async fn an_agent_answers_and_is_paid_exactly_what_the_provider_reported() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::text("Sell less, but dearer."));
    let answer = d.chat("k", say("What first?")).await.json(200);
    assert_eq!(
        (answer["answer"].as_str(), answer["status"].as_str()),
        (Some("Sell less, but dearer."), Some("completed"))
    );

    let sent = d.t.ai().requests();
    assert_eq!(sent.len(), 1);
    let prompt = presets::by_id("ceo").unwrap().prompt;
    assert_eq!(
        sent[0].body["messages"],
        json!([{"role": "system", "content": prompt}, {"role": "user", "content": "What first?"}])
    );
    assert_eq!(sent[0].body["stream_options"], json!({"include_usage": true}));
    assert_eq!(sent[0].body["max_completion_tokens"], 4096);

    let (input, output) = (tokens_read(&sent[0].body), count_tokens("Sell less, but dearer."));
    let receipt = &answer["receipt"];
    assert_eq!(
        (receipt["inputTokens"].as_u64(), receipt["outputTokens"].as_u64()),
        (Some(input), Some(output))
    );
    assert_eq!(
        (receipt["model"].as_str(), receipt["provider"].as_str()),
        (Some("gpt-4o-mini"), Some("openai"))
    );
    assert_eq!(receipt["estimated"], false);
    assert_eq!(receipt["ledgerEntries"], json!([2, 3]));
    assert!(receipt["promptVersion"].as_str().unwrap().starts_with("ceo@"));
    let cost = cbt(&receipt["cost"]);
    assert_eq!(cost, mini(input, output));
    let prompt_bytes = u64::try_from(prompt.len() + "What first?".len()).unwrap();
    assert_eq!(cbt(&receipt["held"]), mini(prompt_bytes.div_ceil(3), 4096));
    assert_eq!(
        cbt(&receipt["balanceAfter"]),
        Cbt::whole(1_000).checked_sub(cost).unwrap()
    );
    d.assert_spent(cost).await;
    assert_eq!(d.kinds().await, [Kind::Grant, Kind::Hold, Kind::Consume]);

    let stored = d.receipt(&answer["callId"]).await;
    assert_eq!(
        (&stored["cost"], &stored["status"]),
        (&receipt["cost"], &json!("completed"))
    );
    assert_eq!(
        d.turns(&answer["conversationId"]).await[0]["answer"],
        "Sell less, but dearer."
    );
}

#[tokio::test]
async fn an_answer_comes_word_by_word_while_the_provider_still_speaks() {
    let d = Desk::open().await;
    let slow = vec![
        Behaviour::text("one two three four five"),
        Behaviour::Slow { chunk_delay_ms: 150 },
    ];
    d.t.ai().push(Behaviour::All { of: slow });
    let (head, mut events) = d.listen(&d.ann.once("k"), say("Count.")).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["content-type"], "text/event-stream");
    assert_eq!(head.headers["x-accel-buffering"], "no");
    let start = events.next().await.unwrap();
    assert_eq!(
        (start.name.as_str(), start.data["model"].as_str()),
        ("start", Some("gpt-4o-mini"))
    );
    let first = events.next().await.unwrap();
    assert_eq!(
        (first.name.as_str(), first.data["text"].as_str()),
        ("delta", Some("one"))
    );
    assert!(
        !d.t.ai().requests()[0].ended,
        "the first word comes before the last is said"
    );
    assert_eq!(d.receipt(&start.data["callId"]).await["status"], "running");

    let rest: Vec<_> = events.collect().await;
    assert_eq!(names(&rest), ["delta", "delta", "delta", "delta", "done"]);
    assert_eq!(text(&rest), " two three four five");
    let receipt = &rest[4].data["receipt"];
    assert_eq!(receipt["callId"], start.data["callId"]);
    d.assert_spent(cbt(&receipt["cost"])).await;
    assert!(cbt(&receipt["cost"]) > Cbt::ZERO);
}

#[tokio::test]
async fn a_conversation_goes_on_with_what_was_said() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::text("Hello Ann."));
    d.t.ai().push(Behaviour::text("Ann, as you said."));
    let first = d.chat("1", say("I am\n  Ann.")).await.json(200);
    let conversation = &first["conversationId"];
    let second = d
        .chat(
            "2",
            json!({"message": "Who am I?", "conversationId": conversation}),
        )
        .await
        .json(200);
    assert_eq!(&second["conversationId"], conversation);
    let said: Vec<_> = d.t.ai().requests()[1].body["messages"].as_array().unwrap()[1..].to_vec();
    assert_eq!(
        said,
        [
            json!({"role": "user", "content": "I am\n  Ann."}),
            json!({"role": "assistant", "content": "Hello Ann."}),
            json!({"role": "user", "content": "Who am I?"})
        ]
    );
    let other = d.chat("3", say("Something else")).await.json(200);

    let list = d
        .ann
        .get(&format!("/api/agents/{}/conversations", d.agent))
        .await
        .json(200);
    let titles: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["title"].as_str().unwrap(), c["turns"].as_u64().unwrap()))
        .collect();
    assert_eq!(titles.len(), 2);
    assert!(
        titles.contains(&("I am Ann.", 2)) && titles.contains(&("Something else", 1)),
        "{titles:?}"
    );
    let turns = d.turns(conversation).await;
    assert_eq!(
        turns
            .iter()
            .map(|t| t["message"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["I am\n  Ann.", "Who am I?"]
    );
    assert_eq!(d.turns(&other["conversationId"]).await.len(), 1);
}

#[tokio::test]
async fn a_model_may_be_chosen_and_has_its_own_price_and_wire_format() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::Normal {
        text: Some("Oui.".into()),
        usage: Some(Usage {
            input: 1_000,
            cached: 400,
            output: 10,
        }),
    });
    let answer = d
        .chat(
            "k",
            json!({"message": "Oui?", "model": "claude-haiku-4-5", "maxTokens": 100}),
        )
        .await
        .json(200);
    let sent = &d.t.ai().requests()[0];
    assert_eq!(
        (sent.path.as_str(), sent.body["max_tokens"].as_u64()),
        ("/v1/messages", Some(100))
    );
    let receipt = &answer["receipt"];
    assert_eq!(receipt["provider"], "anthropic");
    assert_eq!(
        (
            receipt["inputTokens"].as_u64(),
            receipt["cachedTokens"].as_u64(),
            receipt["outputTokens"].as_u64()
        ),
        (Some(1_000), Some(400), Some(10))
    );
    // 600 × USD 1, 400 × USD 0.10, 10 × USD 5, each per million.
    assert_eq!(
        cbt(&receipt["cost"]),
        Cbt::micro(600 * 2_000 + 400 * 200 + 10 * 10_000)
    );
    assert_eq!(receipt["estimated"], false);
    d.assert_spent(cbt(&receipt["cost"])).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_named_and_changes_nothing() {
    let d = Desk::open().await;
    let before = d.t.snapshot().await;
    let long = "x".repeat(32_001);
    for (body, field) in [
        (json!({"message": ""}), "message"),
        (json!({"message": " \n "}), "message"),
        (json!({"message": long}), "message"),
        (json!({}), "message"),
        (json!({"message": "x", "temperature": 1}), "temperature"),
        (
            json!({"message": "x", "conversationId": "cnv_1"}),
            "conversationId",
        ),
        (json!({"message": "x", "model": "gpt-99"}), "model"),
        (json!({"message": "x", "maxTokens": 0}), "maxTokens"),
        (json!({"message": "x", "maxTokens": 16_385}), "maxTokens"),
    ] {
        d.chat("k", body).await.assert_invalid(field);
    }
    d.ann
        .post(&d.chat_path(), say("x"))
        .await
        .assert_invalid("header.Idempotency-Key");
    assert_eq!(before, d.t.snapshot().await, "not even the key is remembered");
    assert!(d.t.ai().requests().is_empty());
    d.t.ai().push(Behaviour::text("ü"));
    d.chat("k", json!({"message": "ü".repeat(32_000)}))
        .await
        .json(200);
}

#[tokio::test]
async fn a_conversation_is_its_users_with_its_agent_alone() {
    let d = Desk::open().await;
    let answer = d.chat("k", say("Private.")).await.json(200);
    let (call, conversation) = (
        answer["callId"].as_str().unwrap(),
        answer["conversationId"].as_str().unwrap(),
    );
    let bob = d.t.join(&d.workspace, Role::Admin).await;
    crate::desk::fund(&d.t, bob.user.unwrap(), Cbt::whole(100)).await;
    let second = agent(&d.ann, &d.workspace).await;
    for (who, agent) in [(&bob, &d.agent), (&d.ann, &second)] {
        let before = d.t.snapshot().await;
        let base = format!("/api/agents/{agent}");
        who.get(&format!("{base}/calls/{call}"))
            .await
            .assert_problem(404, "not_found");
        who.post(&format!("{base}/calls/{call}/stop"), json!({}))
            .await
            .assert_problem(404, "not_found");
        who.get(&format!("{base}/conversations/{conversation}/turns"))
            .await
            .assert_problem(404, "not_found");
        assert_eq!(
            who.get(&format!("{base}/conversations")).await.json(200)["items"],
            json!([])
        );
        let go_on = json!({"message": "Go on", "conversationId": conversation});
        who.once("x")
            .post(&format!("{base}/chat"), go_on)
            .await
            .assert_problem(404, "not_found");
        assert_eq!(before, d.t.snapshot().await);
    }
    assert_eq!(d.t.ai().requests().len(), 1);
}

#[tokio::test]
async fn a_stranger_with_a_good_message_gets_404_and_leaves_no_trace() {
    let d = Desk::open().await;
    let eve = d.t.sign_up("eve@example.com", Plan::Business).await;
    crate::desk::fund(&d.t, eve.user.unwrap(), Cbt::whole(100)).await;
    let before = d.t.snapshot().await;
    eve.once("k")
        .post(&d.chat_path(), say("Hello?"))
        .await
        .assert_problem(404, "not_found");
    let (head, _) = eve
        .once("k")
        .open("POST", &d.stream_path(), Some(say("Hello?").to_string()))
        .await;
    assert_eq!(head.status, 404);
    assert_eq!(before, d.t.snapshot().await);
    assert!(d.t.ai().requests().is_empty());
}

#[tokio::test]
async fn an_inactive_agent_does_not_answer() {
    let d = Desk::open().await;
    d.ann
        .patch(&format!("/api/agents/{}", d.agent), json!({"active": false}))
        .await
        .json(200);
    let before = d.t.snapshot().await;
    d.chat("k", say("Hello?"))
        .await
        .assert_problem(409, "agent_inactive");
    assert_eq!(before, d.t.snapshot().await);
}

#[tokio::test]
async fn an_agent_takes_the_messages_an_hour_that_its_payers_plan_allows() {
    let d = Desk::open().await;
    // Not at the end of an hour: were it among the messages, the window would have let some go.
    let left = 3_600 - d.t.app.clock().now().as_second() % 3_600;
    if left < 300 {
        d.t.clock.advance(jiff::SignedDuration::from_secs(left));
    }
    let bob = d.t.sign_up("bob@example.com", Plan::Personal).await;
    crate::desk::fund(&d.t, bob.user.unwrap(), Cbt::whole(1_000)).await;
    let agent = agent(&bob, &workspace(&bob).await).await;
    let path = format!("/api/agents/{agent}/chat");
    // A window of a minute takes 100 requests of a user, which is as many as an hour of Personal takes messages.
    for n in 0..100 {
        if n == 60 {
            d.t.clock.advance(jiff::SignedDuration::from_secs(120));
        }
        let answer = bob
            .once(&n.to_string())
            .post(&path, json!({"message": "x", "maxTokens": 1}))
            .await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.body);
    }
    let refused = bob.once("one more").post(&path, say("x")).await;
    refused.assert_problem(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(d.t.ai().requests().len(), 100);
    d.chat("k", say("Another agent, another plan")).await.json(200);
}

#[tokio::test]
async fn two_serial_round_trips_lead_upstream_and_three_follow() {
    let d = Desk::open().await;
    let first = d.chat("1", say("One.")).await;
    let conversation = first.json(200)["conversationId"].clone();
    let second = d
        .chat("2", json!({"message": "Two.", "conversationId": conversation}))
        .await;
    // Before: reads and counters side by side; reserve. Beside the request upstream: the checkpoint. After: the bill's
    // transaction; the end of the hold. A second turn also reads the conversation's end.
    for (answer, calls) in [(first, 8), (second, 9)] {
        // Once a second a running call looks whether it shall stop.
        let seconds = answer.json(200)["receipt"]["latencyMs"].as_u64().unwrap() / 1_000;
        let looks = u32::try_from(seconds).unwrap();
        assert!(answer.cost.serial <= 5 + looks, "{:?}", answer.cost);
        assert!(
            (calls..=calls + looks).contains(&answer.cost.calls),
            "{:?}",
            answer.cost
        );
    }
}
