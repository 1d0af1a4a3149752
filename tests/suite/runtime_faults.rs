//! What goes wrong at the provider: before the first word nothing is charged and the caller gets an error; after it, what
//! came is stored and charged, and the receipt says how the call ended.

use std::time::{Duration, Instant};

use camarad::domain::ledger::Kind;
use camarad::money::Cbt;
use camarad_tests::peers::ai::Behaviour;
use serde_json::{Value, json};

use crate::desk::{Desk, cbt, mini, names, say, text};

fn with(fault: Behaviour) -> Behaviour {
    Behaviour::All {
        of: vec![Behaviour::text("one two three four five six"), fault],
    }
}

fn asked(model: &str) -> Value {
    json!({"message": "Count.", "model": model})
}

const MODELS: [&str; 2] = ["gpt-4o-mini", "claude-haiku-4-5"];

/// `bytes/3` of the prompt, which stands for what the provider did not report.
fn estimate() -> u64 {
    let prompt = camarad::domain::agents::presets::by_id("ceo").unwrap().prompt;
    u64::try_from((prompt.len() + "Count.".len()).div_ceil(3)).unwrap()
}

#[tokio::test]
async fn an_error_before_the_first_word_is_502_and_free() {
    let d = Desk::open().await;
    for (n, model) in MODELS.into_iter().enumerate() {
        let faults = [
            Behaviour::status(400),
            Behaviour::status(404),
            Behaviour::Status {
                code: 429,
                retry_after: Some(60),
                body: None,
            },
            Behaviour::Status {
                code: 529,
                retry_after: Some(6),
                body: Some("<html>busy</html>".into()),
            },
            with(Behaviour::CutAfter { chunks: 0 }),
            with(Behaviour::ErrorEventAfter { chunks: 0 }),
            with(Behaviour::MalformedEventAfter { chunks: 0 }),
            Behaviour::HugeEvent {
                bytes: 2 * 1024 * 1024,
            },
        ];
        for (m, fault) in faults.into_iter().enumerate() {
            d.t.ai().clear_requests();
            d.t.ai().push(fault.clone());
            let failed = d.chat(&format!("{n} {m}"), asked(model)).await;
            failed.assert_problem(502, "upstream_failed");
            assert_eq!(d.t.ai().requests().len(), 1, "{fault:?} is not tried again");
            d.t.ai().push(fault.clone());
            let (head, _) = d.listen(&d.ann.once(&format!("s{n} {m}")), asked(model)).await;
            assert_eq!(head.status, 502, "{fault:?}");
            d.assert_spent(Cbt::ZERO).await;
        }
    }
    let list = d
        .ann
        .get(&format!("/api/agents/{}/conversations", d.agent))
        .await
        .json(200);
    assert_eq!(list["items"], json!([]), "what failed is no conversation");
    assert!(
        d.kinds()
            .await
            .iter()
            .all(|k| matches!(k, Kind::Grant | Kind::Hold | Kind::Release))
    );
}

#[tokio::test]
async fn a_provider_that_is_busy_is_tried_three_times() {
    let d = Desk::open().await;
    for (n, code) in [429, 500, 503, 529].into_iter().enumerate() {
        d.t.ai().clear_requests();
        d.t.ai().push(Behaviour::status(code));
        d.t.ai().push(Behaviour::Status {
            code,
            retry_after: Some(0),
            body: None,
        });
        let answer = d.chat(&n.to_string(), say("Hello?")).await.json(200);
        assert_eq!(answer["status"], "completed", "{code}");
        assert_eq!(d.t.ai().requests().len(), 3);
    }
    let spent = d.balance().await;
    (0..3).for_each(|_| d.t.ai().push(Behaviour::status(529)));
    d.t.ai().clear_requests();
    d.chat("all three", say("Hello?"))
        .await
        .assert_problem(502, "upstream_failed");
    assert_eq!(d.t.ai().requests().len(), 3);
    assert_eq!(d.balance().await, spent);
}

