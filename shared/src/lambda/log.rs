//! Structured logs: one JSON object per line, to standard output, where Lambda collects them. What must not be read in
//! a log is taken out of each line on its way, whoever wrote it: causes are the words of others.

use std::io::{self, Write};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config;

/// Installs the subscriber. A second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_new(config::log_level()).unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = subscriber(filter, config::table_name(), io::stdout);
    let _ = tracing::subscriber::set_global_default(subscriber);
    // The standard hook writes to standard error, past all of this.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("?");
        tracing::error!(panic.at = at, panic.text = text, "panic");
    }));
}

/// The logs as lines of JSON to `out`, without what must not be in them: ARNs, tokens, API keys, the table's name.
pub fn subscriber<W>(filter: EnvFilter, table: Option<String>, out: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_env_filter(filter)
        .with_writer(Cleaned { out, table })
        .finish()
}

struct Cleaned<W> {
    out: W,
    table: Option<String>,
}

struct Line<'a, W> {
    out: W,
    table: Option<&'a str>,
}

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Cleaned<W> {
    type Writer = Line<'a, W::Writer>;
    fn make_writer(&'a self) -> Self::Writer {
        Line {
            out: self.out.make_writer(),
            table: self.table.as_deref(),
        }
    }
}

impl<W: Write> Write for Line<'_, W> {
    /// A line comes whole: the subscriber writes each event at once.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.out.write_all(clean(&text, self.table).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How a word begins that must not be read, and what stands there instead.
const BEGINNINGS: [(&str, &str); 9] = [
    ("arn:", "[arn]"),
    ("eyJ", "[token]"),
    ("cbk_", "[key]"),
    ("camr_", "[token]"),
    ("del_", "[token]"),
    ("sk_", "[key]"),
    ("rk_", "[key]"),
    ("whsec_", "[key]"),
    // A mailed link's secret, and its owner's address.
    ("token=", "token=[token]"),
];

/// Characters that words of logs are made of; an ARN's, a token's and a key's are among them.
fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '-' | '_' | '.' | '*' | '+' | '=' | '$' | '@')
}

fn clean(line: &str, table: Option<&str>) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        out.push_str(&cleaned_word(word, table));
        rest = after;
    }
    out
}

fn cleaned_word(word: &str, table: Option<&str>) -> String {
    // They count where a word or a part of it begins, as they may be a part of a longer one by chance.
    let begins = |at: usize| !word[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
    let hidden = BEGINNINGS.iter().filter_map(|(beginning, instead)| {
        let mut places = word.match_indices(beginning).map(|(at, _)| at);
        places.find(|at| begins(*at)).map(|at| (at, *instead))
    });
    let (kept, instead) = hidden
        .min()
        .map_or((word, ""), |(at, instead)| (&word[..at], instead));
    let kept = match table {
        Some(table) if named(kept, table) => kept.replace(table, "[table]"),
        _ => kept.to_owned(),
    };
    kept + instead
}

/// Whether a word is the table's name, or has it between other signs.
fn named(word: &str, table: &str) -> bool {
    word.split([':', '/', '.', '=', '@']).any(|part| part == table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_in_a_log_is_taken_out() {
        let table = Some("camarad-prod-Table-1ABC");
        for (line, expected) in [
            (
                r#"{"cause":"User: arn:aws:sts::1:assumed-role/r/f is not authorized on arn:aws:dynamodb:eu:1:table/camarad-prod-Table-1ABC"}"#,
                r#"{"cause":"User: [arn] is not authorized on [arn]"}"#,
            ),
            ("table camarad-prod-Table-1ABC.", "table [table]."),
            (
                "Authorization: Bearer eyJhbGciOi.eyJz.c2ln",
                "Authorization: Bearer [token]",
            ),
            ("token=eyJhbGciOi.eyJz.c2ln,", "token=[token],"),
            ("key cbk_live_abc", "key [key]"),
            ("session camr_0abc_0def_xyz-_ over", "session [token] over"),
            (
                "deletion del_0abc.x, task_1 model_2",
                "deletion [token], task_1 model_2",
            ),
            ("of abcbk_1/cbk_test_1", "of abcbk_1/[key]"),
            (
                "keys sk_live_1, rk_test_2 and whsec_3=",
                "keys [key], [key] and [key]",
            ),
            (
                "GET https://api.example/api/auth/magic-link/verify?token=t.again.abc-_.YW5u HTTP/1.1",
                "GET https://api.example/api/auth/magic-link/verify?token=[token] HTTP/1.1",
            ),
            ("\"heyJude\" abcbk_ kept", "\"heyJude\" abcbk_ kept"),
            ("ünïcode \\\"arn:x\\\" ü", "ünïcode \\\"[arn]\\\" ü"),
        ] {
            assert_eq!(clean(line, table), expected);
        }
        assert_eq!(clean("Table", None), "Table");
    }
}
