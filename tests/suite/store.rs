//! The store's contract: what the code relies on, on two engines that know nothing of each other.

use camarad::clock::{Clock, ManualClock};
use camarad::context::Context;
use camarad::domain::users::User;
use camarad::domain::users::preferences::Preferences;
use camarad::error::Error;
use camarad::ids::{CallId, UserId};
use camarad::reply::Reply;
use camarad::store::keys::{self, Key};
use camarad::store::record::{Action, AuditRecord, OutboxRecord, Scope};
use camarad::store::tx::OnceKey;
use camarad::store::{Cond, Db, Entity, Outcome, PageRequest, Tx, Update, cost};
use camarad_tests::engine;
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Each test of the contract, on both engines.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod on_ministack { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::engine::ministack().await).await })+ }
        mod on_dynoxide { $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$name(super::engine::dynoxide().await).await })+ }
    };
}

contract! {
    an_item_is_created_once,
    a_refused_update_tells_what_is_there,
    a_sum_reads_the_item_as_it_was,
    racing_updates_are_exact,
    a_transaction_is_all_or_nothing_and_names_the_refusal,
    two_updates_of_one_item_become_one,
    racing_transactions_all_end,
    a_key_gives_the_first_answer_to_all,
    an_expired_key_is_free_again,
    a_batch_finds_what_exists,
    a_list_is_walked_without_gap_or_repeat,
    an_item_is_taken_once,
    the_index_lists_what_is_due,
    a_walk_meets_everything_once,
    the_engine_reports_what_it_costs,
}

fn clock() -> ManualClock {
    ManualClock::at_unix(1_790_000_000)
}

fn context(now: Timestamp) -> Context {
    Context::system("contract", now)
}

fn user(clock: &dyn Clock, name: &str) -> User {
    User {
        id: UserId::new(clock),
        email: format!("{name}@example.com"),
        name: name.into(),
        avatar_url: None,
        locale: "en".into(),
        timezone: "UTC".into(),
        second_factor: false,
        address_proven_by: Default::default(),
        last_login_at: clock.now(),
        onboarding_completed_at: None,
        created_at: clock.now(),
        updated_at: clock.now(),
        version: 1,
        preferences: Preferences::default(),
        deleting_at: None,
    }
}

fn taken() -> Error {
    Error::Conflict {
        code: "taken",
        detail: "taken".into(),
    }
}

/// A row with a counter and a map, written by an update.
async fn counter(db: &Db, key: &Key) {
    let update = Update::of(key.clone())
        .set("n", 10)
        .unwrap()
        .set("seen", json!({}))
        .unwrap();
    assert!(matches!(db.update(&update).await.unwrap(), Outcome::Applied(_)));
}

async fn n_of(db: &Db, key: &Key) -> i64 {
    db.get_doc(key)
        .await
        .unwrap()
        .unwrap()
        .field("n")
        .unwrap()
        .unwrap()
}

async fn an_item_is_created_once(db: Db) {
    let ann = user(&clock(), "ann");
    assert!(db.put(&ann, Some(&Cond::item_absent())).await.unwrap());
    assert!(!db.put(&ann, Some(&Cond::item_absent())).await.unwrap());
    assert_eq!(db.get::<User>(&keys::user(ann.id)).await.unwrap(), Some(ann));
}

async fn a_refused_update_tells_what_is_there(db: Db) {
    let key = keys::health();
    let update = |n: i64| {
        Update::of(key.clone())
            .set("n", 11)
            .unwrap()
            .when(Cond::eq("n", n).unwrap())
    };
    assert_eq!(db.update(&update(10)).await.unwrap(), Outcome::Refused(None));
    counter(&db, &key).await;
    match db.update(&update(9)).await.unwrap() {
        Outcome::Refused(Some(image)) => assert_eq!(image.field::<i64>("n").unwrap(), Some(10)),
        other => panic!("{other:?}"),
    }
    match db.update(&update(10)).await.unwrap() {
        Outcome::Applied(image) => assert_eq!(image.field::<i64>("n").unwrap(), Some(11)),
        other => panic!("{other:?}"),
    }
}

