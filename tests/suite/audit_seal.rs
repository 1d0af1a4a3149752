//! Sealing: every record gets one number, whatever the queue and the sealers go through.

use std::sync::Arc;
use std::time::Duration;

use camarad::app::{App, Builder};
use camarad::clock::{Clock, ManualClock};
use camarad::config::Config;
use camarad::context::Context;
use camarad::domain::audit::chain::Chain;
use camarad::domain::audit::seal::{self, Order};
use camarad::domain::plans::Plan;
use camarad::error::Result;
use camarad::ids::{UserId, WorkspaceId};
use camarad::lambda::batch::Message;
use camarad::ports::secrets::Secrets;
use camarad::store::record::{Action, AuditRecord, Scope};
use camarad::store::{Update, keys};
use camarad_tests::app::TestApp;
use camarad_tests::chain::{audited, messages, seal_all, told, work_off};
use camarad_tests::dice::{Dice, share};
use camarad_tests::engine::{self, TABLE};
use camarad_tests::faults::{Fault, Faults};
use jiff::SignedDuration;
use scheduled::Job;
use secrecy::SecretString;
use serde_json::json;

use crate::workspaces::workspace;

struct Seed;

#[async_trait::async_trait]
impl Secrets for Seed {
    async fn fetch(&self, _: &str) -> Result<SecretString> {
        Ok(
            json!({"seed": "a seed of the sealers, which is long enough to be taken as one"})
                .to_string()
                .into(),
        )
    }

    async fn replace(&self, _: &str, _: &SecretString) -> Result<()> {
        unreachable!("nobody rotates the audit key")
    }
}

/// Chains over an engine in this process, with faults in between.
struct Bench {
    app: App,
    clock: Arc<ManualClock>,
    faults: Faults,
}

impl Bench {
    async fn seeded(seed: u64) -> Self {
        let faults = Faults::new(seed);
        let db = engine::faulty(&faults).await;
        let clock = Arc::new(ManualClock::at_unix(1_790_000_000));
        let config = Config {
            stage: "test".into(),
            table: TABLE.into(),
            audit_key_secret: Some("audit-key".into()),
            ..Config::default()
        };
        let app = Builder::new(config, db, clock.clone())
            .secrets(Arc::new(Seed))
            .build();
        Self { app, clock, faults }
    }

    /// Writes that many records of a scope; answers their places.
    async fn records(&self, scope: Scope, count: usize) -> Vec<String> {
        let mut places = Vec::new();
        for n in 0..count {
            self.clock.advance(SignedDuration::from_millis(1));
            let cause = Context::system("tests", self.app.clock().now());
            let tx = self.app.tx(&cause);
            let tx = tx
                .audit(Action::SettingsUpdated, scope, n, json!({"n": n}))
                .unwrap();
            tx.run().await.unwrap();
        }
        for part in keys::audit_parts(&scope.name()) {
            let all: Vec<AuditRecord> = self.app.db().part(&part, "0", "~").await.unwrap();
            places.extend(all.iter().map(|r| keys::audit_place(r.at, r.id)));
        }
        places
    }
}

fn order(scope: Scope, places: &[String]) -> Order {
    Order::of(&scope.name(), places)
}

#[tokio::test]
async fn whatever_is_done_is_sealed_through_stream_queue_and_sealer() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let home = workspace(&ann, "Home").await;
    ann.patch(&format!("/api/workspaces/{home}"), json!({"name": "Office"}))
        .await
        .json(200);
    ann.patch("/api/user", json!({"name": "Ann"})).await.json(200);
    seal_all(&t).await;
    assert_eq!(audited(&t.app, &home).await.len(), 2);
    assert_eq!(audited(&t.app, &ann.user.unwrap().to_string()).await.len(), 1);
    // Once more, all of it: nothing is sealed twice.
    seal_all(&t).await;
    assert_eq!(audited(&t.app, &home).await.len(), 2);
}

