//! Queries: pages of lists from the base table, and hints from the indexes.

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;

use super::cost;
use super::db::{Db, attributes, count_read, failed};
use super::entity::{Doc, Entity};
use super::expr::Cond;
use super::keys::{Key, List};
use super::page::{Page, PageRequest, cursor};
use super::wire::{Item, Value};
use crate::error::{Error, Result};

/// How many items of a part are asked for at once.
const PART: u32 = 1_000;

impl Db {
    /// One page of a list, oldest (smallest sort key) first, or newest first.
    pub async fn list<E: Entity>(
        &self,
        list: &List,
        page: &PageRequest,
        newest_first: bool,
    ) -> Result<Page<E>> {
        let docs = self.query(list, None, page, newest_first).await?;
        let items = docs
            .items
            .into_iter()
            .map(Doc::read)
            .collect::<Result<Vec<_>>>()?;
        Ok(Page {
            items,
            next_cursor: docs.next_cursor,
        })
    }

    /// The whole part of a list between two sort keys, both included, oldest first; for parts that are known to be
    /// bounded.
    pub async fn part<E: Entity>(&self, list: &List, from: &str, to: &str) -> Result<Vec<E>> {
        let docs = self.part_docs(list, from, to).await?;
        docs.into_iter().map(Doc::read).collect()
    }

    /// The same, untyped.
    pub async fn part_docs(&self, list: &List, from: &str, to: &str) -> Result<Vec<Doc>> {
        let mut page = PageRequest::of(PART);
        let mut items = Vec::new();
        loop {
            let docs = self.query(list, Some((from, to)), &page, false).await?;
            if docs.next_cursor.is_some()
                && let Some(last) = docs.items.last()
            {
                page = page.starting_after(last.key()?.sk());
            }
            let more = docs.next_cursor.is_some();
            items.extend(docs.items);
            if !more {
                return Ok(items);
            }
        }
    }

    /// The items of a list between two sort keys, both included, at most `limit`, and whether there are more; for lists
    /// that are filtered or merged before they are shown.
    pub async fn between(
        &self,
        list: &List,
        (from, to): (&str, &str),
        limit: u32,
        newest_first: bool,
    ) -> Result<(Vec<Doc>, bool)> {
        if from > to {
            return Ok((Vec::new(), false)); // which DynamoDB refuses
        }
        let page = PageRequest::of(limit);
        let docs = self.query(list, Some((from, to)), &page, newest_first).await?;
        Ok((docs.items, docs.next_cursor.is_some()))
    }

    /// All of a list, oldest first; for lists that are known to be short.
    pub async fn all<E: Entity>(&self, list: &List) -> Result<Vec<E>> {
        let mut page = PageRequest::of(PART);
        let mut items = Vec::new();
        loop {
            let docs = self.query(list, None, &page, false).await?;
            let last = docs.items.last().map(Doc::key).transpose()?;
            for doc in docs.items {
                items.push(doc.read()?);
            }
            match (docs.next_cursor, last) {
                (Some(_), Some(last)) => page = page.starting_after(last.sk()),
                _ => return Ok(items),
            }
        }
    }

    /// The first items of a list, untyped; for jobs that work a list off from its start.
    pub async fn docs(&self, list: &List, page: &PageRequest) -> Result<Vec<Doc>> {
        Ok(self.query(list, None, page, false).await?.items)
    }

    /// Removes every item of a list. It may be ended at any point: the next run goes on.
    pub async fn empty(&self, list: &List) -> Result<()> {
        loop {
            let docs = self.docs(list, &PageRequest::default()).await?;
            if docs.is_empty() {
                return Ok(());
            }
            for doc in docs {
                self.take(&doc.key()?, &Cond::item_exists()).await?;
            }
        }
    }

    async fn query(
        &self,
        list: &List,
        range: Option<(&str, &str)>,
        page: &PageRequest,
        newest_first: bool,
    ) -> Result<Page<Doc>> {
        let _call = cost::begin();
        let mut query = self
            .client
            .query()
            .table_name(&self.table)
            .expression_attribute_values(":pk", Value::of(&list.pk)?.0)
            .consistent_read(true)
            .scan_index_forward(!newest_first)
            // One more than wanted tells whether there is a next page, without an empty one at the end.
            .limit(i32::try_from(page.limit()).unwrap_or(100) + 1)
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        query = match (range, list.prefix) {
            (Some((from, to)), _) => query
                .key_condition_expression("PK = :pk AND SK BETWEEN :from AND :to")
                .expression_attribute_values(":from", Value::of(&from)?.0)
                .expression_attribute_values(":to", Value::of(&to)?.0),
            (None, "") => query.key_condition_expression("PK = :pk"),
            (None, prefix) => query
                .key_condition_expression("PK = :pk AND begins_with(SK, :prefix)")
                .expression_attribute_values(":prefix", Value::of(&prefix)?.0),
        };
        if let Some(after) = page.after().filter(|after| after.starts_with(list.prefix)) {
            query = query.set_exclusive_start_key(Some(attributes(&Key::raw(&list.pk, after))?));
        } else if page.after().is_some() {
            return Err(Error::field("query.cursor", "is not a cursor of this list"));
        }
        let out = query.send().await.map_err(failed)?;
        count_read(out.consumed_capacity.as_slice());
        // A page of the engine ends at 1 MB, too.
        let unread = out.last_evaluated_key.is_some();
        cut(out.items.unwrap_or_default(), page.limit(), unread)
    }

    /// Keys of a partition of the first index up to `to`, smallest first, at most `limit`. An index lags behind the
    /// table: what it says is a hint, to be read again by key before acting on it.
    pub async fn hints(&self, index_pk: &str, to: &str, limit: u32) -> Result<Vec<Key>> {
        let query = self.client.query().index_name("GSI1");
        let query = query
            .key_condition_expression("GSI1PK = :pk AND GSI1SK <= :to")
            .expression_attribute_values(":pk", Value::of(&index_pk)?.0)
            .expression_attribute_values(":to", Value::of(&to)?.0);
        Ok(self.index_keys(query, limit).await?.0)
    }

    /// The keys of one page of an index, and where the next begins.
    pub(super) async fn index_keys(
        &self,
        query: QueryFluentBuilder,
        limit: u32,
    ) -> Result<(Vec<Key>, Option<Item>)> {
        let _call = cost::begin();
        let out = query
            .table_name(&self.table)
            .limit(i32::try_from(limit).unwrap_or(100))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(failed)?;
        count_read(out.consumed_capacity.as_slice());
        let found = out.items.unwrap_or_default();
        let keys = found.into_iter().map(|item| Doc(item).key());
        Ok((keys.collect::<Result<_>>()?, out.last_evaluated_key))
    }
}

fn cut(mut items: Vec<Item>, limit: u32, unread: bool) -> Result<Page<Doc>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = unread || items.len() > limit;
    items.truncate(limit);
    let docs: Vec<_> = items.into_iter().map(Doc).collect();
    let next_cursor = match docs.last() {
        Some(last) if more => Some(cursor(last.key()?.sk())),
        _ => None,
    };
    Ok(Page {
        items: docs,
        next_cursor,
    })
}
