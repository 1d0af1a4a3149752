//! `Tx`, the one way to write what a person caused. It gathers puts, updates, deletes and checks, adds the audit,
//! outbox and idempotency records, and commits all of it with one TransactWriteItems: an effect without its audit
//! record, or twice under one key, cannot be written.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{self, ReturnConsumedCapacity, TransactWriteItem};
use serde::Serialize;
use serde_json::Value;

use super::cost;
use super::db::{Db, TRIES, attributes, back_off, count_write, failed};
use super::entity::{Entity, item};
use super::expr::{Cond, Update};
use super::keys::Key;
pub use super::once::OnceKey;
use super::record::{Action, AuditRecord, OutboxRecord, Scope};
use super::wire::{Item, Rendered};
use crate::clock::Clock;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{AuditId, EventId};
use crate::random;
use crate::reply::Reply;

/// DynamoDB's bound for one transaction.
pub const MAX_WRITES: usize = 100;

/// What the caller hears when a write's condition does not hold.
type OnRefusal = Box<dyn Fn() -> Error + Send + Sync>;

enum Write {
    Put(Item, Option<Cond>),
    Update(Update),
    Delete(Key, Option<Cond>),
    Check(Key, Cond),
}

struct Staged {
    write: Write,
    on_refusal: OnRefusal,
}

/// A transaction that is being put together.
pub struct Tx<'a> {
    db: &'a Db,
    clock: &'a dyn Clock,
    cause: &'a Context,
    staged: Vec<Staged>,
    once: Option<OnceKey>,
}

fn conflict() -> Error {
    Error::Conflict {
        code: "conflict",
        detail: "the resource was changed by another request: read it again".into(),
    }
}

impl<'a> Tx<'a> {
    /// A transaction caused by `cause`.
    pub fn new(db: &'a Db, clock: &'a dyn Clock, cause: &'a Context) -> Self {
        Self {
            db,
            clock,
            cause,
            staged: Vec::new(),
            once: None,
        }
    }

    fn stage(mut self, write: Write, on_refusal: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        self.staged.push(Staged {
            write,
            on_refusal: Box::new(on_refusal),
        });
        self
    }

    /// Creates an item; `conflict` when there is one.
    pub fn create<E: Entity>(self, entity: &E) -> Result<Self> {
        self.create_or(entity, conflict)
    }

    /// Creates an item, or fails with `on_refusal` when there is one.
    pub fn create_or<E: Entity>(
        self,
        entity: &E,
        on_refusal: impl Fn() -> Error + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(self.stage(Write::Put(item(entity)?, Some(Cond::item_absent())), on_refusal))
    }

    /// Writes an item over whatever is there.
    pub fn put<E: Entity>(self, entity: &E) -> Result<Self> {
        Ok(self.stage(Write::Put(item(entity)?, None), conflict))
    }

    /// Writes an item if `cond` holds for what is there.
    pub fn put_if<E: Entity>(
        self,
        entity: &E,
        cond: Cond,
        on_refusal: impl Fn() -> Error + Send + Sync + 'static,
    ) -> Result<Self> {
        Ok(self.stage(Write::Put(item(entity)?, Some(cond)), on_refusal))
    }

    /// Updates an item; `on_refusal` when its condition does not hold. Two updates of one item become one, as
    /// DynamoDB takes each item once; the first refusal speaks for both.
    pub fn update(mut self, update: Update, on_refusal: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        let same = self.staged.iter_mut().find_map(|s| match &mut s.write {
            Write::Update(first) if first.key == update.key => Some(first),
            _ => None,
        });
        match same {
            None => self.stage(Write::Update(update), on_refusal),
            Some(first) => {
                first.changes.extend(update.changes);
                if let Some(cond) = update.cond {
                    *first = first.clone().when(cond);
                }
                self
            }
        }
    }

