//! Usage: one event per AI call, counted once, added up by hour, day and month.

pub mod breakdown;
mod bucket;
pub mod count;
mod counter;
pub mod event;
pub mod export;
pub mod quota;
pub mod record;
pub mod stats;
mod sums;
mod zone;

pub use bucket::Bucket;
pub use counter::{Counts, Dimension};
pub use zone::Zone;
