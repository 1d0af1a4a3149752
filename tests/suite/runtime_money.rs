//! Who pays, and what a balance covers.

use camarad::domain::ledger;
use camarad::domain::permissions::Role;
use camarad::domain::plans::{Plan, TRIAL_DAYS};
use camarad::money::Cbt;
use camarad::store::keys;
use camarad_tests::app::{Answer, TestApp, trial};
use camarad_tests::peers::ai::Behaviour;
use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::desk::{Desk, agent, assert_exact, cbt, fund, mini, say, workspace};

/// The estimate of a prompt that says `message` to the agent at the desk.
fn prompt(message: &str) -> u64 {
    let role = camarad::domain::agents::presets::by_id("ceo").unwrap().prompt;
    u64::try_from((role.len() + message.len()).div_ceil(3)).unwrap()
}

/// Asks again when the answer is 503, which says that the same request may be sent again: a busy table lets the limit of an
/// agent's messages, which refuses what it cannot count, wait no longer than three seconds. The key sees to it that it is one
/// call.
async fn patiently(d: &Desk, key: &str, body: Value) -> Answer {
    for _ in 0..4 {
        let answer = d.chat(key, body.clone()).await;
        if answer.status != 503 {
            return answer;
        }
    }
    d.chat(key, body).await
}

#[tokio::test]
async fn of_64_parallel_calls_on_the_credit_for_one_one_passes() {
    let hold = mini(prompt("Me!"), 100);
    let d = Desk::with(hold).await;
    let slow = Behaviour::All {
        of: vec![
            Behaviour::text("You."),
            Behaviour::StallBeforeHeaders { ms: 2_000 },
        ],
    };
    d.t.ai().push(slow);
    let body = || json!({"message": "Me!", "maxTokens": 100});
    let keys: Vec<_> = (0..64).map(|n| n.to_string()).collect();
    let answers = join_all(keys.iter().map(|key| patiently(&d, key, body()))).await;
    let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(passed.len(), 1);
    for refused in refused {
        // On a busy machine some come when the one that passed has spent the credit already.
        if refused.status == 402 {
            refused.assert_problem(402, "insufficient_cbt");
            continue;
        }
        refused.assert_problem(409, "cbt_held");
        assert!(refused.header("retry-after").is_some());
    }
    assert_eq!(d.t.ai().requests().len(), 1);
    d.assert_spent(cbt(&passed[0].json(200)["receipt"]["cost"])).await;
}

#[tokio::test]
async fn whatever_the_provider_does_to_parallel_calls_the_ledger_is_exact() {
    let d = Desk::open().await;
    let said = || Behaviour::text("one two three four five six seven");
    let faults = [
        Behaviour::default(),
        Behaviour::status(400),
        Behaviour::CutAfter { chunks: 0 },
        Behaviour::CutAfter { chunks: 5 },
        Behaviour::ErrorEventAfter { chunks: 2 },
        Behaviour::MalformedEventAfter { chunks: 1 },
        Behaviour::NoUsage,
        Behaviour::SplitBytes { n: 3 },
        Behaviour::Slow { chunk_delay_ms: 20 },
    ];
    for n in 0..40 {
        let fault = faults[camarad::random::below(faults.len() as u64) as usize].clone();
        d.t.ai().push(Behaviour::All {
            of: if n % 5 == 0 {
                vec![fault]
            } else {
                vec![said(), fault]
            },
        });
    }
    let keys: Vec<_> = (0..40).map(|n| n.to_string()).collect();
    let models = ["gpt-4o-mini", "claude-haiku-4-5"];
    let calls = keys.iter().enumerate().map(async |(n, key)| {
        let body = json!({"message": "Go.", "model": models[n % 2]});
        patiently(&d, key, body).await
    });
    let answers = join_all(calls).await;
    let mut spent = Cbt::ZERO;
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 502), "{}", answer.body);
        if answer.status == 200 {
            spent = spent
                .checked_add(cbt(&answer.json(200)["receipt"]["cost"]))
                .unwrap();
        }
    }
    d.assert_spent(spent).await;
}

#[tokio::test]
async fn an_answer_is_shortened_to_what_the_balance_covers() {
    let d = Desk::with(mini(prompt("Go."), 500)).await;
    let answer = d.chat("k", say("Go.")).await.json(200);
    assert_eq!(d.t.ai().requests()[0].body["max_completion_tokens"], 500);
    assert_eq!(cbt(&answer["receipt"]["held"]), mini(prompt("Go."), 500));
    d.assert_spent(cbt(&answer["receipt"]["cost"])).await;
}