#[tokio::test]
async fn a_record_that_the_stream_lost_is_sealed_by_the_nightly_comparison() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let home = workspace(&ann, "Home").await;
    assert_eq!(audited_len(&t, &home).await, None);
    scheduled::handle(t.app.clone(), Job::SealAudits).await.unwrap();
    let shards = usize::from(keys::SHARDS);
    assert_eq!(work_off(&t).await, shards, "the youngest are left to the stream");
    t.clock.advance(SignedDuration::from_mins(5));
    scheduled::handle(t.app.clone(), Job::SealAudits).await.unwrap();
    assert!(work_off(&t).await > shards);
    assert_eq!(audited(&t.app, &home).await.len(), 1);
    t.clock.advance(SignedDuration::from_secs(1));
    scheduled::handle(t.app.clone(), Job::SealAudits).await.unwrap();
    assert_eq!(work_off(&t).await, shards, "and then there is nothing to order");
}

/// People of one shard, each with a record that nobody told the sealer of, in the order in which a comparison meets them.
async fn crowd(app: &App, clock: &ManualClock, count: usize) -> Vec<String> {
    let mut scopes = Vec::new();
    while scopes.len() < count {
        let user = UserId::new(clock);
        let scope = Scope::Account(user);
        if keys::chain_place(&scope.name()).pk() != keys::chains(5) {
            continue;
        }
        app.db().put(&Chain::new(&scope.name()), None).await.unwrap();
        let cause = Context::system("tests", clock.now());
        let tx = app.tx(&cause);
        let tx = tx.audit(Action::SettingsUpdated, scope, user, json!({})).unwrap();
        tx.run().await.unwrap();
        scopes.push(scope.name());
    }
    scopes.sort();
    scopes
}

#[tokio::test]
async fn a_nightly_comparison_that_is_cut_off_goes_on_where_it_was() {
    let faults = Faults::new(8);
    let t = TestApp::over(&faults).await;
    let scopes = crowd(&t.app, &t.clock, 120).await;
    t.clock.advance(SignedDuration::from_mins(5));
    scheduled::handle(t.app.clone(), Job::SealAudits).await.unwrap();
    let of_shard = |m: &&Message| m.body.contains("\"shard\":5,") || m.body.contains("\"shard\":5}");
    let first = t.taken(|config| &config.audit_queue_url).await;
    let first: Vec<Message> = first.iter().filter(of_shard).cloned().collect();
    assert_eq!(first.len(), 1);
    assert_eq!(audit_sealer::handle(t.app.clone(), first).await, [""; 0]);

    // The second page is cut off: the table does not answer, and the message comes again.
    let second = t.taken(|config| &config.audit_queue_url).await;
    let (pages, orders): (Vec<_>, Vec<_>) = second.into_iter().partition(|m| m.body.contains("\"night\""));
    assert_eq!((pages.len(), orders.len()), (1, 50), "a page is fifty chains");
    assert_eq!(audit_sealer::handle(t.app.clone(), orders).await, [""; 0]);
    faults.whenever(Some(("CHAINS#05", Fault::Denied)));
    let failed = audit_sealer::handle(t.app.clone(), pages.clone()).await;
    assert_eq!(failed, [pages[0].id.clone()]);
    assert_eq!(t.taken(|config| &config.audit_queue_url).await.len(), 0);
    // One chain of it cannot be read: it gets an order of its own, and the others do not wait for it.
    faults.whenever(Some((scopes[60].as_str(), Fault::Denied)));
    assert_eq!(audit_sealer::handle(t.app.clone(), pages).await, [""; 0]);
    let third = t.taken(|config| &config.audit_queue_url).await;
    let alone: Vec<_> = third
        .iter()
        .filter(|m| m.body.contains("\"compare\":true"))
        .collect();
    assert_eq!(alone.len(), 1, "{third:?}");
    assert!(alone[0].body.contains(&scopes[60]));
    let failed = audit_sealer::handle(t.app.clone(), vec![alone[0].clone()]).await;
    assert_eq!(
        failed,
        [alone[0].id.clone()],
        "it comes again, and in the end to the dead letters"
    );
    assert_eq!(third.len(), 51, "with the other seals, and the next page");
    faults.whenever(None);
    assert_eq!(audit_sealer::handle(t.app.clone(), third).await, [""; 0]);
    work_off(&t).await;
    for scope in &scopes {
        assert_eq!(audited(&t.app, scope).await.len(), 1, "{scope}");
    }
}

