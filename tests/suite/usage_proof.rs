//! Counting under programs made by chance: duplicates, shuffled batches, poison, consumers that die at any request, an
//! engine that loses answers. Whatever happened, the counters are those of the set of events, and nothing but poison ends
//! in the dead-letter queue.
//!
//! `make test` runs a share of the seeds; CAMARAD_PROOF=50 (`make proof`) all of them.

use std::collections::BTreeMap;
use std::fmt::Write;

use camarad::domain::ledger::UsageRecorded;
use camarad::domain::usage::{Bucket, Dimension, count};
use camarad::ids::{AgentId, UserId, WorkspaceId};
use camarad::store::cost;
use camarad_tests::bank::Bank;
use camarad_tests::dice::{Dice, share};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::usage::{message, recorded};

/// After how many receptions a message is dead: template.yaml says the same.
const RECEPTIONS: u32 = 5;

/// A message in the queue.
#[derive(Clone)]
struct Waiting {
    body: String,
    poison: bool,
    received: u32,
}

fn shuffle<T>(items: &mut [T], dice: &mut Dice) {
    for n in (1..items.len()).rev() {
        items.swap(n, usize::try_from(dice.below(n as u64 + 1)).unwrap());
    }
}

/// Events of two workspaces over a few hours.
fn made(bank: &Bank, dice: &mut Dice) -> Vec<UsageRecorded> {
    let clock = bank.app.clock();
    let agents: Vec<_> = (0..2)
        .flat_map(|_| {
            let workspace = WorkspaceId::new(clock);
            [AgentId::new(workspace, clock), AgentId::new(workspace, clock)]
        })
        .collect();
    let users = [UserId::new(clock), UserId::new(clock)];
    (0..120)
        .map(|_| {
            let at = clock.now() - SignedDuration::from_mins(i64::try_from(dice.below(200)).unwrap());
            let who = (*dice.pick(&users), *dice.pick(&agents));
            let cost = i64::try_from(dice.below(1_000)).unwrap();
            let model = *dice.pick(&["small", "large"]);
            recorded(clock, who, model, at, cost)
        })
        .collect()
}

/// The events, a fifth of them twice, with poison among them.
fn queue_of(events: &[UsageRecorded], dice: &mut Dice) -> Vec<Waiting> {
    let waiting = |body, poison| Waiting {
        body,
        poison,
        received: 0,
    };
    let mut queue: Vec<_> = events
        .iter()
        .map(|e| waiting(message(0, e).body, false))
        .collect();
    let twice: Vec<_> = queue.iter().filter(|_| dice.chance(20)).cloned().collect();
    queue.extend(twice);
    for n in 0..6 {
        let mut event: Value = serde_json::from_str(&message(0, &events[n]).body).unwrap();
        event["data"]["inputTokens"] = (-1).into();
        let bodies = ["{".to_owned(), String::new(), event.to_string()];
        queue.push(waiting(bodies[n % 3].clone(), true));
    }
    shuffle(&mut queue, dice);
    queue
}

/// Delivers until nothing waits; answers the dead letters.
async fn deliver(bank: &Bank, mut queue: Vec<Waiting>, dice: &mut Dice) -> Vec<Waiting> {
    let mut dead = Vec::new();
    while !queue.is_empty() {
        let size = queue.len().min(1 + usize::try_from(dice.below(60)).unwrap());
        let mut batch: Vec<_> = queue.drain(..size).collect();
        batch.iter_mut().for_each(|m| m.received += 1);
        // Who is killed, or unlucky, with one message five times in a row has an outage and not a bad day.
        let last_chance = batch.iter().any(|m| !m.poison && m.received == RECEPTIONS);
        bank.faults.rate(if last_chance { 0 } else { 50 });
        if !last_chance && dice.chance(30) {
            bank.faults
                .die(u32::try_from(dice.below(8)).unwrap(), dice.chance(50));
        }
        let bodies: Vec<_> = batch.iter().map(|m| m.body.as_str()).collect();
        let failed = tokio::select! {
            failed = count::count(&bank.app, &bodies) => failed,
            () = bank.faults.dead() => (0..batch.len()).collect(),
        };
        bank.faults.live();
        for (_, message) in batch.into_iter().enumerate().filter(|(n, _)| failed.contains(n)) {
            match message.received {
                RECEPTIONS.. => dead.push(message),
                _ => queue.push(message),
            }
        }
        shuffle(&mut queue, dice);
    }
    bank.faults.rate(0);
    bank.faults.settle().await;
    dead
}

