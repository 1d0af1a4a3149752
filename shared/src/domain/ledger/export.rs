//! An account's entries as a file that an outside program can add up: NDJSON, oldest first, made page by page while it is
//! sent, so that its size does not matter. README.md has the format, `make audit-ledger` adds it up.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::entry::{Entry, EntryView};
use super::head::Head;
use crate::app::App;
use crate::context::Context;
use crate::domain::audit::person;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::record::{Action, Scope};
use crate::store::{PageRequest, keys};

/// Its media type.
pub const MEDIA_TYPE: &str = "application/x-ndjson";

/// How many entries are read at once: what an export needs in memory, besides the journal.
const PART: u32 = 100;

/// An export that is being made.
pub struct Export {
    app: App,
    account: UserId,
    /// The journal as it stood at the beginning: entries that may have had no row then, oldest first.
    journal: VecDeque<Entry>,
    /// Number of the last entry that was told.
    told: u64,
    /// Where it ends.
    last: u64,
    lines: u64,
    header: Option<Value>,
    footer: Option<Value>,
}

/// Begins an export of the entries after number `after`: records that it was made, before anything of it is out.
///
/// # Errors
/// `Invalid` on `query.after` when there is no such entry; those of the table.
pub async fn begin(app: &App, cause: &Context, (account, after): (UserId, u64)) -> Result<Export> {
    let head = app
        .db()
        .get::<Head>(&keys::ledger_head(account))
        .await?
        .unwrap_or_else(|| Head::empty(account));
    if after > head.seq {
        return Err(Error::field("query.after", "is beyond the last entry"));
    }
    let key = person::key_of(app, account, cause.now).await?;
    let cause = cause.with_key(Some(key));
    let detail = json!({"log": "ledger", "after": after});
    app.tx(&cause)
        .audit(Action::DataExported, Scope::Account(account), account, detail)?
        .run()
        .await?;
    let header = json!({
        "type": "ledger", "version": 1, "account": account, "after": after, "last": head.seq, "exportedAt": cause.now,
    });
    let footer = json!({
        "type": "end", "last": head.seq, "balance": head.posted, "held": head.held(), "available": head.avail,
    });
    Ok(Export {
        app: app.clone(),
        account,
        journal: head.entries().into_iter().filter(|e| e.seq > after).collect(),
        told: after,
        last: head.seq,
        lines: 0,
        header: Some(header),
        footer: Some(footer),
    })
}

impl Export {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the table does not answer: what was sent then has no last line, which shows.
    pub async fn next(&mut self) -> Result<Option<String>> {
        if let Some(header) = self.header.take() {
            return Ok(Some(line(&header)));
        }
        if self.told < self.last {
            return self.part().await.map(Some);
        }
        let Some(mut footer) = self.footer.take() else {
            return Ok(None);
        };
        footer["entries"] = json!(self.lines);
        Ok(Some(line(&footer)))
    }

    async fn part(&mut self) -> Result<String> {
        let after = keys::ledger_entry(self.account, self.told);
        let page = PageRequest::of(PART).starting_after(after.sk());
        let rows = self
            .app
            .db()
            .list::<Entry>(&keys::ledger_entries(self.account), &page, false)
            .await?;
        let mut rows: VecDeque<_> = rows.items.into();
        let mut piece = String::new();
        // What has no row was in the journal: rows are written before the journal forgets.
        while self.told < self.last {
            let wanted = self.told + 1;
            let is = |e: &&Entry| e.seq == wanted;
            let entry = match rows.front().filter(is) {
                Some(_) => rows.pop_front(),
                None => self.journal.front().filter(is).cloned(),
            };
            let Some(entry) = entry else { break };
            while self.journal.front().is_some_and(|e| e.seq <= wanted) {
                self.journal.pop_front();
            }
            piece.push_str(&line(&told(entry)?));
            self.told = wanted;
            self.lines += 1;
            if self.lines.is_multiple_of(u64::from(PART)) {
                break;
            }
        }
        if piece.is_empty() {
            return Err(Error::internal(format!(
                "entry {} of {} is missing",
                self.told + 1,
                self.account
            )));
        }
        Ok(piece)
    }
}

fn told(entry: Entry) -> Result<Value> {
    let operation = entry.operation.clone();
    let mut value = serde_json::to_value(EntryView::from(entry)).map_err(Error::internal)?;
    value["operation"] = operation.into();
    Ok(value)
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
