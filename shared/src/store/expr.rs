//! Update and condition expressions as values: every attribute name and value goes through a placeholder, so no
//! reserved word, no odd character in a name and no input can change an expression's meaning.

use serde::Serialize;

use super::entity::{Entity, item};
use super::keys::{Index, Key};
use super::wire::Value;
use crate::error::Result;

/// A document path: `path("rev")`, or `path(["ops", op_name])` for a key of a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(pub(super) Vec<String>);

impl From<&str> for Path {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl<const N: usize> From<[&str; N]> for Path {
    fn from(names: [&str; N]) -> Self {
        Self(names.iter().map(|n| (*n).to_owned()).collect())
    }
}

/// Comparison operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A condition on the item as it stands before the write.
#[derive(Debug, Clone, PartialEq)]
pub struct Cond(pub(super) Node);

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Exists(Path),
    Absent(Path),
    Compare(Path, Compare, Value),
    All(Vec<Node>),
    Any(Vec<Node>),
}

macro_rules! compare {
    ($(#[$doc:meta] $name:ident $op:ident),+ $(,)?) => {$(
        #[$doc]
        pub fn $name(path: impl Into<Path>, value: impl Serialize) -> Result<Self> {
            Ok(Self(Node::Compare(path.into(), Compare::$op, Value::of(&value)?)))
        }
    )+};
}

impl Cond {
    compare! {
        /// `path = value`
        eq Eq,
        /// `path <> value`
        ne Ne,
        /// `path < value`
        lt Lt,
        /// `path <= value`
        le Le,
        /// `path > value`
        gt Gt,
        /// `path >= value`
        ge Ge,
    }

    /// The attribute exists.
    pub fn exists(path: impl Into<Path>) -> Self {
        Self(Node::Exists(path.into()))
    }

    /// The attribute does not exist.
    pub fn absent(path: impl Into<Path>) -> Self {
        Self(Node::Absent(path.into()))
    }

    /// The item exists.
    pub fn item_exists() -> Self {
        Self::exists("PK")
    }

    /// The item does not exist.
    pub fn item_absent() -> Self {
        Self::absent("PK")
    }

    /// Both hold.
    pub fn and(self, other: Cond) -> Self {
        match self.0 {
            Node::All(mut all) => {
                all.push(other.0);
                Self(Node::All(all))
            }
            first => Self(Node::All(vec![first, other.0])),
        }
    }

    /// Either holds.
    pub fn or(self, other: Cond) -> Self {
        Self(Node::Any(vec![self.0, other.0]))
    }
}

/// One change of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Set(Path, Value),
    SetIfAbsent(Path, Value),
    /// `target = source + value`; the source is read before the update.
    Sum {
        target: Path,
        source: Path,
        by: Value,
    },
    /// ADD: starts at zero when the attribute is absent.
    Add(Path, Value),
    Remove(Path),
}

impl Change {
    /// The top-level attribute that is changed.
    fn attribute(&self) -> Option<&str> {
        let (Self::Set(path, _)
        | Self::SetIfAbsent(path, _)
        | Self::Sum { target: path, .. }
        | Self::Add(path, _)
        | Self::Remove(path)) = self;
        path.0.first().map(String::as_str)
    }
}

/// An UpdateItem: changes of one item, and the condition under which they happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub(super) key: Key,
    pub(super) changes: Vec<Change>,
    pub(super) cond: Option<Cond>,
}

impl Update {
    /// An update of the item at `key`.
    pub fn of(key: Key) -> Self {
        Self {
            key,
            changes: Vec::new(),
            cond: None,
        }
    }

    /// The item that is updated.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// `path = value`
    pub fn set(mut self, path: impl Into<Path>, value: impl Serialize) -> Result<Self> {
        self.changes.push(Change::Set(path.into(), Value::of(&value)?));
        Ok(self)
    }

    /// `path = value`, unless the attribute exists already.
    pub fn set_if_absent(mut self, path: impl Into<Path>, value: impl Serialize) -> Result<Self> {
        self.changes
            .push(Change::SetIfAbsent(path.into(), Value::of(&value)?));
        Ok(self)
    }

    /// `target = source + by`, both numbers; `source` as it stands before the update.
    pub fn sum(mut self, target: impl Into<Path>, source: impl Into<Path>, by: i64) -> Result<Self> {
        let by = Value::of(&by)?;
        self.changes.push(Change::Sum {
            target: target.into(),
            source: source.into(),
            by,
        });
        Ok(self)
    }

    /// `path += by` in place; the attribute must exist.
    pub fn increase(self, path: &str, by: i64) -> Result<Self> {
        self.sum(path, path, by)
    }

    /// Adds to a top-level number that may be absent (then zero).
    pub fn add(mut self, path: &str, by: i64) -> Result<Self> {
        self.changes.push(Change::Add(path.into(), Value::of(&by)?));
        Ok(self)
    }

    /// Removes an attribute.
    pub fn remove(mut self, path: impl Into<Path>) -> Self {
        self.changes.push(Change::Remove(path.into()));
        self
    }

    /// Sets what the item lacks of `entity`, so that several writers may each be the one that creates it. What this
    /// update sets or removes already stays as it is.
    pub fn fill<E: Entity>(mut self, entity: &E) -> Result<Self> {
        let named: Vec<_> = self
            .changes
            .iter()
            .filter_map(Change::attribute)
            .map(str::to_owned)
            .collect();
        let missing = item(entity)?
            .into_iter()
            .filter(|(name, _)| !matches!(name.as_str(), "PK" | "SK") && !named.contains(name));
        self.changes
            .extend(missing.map(|(name, value)| Change::SetIfAbsent(name.as_str().into(), Value(value))));
        Ok(self)
    }

    /// Moves the item in the first index.
    pub fn index1(self, index: &Index) -> Result<Self> {
        self.set("GSI1PK", &index.pk)?.set("GSI1SK", &index.sk)
    }

    /// Takes the item out of the first index.
    pub fn unindex1(self) -> Self {
        self.remove("GSI1PK").remove("GSI1SK")
    }

    /// Only if `cond` holds (and every condition given before).
    pub fn when(mut self, cond: Cond) -> Self {
        self.cond = Some(match self.cond {
            None => cond,
            Some(first) => first.and(cond),
        });
        self
    }
}
