//! One text for one JSON value (RFC 8785, JSON Canonicalization Scheme), so that a hash of it means the value and not
//! how somebody wrote it down.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The largest whole number that every JSON parser reads exactly (RFC 8259 §6).
const EXACT: u64 = (1 << 53) - 1;

/// The canonical text of a value whose numbers are `exact`.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// SHA-256 of the canonical text, base64url.
pub fn digest(value: &Value) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(canonical(value)))
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                separated(n, text);
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // RFC 8785 §3.2.3: by UTF-16 code units, which differs from the order of UTF-8 beyond U+FFFF.
            members.sort_by_cached_key(|(name, _)| name.encode_utf16().collect::<Vec<_>>());
            text.push('{');
            for (n, (name, member)) in members.into_iter().enumerate() {
                separated(n, text);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
        // serde_json escapes in strings what RFC 8785 §3.2.2.2 wants, and no more.
        other => text.push_str(&other.to_string()),
    }
}

fn separated(n: usize, text: &mut String) {
    if n > 0 {
        text.push(',');
    }
}

/// The value with every number that some parser would change as text: fractions and what is beyond 2⁵³.
pub fn exact(value: Value) -> Value {
    match value {
        Value::Number(n) => {
            let whole = n.as_i64().map(i64::unsigned_abs).or_else(|| n.as_u64());
            match whole {
                Some(size) if size <= EXACT => Value::Number(n),
                _ => Value::String(n.to_string()),
            }
        }
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, member)| (name, exact(member)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_by_utf16_and_strings_are_escaped_as_the_rfc_shows() {
        let value = json!({"\u{20ac}": "Euro", "\r": "CR", "\u{fb33}": "Dalet", "1": "One", "\u{1f600}": "Smile", "\u{80}": "Control", "ö": "Latin"});
        assert_eq!(
            canonical(&value),
            "{\"\\r\":\"CR\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin\",\"€\":\"Euro\",\"\u{1f600}\":\"Smile\",\"\u{fb33}\":\"Dalet\"}"
        );
        let text = json!({"s": "\u{20ac}$\u{f}\nA'B\"\\\\\"/\u{7f}"});
        assert_eq!(
            canonical(&text),
            "{\"s\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\u{7f}\"}"
        );
        assert_eq!(
            canonical(&json!([1, [], {}, null, true, -7])),
            "[1,[],{},null,true,-7]"
        );
    }

    #[test]
    fn numbers_that_a_parser_may_change_become_text() {
        let value = json!({"a": [1.5, 9_007_199_254_740_991_u64, 9_007_199_254_740_992_u64], "b": -9_007_199_254_740_992_i64});
        assert_eq!(
            exact(value),
            json!({"a": ["1.5", 9_007_199_254_740_991_u64, "9007199254740992"], "b": "-9007199254740992"})
        );
    }

    #[test]
    fn one_value_has_one_hash_and_another_value_another() {
        let (one, same): (Value, Value) = (
            serde_json::from_str(r#"{"a":1,"b":[true,"x"]}"#).unwrap_or_default(),
            serde_json::from_str("{ \"b\" : [ true, \"\\u0078\" ], \"a\" : 1 }").unwrap_or_default(),
        );
        assert_eq!(digest(&one), digest(&same));
        assert_ne!(digest(&one), digest(&json!({"a": 1, "b": [true, "y"]})));
    }
}