#[tokio::test]
async fn a_balance_that_covers_no_useful_answer_is_402() {
    let least = mini(prompt("Go."), 64);
    let d = Desk::with(least.checked_sub(Cbt::micro(1)).unwrap()).await;
    let before = d.t.snapshot().await;
    d.chat("k", say("Go."))
        .await
        .assert_problem(402, "insufficient_cbt");
    assert_eq!(before, d.t.snapshot().await, "and nothing is remembered");
    assert!(d.t.ai().requests().is_empty());
    fund(&d.t, d.ann.user.unwrap(), Cbt::micro(1)).await;
    let answer = d.chat("k", say("Go.")).await.json(200);
    assert_eq!(cbt(&answer["receipt"]["held"]), least);
}

#[tokio::test]
async fn without_cbt_or_without_a_subscription_nothing_is_spent() {
    let d = Desk::with(Cbt::ZERO).await;
    let bob = d.t.join(&d.workspace, Role::Member).await;
    let before = d.t.snapshot().await;
    d.chat("k", say("Go."))
        .await
        .assert_problem(402, "insufficient_cbt");
    bob.once("k")
        .post(&d.chat_path(), say("Go."))
        .await
        .assert_problem(402, "subscription_required");
    assert_eq!(before, d.t.snapshot().await);
}

#[tokio::test]
async fn when_the_trial_is_over_nothing_is_spent() {
    let d = Desk::with(Cbt::ZERO).await;
    let user = d.ann.user.unwrap();
    trial::begin(&d.t.app, user, Plan::Business).await;
    d.chat("in time", say("Go.")).await.json(200);
    d.t.clock.advance(SignedDuration::from_hours(24 * TRIAL_DAYS));
    let ann = d.t.sign_in(user).await;
    ann.once("late")
        .post(&d.chat_path(), say("Go."))
        .await
        .assert_problem(402, "subscription_required");
}

#[tokio::test]
async fn a_member_of_a_business_pays_alone() {
    let d = Desk::open().await;
    let bob = d.t.join(&d.workspace, Role::Member).await;
    bob.once("1")
        .post(&d.chat_path(), say("Go."))
        .await
        .assert_problem(402, "subscription_required");
    fund(&d.t, bob.user.unwrap(), Cbt::whole(10)).await;
    let answer = bob.once("2").post(&d.chat_path(), say("Go.")).await.json(200);
    assert_exact(
        &d.t,
        bob.user.unwrap(),
        Cbt::whole(10),
        cbt(&answer["receipt"]["cost"]),
    )
    .await;
    d.assert_spent(Cbt::ZERO).await;
}

#[tokio::test]
async fn an_agencys_owner_pays_for_its_members() {
    let t = TestApp::with_ai().await;
    let owner = t.sign_up("owner@example.com", Plan::Agency).await;
    fund(&t, owner.user.unwrap(), Cbt::whole(100)).await;
    let home = workspace(&owner).await;
    let agent = agent(&owner, &home).await;
    let bob = t.join(&home, Role::Member).await;
    let answer = bob
        .once("k")
        .post(&format!("/api/agents/{agent}/chat"), say("Go."))
        .await
        .json(200);
    assert_exact(
        &t,
        owner.user.unwrap(),
        Cbt::whole(100),
        cbt(&answer["receipt"]["cost"]),
    )
    .await;
    let entries = ledger::history(&t.app, owner.user.unwrap(), &Default::default())
        .await
        .unwrap();
    assert_eq!(entries.items[0].user_id, bob.user, "the entry says for whom");
}

#[tokio::test]
async fn a_made_up_agent_id_uses_up_no_messages_of_the_agent_it_resembles() {
    let d = Desk::open().await;
    let mallory = d.t.sign_up("mallory@example.com", Plan::Business).await;
    let theirs = workspace(&mallory).await;
    let (_, own) = d.agent.split_at("agt_".len() + 26);
    let path = format!("/api/agents/agt_{}{own}/chat", theirs.trim_start_matches("ws_"));
    for n in 0..3 {
        let refused = mallory.once(&n.to_string()).post(&path, say("Go.")).await;
        refused.assert_problem(404, "not_found");
    }
    d.chat("k", say("Go.")).await.json(200);
    let window = d.t.app.clock().now().as_second().div_euclid(3_600);
    let counter =
        d.t.app
            .db()
            .get_doc(&keys::rate("agent", &d.agent))
            .await
            .unwrap();
    let counted = counter.unwrap().field::<u32>(&format!("n{window}")).unwrap();
    assert_eq!(counted, Some(1));
}