async fn audited_len(t: &TestApp, scope: &str) -> Option<u64> {
    let chain = t
        .app
        .db()
        .get::<Chain>(&keys::chain(scope))
        .await
        .unwrap()
        .unwrap();
    chain.head.map(|h| h.seq)
}

#[tokio::test]
async fn a_new_chain_is_known_before_its_first_record_is_sealed() {
    let t = TestApp::new().await;
    let ann = t.sign_up("ann@example.com", Plan::Business).await;
    let home = workspace(&ann, "Home").await;
    for scope in [home, ann.user.unwrap().to_string()] {
        let found = t.app.db().get::<Chain>(&keys::chain(&scope)).await.unwrap();
        assert_eq!(found, Some(Chain::new(&scope)));
    }
}

#[tokio::test]
async fn orders_that_come_twice_late_and_out_of_order_leave_one_chain() {
    let bench = Bench::seeded(1).await;
    let scope = Scope::Account(UserId::new(bench.app.clock()));
    let places = bench.records(scope, 120).await;
    let mut orders = vec![order(scope, &places[60..]), order(scope, &places[..80])];
    orders.extend([order(scope, &places[10..20]), order(scope, &places)]);
    assert_eq!(
        audit_sealer::handle(bench.app.clone(), messages(&orders[..2])).await,
        [""; 0]
    );
    assert_eq!(
        audit_sealer::handle(bench.app.clone(), messages(&orders)).await,
        [""; 0]
    );
    assert_eq!(audited(&bench.app, &scope.name()).await.len(), 120);
}

#[tokio::test]
async fn an_order_that_nobody_can_carry_out_comes_back_alone() {
    let bench = Bench::seeded(2).await;
    let scope = Scope::Platform;
    let places = bench.records(scope, 3).await;
    let mut all = messages(&[
        order(scope, &places),
        order(Scope::Account(UserId::new(bench.app.clock())), &["x".into()]),
    ]);
    all.push(camarad::lambda::batch::Message {
        id: "odd".into(),
        body: "{}".into(),
    });
    let mut failed = audit_sealer::handle(bench.app.clone(), all).await;
    failed.sort();
    assert_eq!(failed, ["message-1", "odd"]);
    assert_eq!(audited(&bench.app, "platform").await.len(), 3);
}

#[tokio::test]
async fn ten_sealers_at_once_make_one_chain() {
    let bench = Bench::seeded(3).await;
    let scope = Scope::Workspace(WorkspaceId::new(bench.app.clock()));
    let places = bench.records(scope, 90).await;
    let sealers = (0..10).map(|n| {
        let orders = messages(&[order(scope, &places[n * 5..(n * 5 + 45)])]);
        tokio::spawn(audit_sealer::handle(bench.app.clone(), orders))
    });
    for sealer in sealers.collect::<Vec<_>>() {
        sealer.await.unwrap();
    }
    audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &places)])).await;
    assert_eq!(audited(&bench.app, &scope.name()).await.len(), 90);
}

/// Sealers that work at once, meet faults and are killed at any of their awaits, over and over. Answers how many faults
/// they met: on a busy machine some are killed before they meet any.
async fn proof(seed: u64) -> u32 {
    let bench = Bench::seeded(seed).await;
    let mut dice = Dice::new(seed);
    let scope = Scope::Workspace(WorkspaceId::new(bench.app.clock()));
    let places = bench.records(scope, 100).await;
    bench.faults.rate(120);
    for _ in 0..12 {
        let mut at_work = Vec::new();
        for _ in 0..3 {
            let from = usize::try_from(dice.below(90)).unwrap();
            let orders = messages(&[order(scope, &places[from..(from + 45).min(places.len())])]);
            let sealer = tokio::spawn(audit_sealer::handle(bench.app.clone(), orders));
            at_work.push((sealer, Duration::from_millis(dice.below(60))));
        }
        for (sealer, life) in at_work {
            tokio::time::sleep(life / 3).await;
            sealer.abort();
            let _ = sealer.await;
        }
    }
    let met = bench.faults.made();
    bench.faults.rate(0);
    bench.faults.settle().await;
    let failed = audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &places)])).await;
    assert_eq!(failed, [""; 0]);
    assert_eq!(audited(&bench.app, &scope.name()).await.len(), 100, "seed {seed}");
    met
}

