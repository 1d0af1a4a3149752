//! What people type is in no record.

use std::collections::BTreeSet;

use camarad::store::record::AuditRecord;
use serde_json::Value;

/// Fields whose values come from a closed list, or are ids or amounts: a record may repeat them.
const CLOSED: [&str; 17] = [
    "type",
    "planId",
    "presetIds",
    "selectedAgentPresetIds",
    "provider",
    "method",
    "mode",
    "scopes",
    "defaultTone",
    "theme",
    "model",
    "userId",
    "agentId",
    "callId",
    "amount",
    "cbt",
    "limit",
];

/// The texts of a JSON value, without those of closed fields if so wanted.
pub(super) fn texts(value: &Value, typed_only: bool, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => _ = out.insert(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, typed_only, out)),
        Value::Object(fields) => {
            let told = fields
                .iter()
                .filter(|(name, _)| !typed_only || !CLOSED.contains(&name.as_str()));
            told.for_each(|(_, field)| texts(field, typed_only, out));
        }
        _ => {}
    }
}

/// Nobody can delete a record: so no text that somebody typed is in one. Whoever adds a field to a request has it looked
/// at here, too.
pub(super) fn assert_nothing_typed(records: &[AuditRecord], typed: &BTreeSet<String>) {
    for record in records {
        let mut told = BTreeSet::new();
        texts(&record.detail, false, &mut told);
        for text in &told {
            let mut words = typed.iter().filter(|t| t.chars().any(char::is_alphabetic));
            let found = words.find(|t| text == *t || t.len() > 3 && text.contains(t.as_str()));
            assert!(found.is_none(), "{found:?} was typed, and is in {record:?}");
        }
    }
}
