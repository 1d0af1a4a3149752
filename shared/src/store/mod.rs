//! The table: keys, entities, reads, and `Tx`, the one way to write what a person caused.

pub mod audit;
pub mod cost;
pub mod db;
pub mod entity;
pub mod expr;
pub mod keys;
pub mod limits;
pub mod once;
pub mod page;
mod query;
pub mod record;
pub mod tx;
pub mod walk;
mod wire;

pub use db::{Db, Outcome};
pub use entity::{Doc, Entity};
pub use expr::{Cond, Update};
pub use keys::Key;
pub use page::{Page, PageRequest};
pub use tx::Tx;