async fn a_sum_reads_the_item_as_it_was(db: Db) {
    let key = keys::health();
    counter(&db, &key).await;
    let update = Update::of(key.clone())
        .increase("n", -3)
        .unwrap()
        .sum(["seen", "op:a.b"], "n", -3)
        .unwrap();
    let guarded = update.when(Cond::absent(["seen", "op:a.b"]).and(Cond::ge("n", 3).unwrap()));
    let Outcome::Applied(doc) = db.update(&guarded).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(doc.field::<i64>("n").unwrap(), Some(7));
    assert_eq!(doc.field::<Value>("seen").unwrap(), Some(json!({"op:a.b": 7})));
    assert!(matches!(
        db.update(&guarded).await.unwrap(),
        Outcome::Refused(Some(_))
    ));
}

async fn racing_updates_are_exact(db: Db) {
    let key = keys::health();
    counter(&db, &key).await;
    let take = Update::of(key.clone())
        .increase("n", -1)
        .unwrap()
        .when(Cond::ge("n", 1).unwrap());
    let outcomes = join_all((0..40).map(|_| db.update(&take))).await;
    let applied = outcomes
        .into_iter()
        .filter(|o| matches!(o, Ok(Outcome::Applied(_))))
        .count();
    assert_eq!((applied, n_of(&db, &key).await), (10, 0));
}

async fn a_transaction_is_all_or_nothing_and_names_the_refusal(db: Db) {
    let clock = clock();
    let cause = context(clock.now());
    let (ann, ben) = (user(&clock, "ann"), user(&clock, "ben"));
    db.put(&ben, None).await.unwrap();
    let tx = Tx::new(&db, &clock, &cause)
        .create(&ann)
        .unwrap()
        .create_or(&ben, taken)
        .unwrap();
    let refused = tx
        .audit(Action::UserCreated, Scope::Account(ann.id), ann.id, json!({}))
        .unwrap()
        .run()
        .await;
    assert!(
        matches!(refused, Err(Error::Conflict { code: "taken", .. })),
        "{refused:?}"
    );
    assert_eq!(db.get::<User>(&keys::user(ann.id)).await.unwrap(), None);
    let audits = db
        .list::<AuditRecord>(&keys::audits(&ann.id.to_string()), &PageRequest::default(), false)
        .await
        .unwrap();
    assert_eq!(audits.items, []);

    let missing = Tx::new(&db, &clock, &cause)
        .create(&ann)
        .unwrap()
        .check(keys::account(ann.id), Cond::item_exists(), || Error::NotFound)
        .run()
        .await;
    assert!(matches!(missing, Err(Error::NotFound)), "{missing:?}");
}

async fn two_updates_of_one_item_become_one(db: Db) {
    let clock = clock();
    let cause = context(clock.now());
    let key = keys::health();
    counter(&db, &key).await;
    let add = |field: &str| Update::of(key.clone()).add(field, 2).unwrap();
    Tx::new(&db, &clock, &cause)
        .update(add("n"), taken)
        .update(add("m"), taken)
        .run()
        .await
        .unwrap();
    let doc = db.get_doc(&key).await.unwrap().unwrap();
    assert_eq!(
        (doc.field::<i64>("n").unwrap(), doc.field::<i64>("m").unwrap()),
        (Some(12), Some(2))
    );
}

async fn racing_transactions_all_end(db: Db) {
    let clock = clock();
    let cause = context(clock.now());
    let key = keys::health();
    counter(&db, &key).await;
    let take = || {
        Update::of(key.clone())
            .increase("n", -1)
            .unwrap()
            .when(Cond::ge("n", 1).unwrap())
    };
    let people: Vec<_> = (0..24).map(|n| user(&clock, &n.to_string())).collect();
    let runs = people.iter().map(|p| {
        Tx::new(&db, &clock, &cause)
            .create(p)
            .unwrap()
            .update(take(), taken)
            .run()
    });
    let ended = join_all(runs).await;
    let won = ended.iter().filter(|r| r.is_ok()).count();
    assert!(
        ended
            .iter()
            .all(|r| matches!(r, Ok(()) | Err(Error::Conflict { code: "taken", .. }))),
        "{ended:?}"
    );
    assert_eq!((won, n_of(&db, &key).await), (10, 0));
    let mut written = 0;
    for person in &people {
        written += usize::from(db.get::<User>(&person.key()).await.unwrap().is_some());
    }
    assert_eq!(written, 10);
}

