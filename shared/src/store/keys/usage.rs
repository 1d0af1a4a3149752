//! Metering: usage events and their counters.

use jiff::Timestamp;

use super::{Key, List, sortable};
use crate::ids::{CallId, WorkspaceId};

/// A usage event of a workspace.
pub fn usage_event(workspace: WorkspaceId, at: Timestamp, call: CallId) -> Key {
    Key::raw(
        format!("USAGE#{workspace}"),
        format!("EVENT#{}#{call}", sortable(at)),
    )
}

/// All usage events of a workspace, oldest first.
pub fn usage_events(workspace: WorkspaceId) -> List {
    List {
        pk: format!("USAGE#{workspace}"),
        prefix: "EVENT#",
    }
}

/// A usage counter: `bucket` is `hour`, `day` or `month`, `start` the bucket's start as RFC 3339, `group` what is
/// counted together (`all`, `agent#…`, `model#…`, `member#…`).
pub fn usage_counter(workspace: WorkspaceId, bucket: &str, dimension: &str, start: &str, value: &str) -> Key {
    Key::raw(
        format!("STATS#{workspace}#{bucket}#{dimension}"),
        format!("{start}#{value}"),
    )
}

/// The sort keys between which the counters of the buckets from `first` to `last` lie, whatever their value.
pub fn usage_span(first: &str, last: &str) -> (String, String) {
    // `$` comes right after `#`.
    (format!("{first}#"), format!("{last}$"))
}

/// Counters of one bucket size and dimension, by start.
pub fn usage_counters(workspace: WorkspaceId, bucket: &str, dimension: &str) -> List {
    List {
        pk: format!("STATS#{workspace}#{bucket}#{dimension}"),
        prefix: "",
    }
}
