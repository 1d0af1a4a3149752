//! Walks: everything that stands in one kind of the second index, for jobs that look at all of it.

use super::db::Db;
use super::keys::{Key, SHARDS};
use super::wire::{Item, Value};
use crate::error::Result;

/// A walk over all shards of one kind of the second index. What is added or removed meanwhile may be met or not;
/// everything else is met once. An index lags behind the table: a key is a hint, to be read before acting on it.
pub struct Walk<'a> {
    db: &'a Db,
    shards: fn(u8) -> String,
    limit: u32,
    /// `None` at the end.
    shard: Option<u8>,
    after: Option<Item>,
}

impl Db {
    /// A walk over the partitions that `shards` names, in pages of at most `limit` keys.
    pub fn walk(&self, shards: fn(u8) -> String, limit: u32) -> Walk<'_> {
        Walk {
            db: self,
            shards,
            limit,
            shard: Some(0),
            after: None,
        }
    }
}

impl Db {
    /// At most `limit` keys of one partition of the second index, those after the place `after`, and whether there may be
    /// more: for walks that go on in another invocation.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn places(&self, partition: &str, after: Option<&str>, limit: u32) -> Result<(Vec<Key>, bool)> {
        let query = self.client.query().index_name("GSI2");
        let query = query
            .key_condition_expression("GSI2PK = :pk AND GSI2SK > :after")
            .expression_attribute_values(":pk", Value::of(&partition)?.0)
            // Before every place: a sort key has one character at least.
            .expression_attribute_values(":after", Value::of(&after.unwrap_or(" "))?.0);
        let (keys, next) = self.index_keys(query, limit).await?;
        Ok((keys, next.is_some()))
    }
}

impl Walk<'_> {
    /// The next keys, never none; `None` at the end. May be called again after an error: it asks for the same.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Key>>> {
        while let Some(shard) = self.shard {
            let keys = self.page(shard).await?;
            if self.after.is_none() {
                self.shard = Some(shard + 1).filter(|next| *next < SHARDS);
            }
            if !keys.is_empty() {
                return Ok(Some(keys));
            }
        }
        Ok(None)
    }

    async fn page(&mut self, shard: u8) -> Result<Vec<Key>> {
        let query = self.db.client.query().index_name("GSI2");
        let query = query
            .key_condition_expression("GSI2PK = :pk")
            .expression_attribute_values(":pk", Value::of(&(self.shards)(shard))?.0)
            .set_exclusive_start_key(self.after.clone());
        let (keys, next) = self.db.index_keys(query, self.limit).await?;
        self.after = next;
        Ok(keys)
    }
}
