//! The table's operations. Reads are strongly consistent unless said; every call is bounded in time, counted in
//! `cost`, and retried where repeating it cannot do harm.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::cost;
use super::entity::{Doc, Entity, item};
use super::expr::{Cond, Update};
use super::keys::Key;
use super::wire::{Item, Rendered, Value};
use crate::error::{Error, Result};
use crate::random;

/// How often a throttled or conflicting call is tried before the caller hears `Unavailable`.
pub(super) const TRIES: u32 = 8;

/// What became of a conditional write.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It happened; the item as it stands now.
    Applied(Doc),
    /// Its condition did not hold; the item as it stands, if there is one.
    Refused(Option<Doc>),
}

/// The table.
#[derive(Debug, Clone)]
pub struct Db {
    pub(super) client: Client,
    pub(super) table: String,
}

/// Items that were read together.
#[derive(Debug, Default)]
pub struct Batch(HashMap<Key, Item>);

impl Batch {
    /// Whether there is an item at `key`.
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// The item at `key`, untyped, if it exists.
    pub fn take(&mut self, key: &Key) -> Option<Doc> {
        self.0.remove(key).map(Doc)
    }

    /// The item at `key` as a type, if it exists.
    pub fn read<E: Entity>(&mut self, key: &Key) -> Result<Option<E>> {
        self.0.remove(key).map(|i| Doc(i).read()).transpose()
    }
}

/// Sleeps before try number `n + 1`: full jitter up to 20 ms · 2ⁿ, at most one second.
pub(crate) async fn back_off(n: u32) {
    let cap = 20_u64.saturating_mul(1 << n.min(6)).min(1_000);
    tokio::time::sleep(Duration::from_millis(random::below(cap + 1))).await;
}

/// Whether the engine refused before doing anything, so that the same call may be sent again.
fn try_again<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    matches!(
        error.as_service_error().and_then(ProvideErrorMetadata::code),
        Some(
            "TransactionConflictException"
                | "ProvisionedThroughputExceededException"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "InternalServerError"
        )
    )
}

fn internal<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("InternalServerError")
}

pub(super) fn failed<E, R>(error: SdkError<E, R>) -> Error
where
    E: std::error::Error + Send + Sync + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let transient = match &error {
        SdkError::ServiceError(_) => try_again(&error),
        SdkError::ConstructionFailure(_) => false,
        _ => true,
    };
    if transient {
        Error::Unavailable(Box::new(error))
    } else {
        Error::internal(error)
    }
}

pub(super) fn count_read(capacity: &[ConsumedCapacity]) {
    capacity
        .iter()
        .for_each(|c| cost::read(c.capacity_units().unwrap_or(0.0)));
}

pub(super) fn count_write(capacity: &[ConsumedCapacity]) {
    capacity
        .iter()
        .for_each(|c| cost::wrote(c.capacity_units().unwrap_or(0.0)));
}

pub(super) fn attributes(key: &Key) -> Result<Item> {
    Ok(HashMap::from([
        ("PK".to_owned(), Value::of(&key.pk())?.0),
        ("SK".to_owned(), Value::of(&key.sk())?.0),
    ]))
}