    /// Deletes an item if `cond` holds for it.
    pub fn delete(
        self,
        key: Key,
        cond: Option<Cond>,
        on_refusal: impl Fn() -> Error + Send + Sync + 'static,
    ) -> Self {
        self.stage(Write::Delete(key, cond), on_refusal)
    }

    /// Commits only if `cond` holds for an item that is not written.
    pub fn check(self, key: Key, cond: Cond, on_refusal: impl Fn() -> Error + Send + Sync + 'static) -> Self {
        self.stage(Write::Check(key, cond), on_refusal)
    }

    /// Records what was done, in the log of `scope`.
    pub fn audit(self, action: Action, scope: Scope, resource: impl ToString, detail: Value) -> Result<Self> {
        let id = AuditId::new(self.clock);
        let record = AuditRecord::new(id, self.cause, (action, scope), resource.to_string(), detail)?;
        self.create(&record)
    }

    /// Publishes a domain event once the transaction has committed.
    pub fn event(self, event_type: &str, data: impl Serialize) -> Result<Self> {
        let record = self.happened(EventId::new(self.clock), event_type, data)?;
        self.create(&record)
    }

    /// The same under an id that the caller derived, so that a repeated commit publishes no second event.
    pub fn event_as(self, id: EventId, event_type: &str, data: impl Serialize) -> Result<Self> {
        let record = self.happened(id, event_type, data)?;
        self.put(&record)
    }

    fn happened(&self, id: EventId, event_type: &str, data: impl Serialize) -> Result<OutboxRecord> {
        Ok(OutboxRecord {
            id,
            event_type: event_type.into(),
            at: self.cause.now,
            data: serde_json::to_value(data).map_err(Error::internal)?,
        })
    }

    /// Commits under the caller's Idempotency-Key, if there is one.
    pub fn once(mut self, once: Option<&OnceKey>) -> Self {
        self.once = once.cloned();
        self
    }

    /// Commits and answers `reply`; under a key that was used before, answers what was answered then.
    ///
    /// # Errors
    /// The refusal of the first write whose condition did not hold; `KeyReused`; `Unavailable` when conflicts did
    /// not end or the table did not answer (the same request with the same key may be sent again).
    pub async fn commit<T>(mut self, reply: Reply<T>) -> Result<Reply<T>> {
        if let Some(once) = self.once.take() {
            let record = once.record(&reply, self.cause.now)?;
            let free = Cond::item_absent().or(Cond::le("expiresAt", self.cause.now)?);
            let replay = Staged {
                write: Write::Put(item(&record)?, Some(free)),
                on_refusal: Box::new(|| Error::KeyReused),
            };
            // First in the list, so that a repeated request is told apart before its other conditions speak.
            self.staged.insert(0, replay);
            return match self.send().await? {
                None => Ok(reply),
                Some(0) => match Box::pin(once.first_answer(self.db, self.cause.now)).await? {
                    Some(first) => Ok(first),
                    None => Err(Error::Unavailable(
                        "the idempotency record changed while it was read".into(),
                    )),
                },
                Some(index) => Err(self.refusal(index)),
            };
        }
        match self.send().await? {
            None => Ok(reply),
            Some(index) => Err(self.refusal(index)),
        }
    }

    /// Commits without an answer: for jobs and consumers.
    pub async fn run(self) -> Result<()> {
        match self.send().await? {
            None => Ok(()),
            Some(index) => Err(self.refusal(index)),
        }
    }

    fn refusal(&self, index: usize) -> Error {
        self.staged.get(index).map_or_else(conflict, |s| (s.on_refusal)())
    }

