//! Caps: what a workspace may draw from its owner's account in a period.

use serde::{Deserialize, Serialize};

use crate::money::{self, Cbt};

/// A workspace's allocation, as the head keeps it. `limit = left + used + what its running calls hold`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cap {
    /// What it may still set aside.
    #[serde(with = "money::stored")]
    pub(super) left: Cbt,
    /// What it was charged since the period began.
    #[serde(with = "money::stored")]
    pub(super) used: Cbt,
}