fn once(user: UserId, input: &str) -> OnceKey {
    OnceKey::new(user, "k", input)
}

async fn create_once(
    db: &Db,
    clock: &dyn Clock,
    owner: UserId,
    input: &str,
    name: &str,
) -> camarad::error::Result<Reply<Value>> {
    let cause = context(clock.now());
    let new = user(clock, name);
    let reply = Reply::created(&json!({"id": new.id})).unwrap();
    Tx::new(db, clock, &cause)
        .create(&new)
        .unwrap()
        .once(Some(&once(owner, input)))
        .event("t", json!({}))
        .unwrap()
        .commit(reply)
        .await
}

async fn a_key_gives_the_first_answer_to_all(db: Db) {
    let clock = clock();
    let owner = UserId::new(&clock);
    let answers = join_all((0..20).map(|_| create_once(&db, &clock, owner, "in", "ann"))).await;
    let bodies: Vec<_> = answers.into_iter().map(|a| a.unwrap().body).collect();
    assert!(bodies.iter().all(|b| *b == bodies[0]), "{bodies:?}");
    let mut events = 0;
    for shard in 0..keys::SHARDS {
        events += db
            .list::<OutboxRecord>(&keys::outbox_shard(shard), &PageRequest::default(), false)
            .await
            .unwrap()
            .items
            .len();
    }
    assert_eq!(events, 1, "one effect, one event");
    assert!(matches!(
        create_once(&db, &clock, owner, "other", "ben").await,
        Err(Error::KeyReused)
    ));
    assert!(
        create_once(&db, &clock, UserId::new(&clock), "other", "ben")
            .await
            .is_ok(),
        "keys of two people never meet"
    );
}

async fn an_expired_key_is_free_again(db: Db) {
    let clock = clock();
    let owner = UserId::new(&clock);
    let first = create_once(&db, &clock, owner, "in", "ann").await.unwrap();
    clock.advance(SignedDuration::from_hours(24) - SignedDuration::from_secs(1));
    assert_eq!(
        create_once(&db, &clock, owner, "in", "ann").await.unwrap().body,
        first.body
    );
    clock.advance(SignedDuration::from_secs(2));
    assert_ne!(
        create_once(&db, &clock, owner, "in", "ann").await.unwrap().body,
        first.body
    );
}

async fn a_batch_finds_what_exists(db: Db) {
    let clock = clock();
    let people: Vec<_> = (0..30).map(|n| user(&clock, &n.to_string())).collect();
    for person in people.iter().step_by(2) {
        db.put(person, None).await.unwrap();
    }
    let mut wanted: Vec<_> = people.iter().map(Entity::key).collect();
    wanted.push(wanted[0].clone());
    let mut batch = db.batch(&wanted).await.unwrap();
    for (n, person) in people.iter().enumerate() {
        assert_eq!(batch.read::<User>(&person.key()).unwrap().is_some(), n % 2 == 0);
    }
}

