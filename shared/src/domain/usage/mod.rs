//! Usage: one event per AI call, counted once, added up by hour, day and month.

mod bucket;
pub mod count;
mod counter;
pub mod event;
pub mod stats;

pub use bucket::Bucket;
pub use counter::{Counts, Dimension};