#[tokio::test]
async fn sealers_that_are_killed_anywhere_leave_a_chain_without_gap_and_no_record_twice() {
    let mut met = 0;
    for seed in 0..2 + share() {
        met += proof(100 + seed).await;
    }
    assert!(met > 0, "there were faults");
}

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_not_sealed_again() {
    let bench = Bench::seeded(4).await;
    let scope = Scope::Platform;
    let places = bench.records(scope, 5).await;
    for fault in [
        Fault::AnswerLost,
        Fault::InternalError,
        Fault::Conflict,
        Fault::Throttled,
    ] {
        bench.faults.next("TransactWriteItems", fault);
        audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &places)])).await;
    }
    audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &places)])).await;
    assert_eq!(audited(&bench.app, "platform").await.len(), 5);
}

#[tokio::test]
async fn a_checkpoint_passes_what_has_lived_to_its_end_and_no_gap() {
    let bench = Bench::seeded(5).await;
    let scope = Scope::Account(UserId::new(bench.app.clock()));
    let old = bench.records(scope, 6).await;
    audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &old)])).await;
    bench.clock.advance(SignedDuration::from_hours(24 * 60));
    let all = bench.records(scope, 4).await;
    audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &all)])).await;
    let name = scope.name();
    seal::checkpoint(&bench.app, &name).await.unwrap();
    let read = async || {
        bench
            .app
            .db()
            .get::<Chain>(&keys::chain(&name))
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(read().await.checkpoint, None, "everything lives");
    bench.clock.advance(SignedDuration::from_hours(24 * 31));
    seal::checkpoint(&bench.app, &name).await.unwrap();
    let passed = read().await.checkpoint.unwrap();
    assert_eq!(passed.seq, 6);
    seal::checkpoint(&bench.app, &name).await.unwrap();
    assert_eq!(read().await.checkpoint.unwrap(), passed, "once is enough");
    // Somebody takes a seal away: no checkpoint goes beyond.
    let key = keys::seal(&name, 8);
    bench
        .app
        .db()
        .take(&key, &camarad::store::Cond::item_exists())
        .await
        .unwrap();
    bench.clock.advance(SignedDuration::from_hours(24 * 90));
    seal::checkpoint(&bench.app, &name).await.unwrap();
    assert_eq!(read().await.checkpoint.unwrap().seq, 7);
}

#[tokio::test]
async fn a_removed_record_shows_as_a_seal_without_it_and_a_changed_one_does_not_pass() {
    let bench = Bench::seeded(6).await;
    let scope = Scope::Platform;
    let places = bench.records(scope, 2).await;
    audit_sealer::handle(bench.app.clone(), messages(&[order(scope, &places)])).await;
    let seals = audited(&bench.app, "platform").await;
    let doc = bench.app.db().get_doc(&seals[0].record()).await.unwrap().unwrap();
    let hash = camarad::domain::audit::chain::record_hash(&doc).unwrap();
    assert_eq!(hash, seals[0].record_hash);
    let change = Update::of(seals[0].record())
        .set("resource", "somebody else")
        .unwrap();
    bench.app.db().update(&change).await.unwrap();
    let doc = bench.app.db().get_doc(&seals[0].record()).await.unwrap().unwrap();
    assert_ne!(
        camarad::domain::audit::chain::record_hash(&doc).unwrap(),
        seals[0].record_hash
    );
}

#[tokio::test]
async fn the_streams_sample_event_of_an_audit_record_becomes_an_order() {
    let t = TestApp::new().await;
    let path = camarad_tests::app::stack::repository().join("events/dynamodb-stream-audit.json");
    let event = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let changes = camarad::lambda::batch::changes(event);
    assert_eq!(outbox::handle(t.app.clone(), changes).await, None);
    let got = t.taken(|config| &config.audit_queue_url).await;
    let ordered: Order = serde_json::from_str(&got[0].body).unwrap();
    let path = camarad_tests::app::stack::repository().join("events/sqs-audit.json");
    let sample = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let sample: Order = serde_json::from_str(&camarad::lambda::batch::messages(sample)[0].body).unwrap();
    assert_eq!(
        (&ordered.scope, &ordered.records[0]),
        (&sample.scope, &sample.records[0])
    );
    assert!(told(&t).await.is_empty());
}