#[tokio::test]
async fn retry_after_is_heeded() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::Status {
        code: 429,
        retry_after: Some(1),
        body: None,
    });
    let since = Instant::now();
    d.chat("k", say("Hello?")).await.json(200);
    assert!(since.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_stored_and_charged_for_what_came() {
    let d = Desk::open().await;
    let mut spent = Cbt::ZERO;
    let faults = [
        Behaviour::CutAfter { chunks: 3 },
        Behaviour::ErrorEventAfter { chunks: 3 },
        Behaviour::MalformedEventAfter { chunks: 3 },
        Behaviour::StallAfter {
            chunks: 3,
            ms: 20_000,
        },
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        d.t.ai().push(with(fault.clone()));
        let events = d.stream(&n.to_string(), asked("gpt-4o-mini")).await;
        assert_eq!(
            names(&events),
            ["start", "delta", "delta", "delta", "error", "done"],
            "{fault:?}"
        );
        assert_eq!(events[4].data["problem"]["code"], "upstream_failed");
        let receipt = &events[5].data["receipt"];
        assert_eq!(
            (receipt["status"].as_str(), receipt["estimated"].as_bool()),
            (Some("cut"), Some(true))
        );
        let cost = cbt(&receipt["cost"]);
        // "one two three" has 13 bytes, so 4 tokens by the rule of four.
        assert_eq!(cost, mini(estimate(), 4), "{fault:?}");
        spent = spent.checked_add(cost).unwrap();
        d.assert_spent(spent).await;
        let turn = &d.turns(&events[0].data["conversationId"]).await[0];
        assert_eq!(
            (turn["answer"].as_str(), turn["status"].as_str()),
            (Some("one two three"), Some("cut"))
        );
    }
}

#[tokio::test]
async fn chat_answers_200_with_what_came_as_an_sdk_must_not_repeat_what_was_charged() {
    let d = Desk::open().await;
    d.t.ai().push(with(Behaviour::CutAfter { chunks: 2 }));
    let answer = d.chat("k", asked("claude-haiku-4-5")).await.json(200);
    assert_eq!(
        (answer["answer"].as_str(), answer["status"].as_str()),
        (Some("one two"), Some("cut"))
    );
    // Anthropic says what it read when it begins; what it wrote is estimated.
    let read = answer["receipt"]["inputTokens"].as_u64().unwrap();
    assert!(read > 0 && read < estimate());
    let cost = Cbt::micro(i64::try_from(read * 2_000 + 2 * 10_000).unwrap());
    assert_eq!(cbt(&answer["receipt"]["cost"]), cost);
    d.assert_spent(cost).await;
}

#[tokio::test]
async fn usage_that_is_missing_is_estimated_and_the_answer_is_whole() {
    let d = Desk::open().await;
    d.t.ai().push(with(Behaviour::NoUsage));
    let none = d.chat("1", asked("gpt-4o-mini")).await.json(200);
    d.t.ai().push(with(Behaviour::CutBeforeUsage));
    let lost = d.chat("2", asked("gpt-4o-mini")).await.json(200);
    for answer in [&none, &lost] {
        assert_eq!(
            (
                answer["status"].as_str(),
                answer["receipt"]["estimated"].as_bool()
            ),
            (Some("completed"), Some(true))
        );
        assert_eq!(answer["answer"], "one two three four five six");
        assert_eq!(cbt(&answer["receipt"]["cost"]), mini(estimate(), 7));
    }
    d.t.ai().push(with(Behaviour::CutBeforeUsage));
    let cut = d.chat("3", asked("claude-haiku-4-5")).await.json(200);
    assert_eq!(
        (cut["status"].as_str(), cut["receipt"]["estimated"].as_bool()),
        (Some("cut"), Some(true)),
        "its stop reason comes with the usage"
    );
    let costs = [&none, &lost, &cut].map(|a| cbt(&a["receipt"]["cost"]).as_micro());
    d.assert_spent(Cbt::micro(costs.iter().sum())).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_its_bound_and_costs_no_more_than_its_hold() {
    let d = Desk::open().await;
    for (n, model) in MODELS.into_iter().enumerate() {
        let word = Behaviour::text("x".repeat(4_096));
        let endless = Behaviour::Endless {
            max_bytes: 60_000_000,
        };
        d.t.ai().push(Behaviour::All {
            of: vec![word, endless],
        });
        let before = d.balance().await.balance;
        let answer = d.chat(&n.to_string(), asked(model)).await.json(200);
        assert_eq!(answer["status"], "cut");
        assert_eq!(answer["answer"].as_str().unwrap().len(), 256 * 1024, "{model}");
        assert_eq!(answer["receipt"]["cost"], answer["receipt"]["held"]);
        let paid = before.checked_sub(d.balance().await.balance).unwrap();
        assert_eq!(paid, cbt(&answer["receipt"]["cost"]));
        let sent = d.t.ai().wait_until(|r| r.last().is_some_and(|r| r.ended)).await;
        assert!(sent.last().unwrap().client_left, "the provider is hung up on");
    }
}

#[tokio::test]
async fn an_answer_in_single_bytes_is_the_same_answer() {
    let d = Desk::open().await;
    for (n, model) in MODELS.into_iter().enumerate() {
        let said = "Grüße, 世界! 👋🏽 – “fin”.";
        d.t.ai().push(Behaviour::All {
            of: vec![Behaviour::text(said), Behaviour::SplitBytes { n: 1 }],
        });
        let events = d.stream(&n.to_string(), asked(model)).await;
        assert_eq!(text(&events), said);
        assert_eq!(events.last().unwrap().data["receipt"]["status"], "completed");
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_given_up_and_not_asked_twice() {
    let d = Desk::open().await;
    d.t.ai().push(Behaviour::StallBeforeHeaders { ms: 20_000 });
    d.chat("k", say("Hello?"))
        .await
        .assert_problem(502, "upstream_failed");
    assert_eq!(d.t.ai().requests().len(), 1);
    d.assert_spent(Cbt::ZERO).await;
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_502_and_free() {
    let d = Desk::open().await;
    let closed = camarad_tests::app::TestApp::new().await; // its providers are at a port where nobody listens
    let bob = closed
        .sign_up("bob@example.com", camarad::domain::plans::Plan::Business)
        .await;
    crate::desk::fund(&closed, bob.user.unwrap(), Cbt::whole(10)).await;
    let agent = crate::desk::agent(&bob, &crate::desk::workspace(&bob).await).await;
    let path = format!("/api/agents/{agent}/chat");
    bob.once("k")
        .post(&path, say("Hello?"))
        .await
        .assert_problem(502, "upstream_failed");
    crate::desk::assert_exact(&closed, bob.user.unwrap(), Cbt::whole(10), Cbt::ZERO).await;
    d.assert_spent(Cbt::ZERO).await;
}
