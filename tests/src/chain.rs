//! Audit chains under test: what stands in for the table's stream, and an auditor who reads a whole chain.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use camarad::app::App;
use camarad::domain::audit::chain::{Chain, Kind, Seal, Statement, genesis};
use camarad::domain::audit::seal::Order;
use camarad::lambda::batch::{Change, Message};
use camarad::store::keys;
use camarad::store::record::AuditRecord;
use serde_json::json;

use crate::app::TestApp;
use crate::engine;

/// Messages of a queue with these bodies.
pub fn messages(orders: &[Order]) -> Vec<Message> {
    let message = |(n, order): (usize, &Order)| Message {
        id: format!("message-{n}"),
        body: json!(order).to_string(),
    };
    orders.iter().enumerate().map(message).collect()
}

/// Every audit record, as the table's stream told of it.
pub async fn told(t: &TestApp) -> Vec<Change> {
    let mut changes = Vec::new();
    for item in engine::items(&t.dynamodb).await {
        if item.get("kind") == Some(&AttributeValue::S("audit".into())) {
            let (pk, sk) = (
                item["PK"].as_s().expect("a key"),
                item["SK"].as_s().expect("a key"),
            );
            let image = serde_dynamo::to_item(json!({"PK": pk, "SK": sk})).expect("an image");
            changes.push(Change {
                sequence: (1_000 + changes.len()).to_string(),
                new: Some(camarad::store::Doc::from_stream(image)),
                old: None,
                expired: false,
            });
        }
    }
    changes
}

/// Works the audit queue off; answers how many messages there were.
pub async fn work_off(t: &TestApp) -> usize {
    let mut worked = 0;
    loop {
        let messages = t.taken(|config| &config.audit_queue_url).await;
        if messages.is_empty() {
            return worked;
        }
        worked += messages.len();
        for batch in messages.chunks(10) {
            let failed = audit_sealer::handle(t.app.clone(), batch.to_vec()).await;
            assert_eq!(failed, [""; 0], "every order is carried out");
        }
    }
}

/// Seals whatever there is, through stream, queue and sealer.
pub async fn seal_all(t: &TestApp) {
    assert_eq!(outbox::handle(t.app.clone(), told(t).await).await, None);
    work_off(t).await;
}

/// Reads a whole chain and checks it: numbers without gap, every hash, the head; each record of the log sealed, and once.
/// Answers the seals.
pub async fn audited(app: &App, scope: &str) -> Vec<Seal> {
    let chain = app
        .db()
        .get::<Chain>(&keys::chain(scope))
        .await
        .expect("the table answers");
    let chain = chain.unwrap_or_else(|| Chain::new(scope));
    let list = keys::seals(scope);
    let seals: Vec<Seal> = app.db().part(&list, "S#", "S#~").await.expect("seals");
    let mut before = chain.start();
    let mut sealed = BTreeSet::new();
    for seal in seals.iter().filter(|s| s.seq > chain.start().0) {
        assert!(
            seal.follows((before.0, &before.1)),
            "number {} does not follow",
            seal.seq
        );
        assert!(sealed.insert(seal.id), "{} is sealed twice", seal.id);
        before = (seal.seq, seal.hash.clone());
    }
    assert_eq!(
        before,
        (chain.seq, chain.hash.clone()),
        "the head is the last seal's"
    );
    match &chain.head {
        Some(Statement {
            kind: Kind::Head,
            seq,
            hash,
            ..
        }) => assert_eq!((*seq, hash), (chain.seq, &chain.hash)),
        other => assert!(other.is_none() && chain.hash == genesis(scope), "{other:?}"),
    }
    for part in keys::audit_parts(scope) {
        let records: Vec<AuditRecord> = app.db().part(&part, "0", "~").await.expect("records");
        for record in records {
            assert!(sealed.contains(&record.id), "{} has no seal", record.id);
        }
    }
    seals
}
