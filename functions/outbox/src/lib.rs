//! What the table's stream wakes: the publisher of domain events, the flush of ledgers, quota warnings, the sealer of
//! audit records.

use std::collections::BTreeMap;

use camarad::app::App;
use camarad::domain::audit::seal;
use camarad::domain::usage::quota::{self, Passed};
use camarad::domain::{ledger, outbox};
use camarad::error::Result;
use camarad::ids::{EventId, UserId};
use camarad::lambda::batch::Change;
use camarad::store::keys;
use camarad::store::record::OutboxRecord;

/// What a batch of changes asks for, each with the place of the first change that asks for it.
#[derive(Default)]
struct Work {
    events: BTreeMap<EventId, (usize, OutboxRecord)>,
    ledgers: BTreeMap<UserId, usize>,
    /// Thresholds of quotas.
    passed: Vec<(usize, Passed)>,
    /// Scopes and places of audit records, with the place of the first change.
    audits: Option<(usize, Vec<(String, String)>)>,
}

/// Does what the changes ask for. Answers the sequence number of the first change whose work failed: the stream sends
/// that one and what follows again, and all of it may be repeated.
pub async fn handle(app: App, changes: Vec<Change>) -> Option<String> {
    let mut work = Work::default();
    let mut failed = Vec::new();
    for (place, change) in changes.iter().enumerate() {
        if let Err(error) = work.read(place, change) {
            tracing::error!(error = %error, cause = ?error, sequence = change.sequence, "a change cannot be read");
            failed.push(place);
        }
    }
    // First, as somebody waits for them.
    for (place, passed) in &work.passed {
        if let Err(error) = quota::warn(&app, passed).await {
            tracing::error!(error = %error, cause = ?error, "a quota warning could not be given");
            failed.push(*place);
        }
    }
    let records: Vec<_> = work.events.values().map(|(_, record)| record.clone()).collect();
    let unpublished = outbox::publish(&app, &records).await;
    failed.extend(
        unpublished
            .iter()
            .filter_map(|id| work.events.get(id))
            .map(|(place, _)| *place),
    );
    for (account, place) in work.ledgers {
        if let Err(error) = ledger::flush(&app, account).await {
            tracing::error!(error = %error, cause = ?error, account = %account, "a ledger could not be flushed");
            failed.push(place);
        }
    }
    if let Some((place, records)) = work.audits
        && let Err(error) = seal::ask(&app, records).await
    {
        tracing::error!(error = %error, cause = ?error, "audit records wait for the sealer");
        failed.push(place);
    }
    failed
        .into_iter()
        .min()
        .and_then(|place| changes.get(place))
        .map(|change| change.sequence.clone())
}

impl Work {
    fn read(&mut self, place: usize, change: &Change) -> Result<()> {
        // What expired was removed by DynamoDB: housekeeping, and no event of ours.
        let Some(image) = change.new.as_ref().filter(|_| !change.expired) else {
            return Ok(());
        };
        let key = image.key()?;
        if let Some(scope) = keys::scope_of_audit(&key) {
            let (_, records) = self.audits.get_or_insert((place, Vec::new()));
            records.push((scope.to_owned(), key.sk().to_owned()));
        } else if keys::is_outbox(&key) {
            let record: OutboxRecord = image.clone().read()?;
            self.events.entry(record.id).or_insert((place, record));
        } else {
            let passed = quota::passed(change.old.as_ref(), image)?;
            self.passed.extend(passed.into_iter().map(|p| (place, p)));
            if let Some(account) = ledger::is_due(image)? {
                self.ledgers.entry(account).or_insert(place);
            }
        }
        Ok(())
    }
}
