//! How structs become items: an entity knows its own key, so a write and a read can never format it differently.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::keys::{Index, Key};
use super::wire::{Item, Value};
use crate::error::{Error, Result};

/// A struct that is stored as one item.
pub trait Entity: Serialize + DeserializeOwned + Send + Sync {
    /// The item's `kind` attribute: what a person sees in a table viewer and an export groups by.
    const KIND: &'static str;

    /// Where it is stored.
    fn key(&self) -> Key;

    /// Its place in the first index, if it has one.
    fn index1(&self) -> Option<Index> {
        None
    }

    /// Its place in the second index, if it has one.
    fn index2(&self) -> Option<Index> {
        None
    }

    /// When DynamoDB may remove it, Unix seconds. Removal comes days late, so a reader compares with the clock too.
    fn ttl(&self) -> Option<i64> {
        None
    }
}

/// A raw item that came back from the table, to be read as a type.
#[derive(Debug, Clone, PartialEq)]
pub struct Doc(pub(super) Item);

impl Doc {
    /// The item as a type.
    ///
    /// # Errors
    /// `Internal` when the item has another shape.
    pub fn read<T: DeserializeOwned>(self) -> Result<T> {
        serde_dynamo::from_item(self.0).map_err(Error::internal)
    }

    /// One top-level attribute as a type; `None` when absent.
    pub fn field<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.0
            .get(name)
            .cloned()
            .map(serde_dynamo::from_attribute_value)
            .transpose()
            .map_err(Error::internal)
    }

    /// What was stored, as JSON, without what only the table asks for (keys, indexes, kind, time to live).
    ///
    /// # Errors
    /// `Internal` when an attribute has no form in JSON.
    pub fn content(&self) -> Result<serde_json::Value> {
        let table = ["PK", "SK", "GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK", "kind", "ttl"];
        let mut content = self.0.clone();
        content.retain(|name, _| !table.contains(&name.as_str()));
        serde_dynamo::from_item(content).map_err(Error::internal)
    }

    /// The item's key.
    pub fn key(&self) -> Result<Key> {
        let part = |name| {
            self.field::<String>(name)?
                .ok_or_else(|| Error::internal("an item without a key"))
        };
        Ok(Key::raw(part("PK")?, part("SK")?))
    }

    /// From an image of the table's stream.
    pub fn from_stream(image: serde_dynamo::Item) -> Self {
        Self(image.into())
    }
}

pub(super) fn item<E: Entity>(entity: &E) -> Result<Item> {
    let mut item: Item = serde_dynamo::to_item(entity).map_err(Error::internal)?;
    let mut put = |name: &str, value: Value| item.insert(name.to_owned(), value.0);
    let key = entity.key();
    put("PK", Value::of(&key.pk())?);
    put("SK", Value::of(&key.sk())?);
    put("kind", Value::of(&E::KIND)?);
    if let Some(index) = entity.index1() {
        put("GSI1PK", Value::of(&index.pk)?);
        put("GSI1SK", Value::of(&index.sk)?);
    }
    if let Some(index) = entity.index2() {
        put("GSI2PK", Value::of(&index.pk)?);
        put("GSI2SK", Value::of(&index.sk)?);
    }
    if let Some(at) = entity.ttl() {
        put("ttl", Value::of(&at)?);
    }
    Ok(item)
}