type Sums = BTreeMap<(String, String, String, String), (i64, i64, i64)>;

/// What each counter must be.
fn expected(events: &[UsageRecorded]) -> Sums {
    let mut sums = Sums::new();
    for event in events {
        for bucket in Bucket::ALL {
            for dimension in Dimension::COUNTED {
                let key = (
                    event.workspace_id.to_string(),
                    format!("{} {}", bucket.as_str(), dimension.as_str()),
                    bucket.start(event.at, &TimeZone::UTC).unwrap().to_string(),
                    dimension.value(event),
                );
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + 1, sum.1 + event.cost.as_micro(), sum.2 + 300);
            }
        }
    }
    sums
}

/// What each counter is.
async fn found(bank: &Bank) -> Sums {
    let counters: Vec<Value> = bank.all("usageCounter").await;
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let number = |v: &Value| v.as_i64().unwrap();
    let counters = counters.iter().map(|c| {
        let what = format!("{} {}", text(&c["bucket"]), text(&c["dimension"]));
        let key = (
            text(&c["workspaceId"]),
            what,
            text(&c["start"]),
            text(&c["value"]),
        );
        (
            key,
            (number(&c["calls"]), number(&c["cost"]), number(&c["latencyMs"])),
        )
    });
    counters.collect()
}

#[tokio::test]
async fn whatever_happens_the_counters_are_those_of_the_set_of_events() {
    let mut killed = 0;
    for seed in 0..4 * share() {
        let bank = Bank::seeded(seed).await;
        let mut dice = Dice::new(seed);
        let events = made(&bank, &mut dice);
        let queue = queue_of(&events, &mut dice);
        let poison = queue.iter().filter(|m| m.poison).count();
        let dead = deliver(&bank, queue, &mut dice).await;
        assert!(dead.iter().all(|m| m.poison), "seed {seed}: a good event is dead");
        assert_eq!(dead.len(), poison, "seed {seed}");
        assert_eq!(found(&bank).await, expected(&events), "seed {seed}");
        let rows: Vec<Value> = bank.all("usageEvent").await;
        assert_eq!(rows.len(), events.len(), "seed {seed}");
        killed += bank.faults.made();
    }
    assert!(killed > 0, "something went wrong on the way");
}

/// What counting costs: state it in ARCHITECTURE.md when it changes.
#[tokio::test]
async fn counting_costs_what_it_is_known_to_cost() {
    let mut told = String::new();
    for size in [1_u32, 10, 100] {
        for (what, agents) in [("one agent", 1_usize), ("five agents", 5)] {
            let bank = Bank::open().await;
            let clock = bank.app.clock();
            let (workspace, user) = (WorkspaceId::new(clock), UserId::new(clock));
            let agents: Vec<_> = (0..agents).map(|_| AgentId::new(workspace, clock)).collect();
            let bodies: Vec<_> = (0..size as usize)
                .map(|n| {
                    let agent = agents[n % agents.len()];
                    message(n, &recorded(clock, (user, agent), "gpt-4o-mini", clock.now(), 1)).body
                })
                .collect();
            let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
            let (failed, cost) = cost::metered(count::count(&bank.app, &bodies)).await;
            assert!(failed.is_empty());
            writeln!(
                told,
                "a batch of {size:>3}, {what:<11}: {:>5.2} write units an event, {} transactions",
                cost.wcu / f64::from(size),
                cost.calls
            )
            .unwrap();
        }
    }
    insta::assert_snapshot!("metering", told);
}