    /// The index of the first refused write, or `None` when everything was written.
    async fn send(&self) -> Result<Option<usize>> {
        if self.staged.len() > MAX_WRITES {
            return Err(Error::internal(format!(
                "a transaction of {} writes",
                self.staged.len()
            )));
        }
        let items = self
            .staged
            .iter()
            .map(|s| self.render(&s.write))
            .collect::<Result<Vec<_>>>()?;
        let token = data_encoding::HEXLOWER.encode(&random::bytes::<16>());
        for n in 0..TRIES {
            let sent = {
                let _call = cost::begin();
                self.db
                    .client
                    .transact_write_items()
                    .set_transact_items(Some(items.clone()))
                    .client_request_token(&token)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await
            };
            match sent {
                Ok(out) => {
                    count_write(out.consumed_capacity());
                    return Ok(None);
                }
                Err(error) => match verdict(&error) {
                    Verdict::Refused(index) => return Ok(Some(index)),
                    Verdict::TryAgain => back_off(n).await,
                    Verdict::Failed => return Err(failed(error)),
                },
            }
        }
        Err(Error::Unavailable("the transaction kept meeting others".into()))
    }

    fn render(&self, write: &Write) -> Result<TransactWriteItem> {
        let table = &self.db.table;
        let wrap = TransactWriteItem::builder();
        Ok(match write {
            Write::Put(item, cond) => {
                let r = Rendered::of_cond(cond.as_ref());
                let put = types::Put::builder()
                    .table_name(table)
                    .set_item(Some(item.clone()))
                    .set_condition_expression(r.condition.clone())
                    .set_expression_attribute_names(r.names())
                    .set_expression_attribute_values(r.values());
                wrap.put(put.build().map_err(Error::internal)?).build()
            }
            Write::Update(update) => {
                let r = Rendered::of_update(update);
                let change = types::Update::builder()
                    .table_name(table)
                    .set_key(Some(attributes(&update.key)?))
                    .set_update_expression(r.update.clone())
                    .set_condition_expression(r.condition.clone())
                    .set_expression_attribute_names(r.names())
                    .set_expression_attribute_values(r.values());
                wrap.update(change.build().map_err(Error::internal)?).build()
            }
            Write::Delete(key, cond) => {
                let r = Rendered::of_cond(cond.as_ref());
                let delete = types::Delete::builder()
                    .table_name(table)
                    .set_key(Some(attributes(key)?))
                    .set_condition_expression(r.condition.clone())
                    .set_expression_attribute_names(r.names())
                    .set_expression_attribute_values(r.values());
                wrap.delete(delete.build().map_err(Error::internal)?).build()
            }
            Write::Check(key, cond) => {
                let r = Rendered::of_cond(Some(cond));
                let check = types::ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(attributes(key)?))
                    .set_condition_expression(r.condition.clone())
                    .set_expression_attribute_names(r.names())
                    .set_expression_attribute_values(r.values());
                wrap.condition_check(check.build().map_err(Error::internal)?)
                    .build()
            }
        })
    }
}

enum Verdict {
    Refused(usize),
    TryAgain,
    Failed,
}

fn verdict<R>(error: &SdkError<TransactWriteItemsError, R>) -> Verdict {
    use aws_sdk_dynamodb::error::ProvideErrorMetadata;
    let Some(service) = error.as_service_error() else {
        return Verdict::Failed;
    };
    let TransactWriteItemsError::TransactionCanceledException(cancelled) = service else {
        return match service.code() {
            Some(
                "TransactionInProgressException"
                | "ThrottlingException"
                | "ProvisionedThroughputExceededException"
                | "InternalServerError",
            ) => Verdict::TryAgain,
            _ => Verdict::Failed,
        };
    };
    let codes: Vec<_> = cancelled
        .cancellation_reasons()
        .iter()
        .map(|r| r.code().unwrap_or("None"))
        .collect();
    if let Some(index) = codes.iter().position(|c| *c == "ConditionalCheckFailed") {
        return Verdict::Refused(index);
    }
    let passing = [
        "TransactionConflict",
        "ProvisionedThroughputExceeded",
        "ThrottlingError",
    ];
    if codes.iter().any(|c| passing.contains(c)) {
        Verdict::TryAgain
    } else {
        Verdict::Failed
    }
}