async fn a_list_is_walked_without_gap_or_repeat(db: Db) {
    let clock = clock();
    let cause = context(clock.now());
    let owner = UserId::new(&clock);
    for n in 0..23 {
        let tx = Tx::new(&db, &clock, &cause).audit(
            Action::UserUpdated,
            Scope::Account(owner),
            owner,
            json!({"n": n}),
        );
        tx.unwrap().run().await.unwrap();
    }
    let list = keys::audits(&owner.to_string());
    for newest_first in [false, true] {
        let (mut seen, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let page = PageRequest::parse(Some("5"), cursor.as_deref()).unwrap();
            let page = db.list::<AuditRecord>(&list, &page, newest_first).await.unwrap();
            assert!(!page.items.is_empty(), "no empty page at the end");
            seen.extend(page.items.into_iter().map(|r| r.id.to_string()));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let mut sorted = seen.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!((seen.len(), sorted.len()), (23, 23));
    }
    let foreign = PageRequest::parse(None, Some(&camarad::store::page::cursor("AGENT#x"))).unwrap();
    let refused = db
        .list::<AuditRecord>(
            &keys::members(camarad::ids::WorkspaceId::new(&clock)),
            &foreign,
            false,
        )
        .await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

async fn an_item_is_taken_once(db: Db) {
    let ann = user(&clock(), "ann");
    db.put(&ann, None).await.unwrap();
    let (key, cond) = (ann.key(), Cond::item_exists());
    let got = join_all((0..8).map(|_| db.take(&key, &cond))).await;
    assert_eq!(got.into_iter().filter(|d| matches!(d, Ok(Some(_)))).count(), 1);
}

async fn the_index_lists_what_is_due(db: Db) {
    let clock = clock();
    let call = CallId::new(&clock);
    let due = clock.now();
    let place = keys::hold_expiry(call, due);
    let update = Update::of(keys::hold(call))
        .set("GSI1PK", place.pk())
        .unwrap()
        .set("GSI1SK", place.sk())
        .unwrap();
    db.update(&update).await.unwrap();
    let at = |s| keys::holds_until(due + SignedDuration::from_secs(s));
    assert_eq!(db.hints(place.pk(), &at(-1), 10).await.unwrap(), []);
    assert_eq!(
        db.hints(place.pk(), &at(1), 10).await.unwrap(),
        [keys::hold(call)]
    );
    db.update(&Update::of(keys::hold(call)).remove("GSI1PK").remove("GSI1SK"))
        .await
        .unwrap();
    assert_eq!(db.hints(place.pk(), &at(1), 10).await.unwrap(), []);
}

async fn a_walk_meets_everything_once(db: Db) {
    let mut walk = db.walk(keys::stripe_customers, 2);
    assert_eq!(walk.next().await.unwrap(), None);
    let clock = clock();
    let mut made = Vec::new();
    // Some shards get several pages, and some none.
    for n in 0..60 {
        let user = UserId::new(&clock);
        let place = keys::stripe_customer_place(user, &format!("cus_{n:02}"));
        let key = keys::stripe_customer(&format!("cus_{n:02}"));
        let update = Update::of(key.clone());
        let update = update.set("GSI2PK", place.pk()).unwrap();
        db.update(&update.set("GSI2SK", place.sk()).unwrap())
            .await
            .unwrap();
        made.push(key);
    }
    let (mut walk, mut met) = (db.walk(keys::stripe_customers, 2), Vec::new());
    while let Some(keys) = walk.next().await.unwrap() {
        assert!((1..=2).contains(&keys.len()));
        met.extend(keys);
    }
    assert_eq!(walk.next().await.unwrap(), None);
    met.sort_by(|a, b| a.pk().cmp(b.pk()));
    assert_eq!(met, made);
}

async fn the_engine_reports_what_it_costs(db: Db) {
    let clock = clock();
    let ann = user(&clock, "ann");
    let (_, write) = cost::metered(db.put(&ann, None)).await;
    let (_, read) = cost::metered(db.get::<User>(&keys::user(ann.id))).await;
    assert_eq!((write.calls, write.serial, write.wcu, read.rcu), (1, 1, 1.0, 1.0));
}

// On one thread, so that no answer can arrive between the start of the first call and that of the second.
#[tokio::test]
async fn calls_side_by_side_are_one_round_trip() {
    let db = engine::dynoxide().await;
    let keys: Vec<_> = (0..3).map(|_| keys::user(UserId::new(&clock()))).collect();
    let (_, cost) = cost::metered(join_all(keys.iter().map(|k| db.get_doc(k)))).await;
    assert_eq!((cost.calls, cost.serial), (3, 1));
    let (_, cost) = cost::metered(async { (db.get_doc(&keys[0]).await, db.get_doc(&keys[1]).await) }).await;
    assert_eq!((cost.calls, cost.serial), (2, 2));
}
