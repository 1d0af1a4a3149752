//! Metering: usage events and their counters.

use jiff::Timestamp;

use super::{Key, List, digest, sortable};
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

/// That an event of another service was counted, by its source and its id there.
pub fn usage_told(source: &str, id: &str) -> Key {
    // A source has no line feed.
    Key::raw(
        format!("USAGETOLD#{}", digest(&format!("{source}\n{id}"))),
        "TOLD",
    )
}

/// A usage counter: `bucket` is `hour`, `day` or `month`, `start` the bucket's start as RFC 3339, `group` what is
/// counted together (`all`, `agent#…`, `model#…`, `member#…`).
pub fn usage_counter(workspace: WorkspaceId, bucket: &str, dimension: &str, start: &str, value: &str) -> Key {
    Key::raw(
        format!("STATS#{workspace}#{bucket}#{dimension}"),
        format!("{start}#{value}"),
    )
}

/// The sort keys between which the counters of the buckets lie that start from `from` on and before `to`, whatever their
/// value.
pub fn usage_span(from: &str, to: &str) -> (String, String) {
    // The key of a counter is longer than its start alone, and so comes after it.
    (from.to_owned(), to.to_owned())
}

/// The sort keys of the events from `from` on and before `to`; with `after`, those of them that come after that call.
pub fn usage_event_span(from: Timestamp, after: Option<CallId>, to: Timestamp) -> (String, String) {
    let first = match after {
        // `$` comes right after `#` and before every character of an id.
        Some(call) => format!("EVENT#{}#{call}$", sortable(from)),
        None => format!("EVENT#{}", sortable(from)),
    };
    (first, format!("EVENT#{}", sortable(to)))
}

/// Counters of one bucket size and dimension, by start.
pub fn usage_counters(workspace: WorkspaceId, bucket: &str, dimension: &str) -> List {
    List {
        pk: format!("STATS#{workspace}#{bucket}#{dimension}"),
        prefix: "",
    }
}
