//! Rows of an audit log as CSV.

use super::chain::Seal;
use super::view::AuditView;
use crate::domain::csv::line;

/// The first row.
pub(super) const HEAD: &str = "seq,id,at,action,actorType,actorId,actorUserId,resource,detail,ip,userAgent,network,erased,requestId,hash\r\n";

/// A record's row.
pub(super) fn row(seal: &Seal, view: &AuditView) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let kind = serde_json::to_value(view.actor.kind).unwrap_or_default();
    line(&[
        seal.seq.to_string(),
        view.id.to_string(),
        view.at.to_string(),
        view.action.as_str().to_owned(),
        kind.as_str().unwrap_or_default().to_owned(),
        text(&view.actor.id),
        view.actor.user_id.map(|id| id.to_string()).unwrap_or_default(),
        view.resource.clone(),
        view.detail.to_string(),
        text(&view.ip),
        text(&view.user_agent),
        text(&view.network),
        view.erased.to_string(),
        view.request_id.clone(),
        seal.hash.clone(),
    ])
}

/// The last row: `end`, the number of rows, and the SHA-256 of everything before it. A file without it was cut off.
pub(super) fn end(rows: u64, sha256: &str) -> String {
    let mut cells = vec![String::new(); HEAD.split(',').count()];
    let told = [
        "end".to_owned(),
        format!("rows={rows}"),
        format!("sha256={sha256}"),
    ];
    cells.iter_mut().zip(told).for_each(|(cell, text)| *cell = text);
    line(&cells)
}

/// The row of a record that should be there and is not.
pub(super) fn missing(seal: &Seal) -> String {
    let mut cells = vec![String::new(); HEAD.split(',').count()];
    let told = [
        seal.seq.to_string(),
        seal.id.to_string(),
        seal.at.to_string(),
        "(missing)".to_owned(),
    ];
    for (cell, text) in cells.iter_mut().zip(told) {
        *cell = text;
    }
    if let Some(last) = cells.last_mut() {
        last.clone_from(&seal.hash);
    }
    line(&cells)
}