impl Db {
    /// The table `table`, through `client`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self {
            client,
            table: table.into(),
        }
    }

    /// Reads one item.
    pub async fn get<E: Entity>(&self, key: &Key) -> Result<Option<E>> {
        self.get_doc(key).await?.map(Doc::read).transpose()
    }

    /// Reads one item, untyped.
    pub async fn get_doc(&self, key: &Key) -> Result<Option<Doc>> {
        let _call = cost::begin();
        let out = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(attributes(key)?))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(failed)?;
        count_read(out.consumed_capacity.as_slice());
        Ok(out.item.map(Doc))
    }

    /// Reads up to 100 items in one round trip (more only while the engine leaves some unprocessed).
    pub async fn batch(&self, keys: &[Key]) -> Result<Batch> {
        let mut wanted = keys.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let mut pending = wanted.iter().map(attributes).collect::<Result<Vec<_>>>()?;
        let mut found = Batch::default();
        if pending.is_empty() {
            return Ok(found); // DynamoDB refuses a request for nothing
        }
        for n in 0..TRIES {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(pending))
                .consistent_read(true)
                .build();
            let out = {
                let _call = cost::begin();
                self.client
                    .batch_get_item()
                    .request_items(&self.table, request.map_err(Error::internal)?)
                    .return_consumed_capacity(ReturnConsumedCapacity::Total)
                    .send()
                    .await
                    .map_err(failed)?
            };
            count_read(out.consumed_capacity());
            for item in out.responses.unwrap_or_default().into_values().flatten() {
                let doc = Doc(item);
                found.0.insert(doc.key()?, doc.0);
            }
            pending = out
                .unprocessed_keys
                .unwrap_or_default()
                .into_values()
                .flat_map(|k| k.keys)
                .collect();
            if pending.is_empty() {
                return Ok(found);
            }
            back_off(n).await;
        }
        Err(Error::Unavailable("DynamoDB left keys unprocessed".into()))
    }

    /// A conditional update. The SDK repeats it when an answer got lost, so the condition or the change itself must
    /// make a second application harmless or detectable.
    pub async fn update(&self, update: &Update) -> Result<Outcome> {
        self.send_update(update, true).await
    }

    /// The same, sent at most once: when the answer is lost the caller gets `Unavailable` and does not know.
    pub async fn update_once(&self, update: &Update) -> Result<Outcome> {
        self.send_update(update, false).await
    }

    async fn send_update(&self, update: &Update, may_repeat: bool) -> Result<Outcome> {
        let rendered = Rendered::of_update(update);
        let mut n = 0;
        loop {
            let request = self
                .client
                .update_item()
                .table_name(&self.table)
                .set_key(Some(attributes(&update.key)?))
                .set_update_expression(rendered.update.clone())
                .set_condition_expression(rendered.condition.clone())
                .set_expression_attribute_names(rendered.names())
                .set_expression_attribute_values(rendered.values())
                .return_values(ReturnValue::AllNew)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            let call = cost::begin();
            let sent = if may_repeat {
                request.send().await
            } else {
                let once = aws_sdk_dynamodb::config::retry::RetryConfig::disabled();
                let only_once = aws_sdk_dynamodb::Config::builder().retry_config(once);
                request.customize().config_override(only_once).send().await
            };
            drop(call);
            match sent {
                Ok(out) => {
                    count_write(out.consumed_capacity.as_slice());
                    return Ok(Outcome::Applied(Doc(out.attributes.unwrap_or_default())));
                }
                Err(error) if refused(&error) => return Ok(Outcome::Refused(old_image(&error))),
                // After an internal error nobody knows whether the write happened.
                Err(error) if try_again(&error) && (may_repeat || !internal(&error)) && n < TRIES => {
                    back_off(n).await
                }
                Err(error) => return Err(failed(error)),
            }
            n += 1;
        }
    }

    /// Writes an item if `cond` holds for what is there; false if it does not.
    pub async fn put<E: Entity>(&self, entity: &E, cond: Option<&Cond>) -> Result<bool> {
        let rendered = Rendered::of_cond(cond);
        let item = item(entity)?;
        let put = conditional(|| {
            self.client
                .put_item()
                .table_name(&self.table)
                .set_item(Some(item.clone()))
                .set_condition_expression(rendered.condition.clone())
                .set_expression_attribute_names(rendered.names())
                .set_expression_attribute_values(rendered.values())
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .boxed()
        });
        let Some(out) = put.await? else {
            return Ok(false);
        };
        count_write(out.consumed_capacity.as_slice());
        Ok(true)
    }

    /// Removes an item if `cond` holds for it, and answers what was there; `None` if it does not hold.
    pub async fn take(&self, key: &Key, cond: &Cond) -> Result<Option<Doc>> {
        let rendered = Rendered::of_cond(Some(cond));
        let key = attributes(key)?;
        let delete = conditional(|| {
            self.client
                .delete_item()
                .table_name(&self.table)
                .set_key(Some(key.clone()))
                .set_condition_expression(rendered.condition.clone())
                .set_expression_attribute_names(rendered.names())
                .set_expression_attribute_values(rendered.values())
                .return_values(ReturnValue::AllOld)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .boxed()
        });
        let Some(out) = delete.await? else {
            return Ok(None);
        };
        count_write(out.consumed_capacity.as_slice());
        Ok(out.attributes.map(Doc))
    }
}

/// Sends a conditional write, and again where the engine did nothing; `None` when its condition does not hold.
///
/// The future is boxed: inside those of its callers it would make their layout too deep to compute.
async fn conditional<'a, T, E, R>(
    send: impl Fn() -> BoxFuture<'a, std::result::Result<T, SdkError<E, R>>>,
) -> Result<Option<T>>
where
    E: std::error::Error + Send + Sync + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let mut n = 0;
    loop {
        let _call = cost::begin();
        match send().await {
            Ok(out) => return Ok(Some(out)),
            Err(error) if refused(&error) => return Ok(None),
            Err(error) if try_again(&error) && n < TRIES => back_off(n).await,
            Err(error) => return Err(failed(error)),
        }
        n += 1;
    }
}

fn refused<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("ConditionalCheckFailedException")
}

fn old_image<R>(error: &SdkError<UpdateItemError, R>) -> Option<Doc> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(e)) => {
            e.item.clone().filter(|i| !i.is_empty()).map(Doc)
        }
        _ => None,
    }
}
