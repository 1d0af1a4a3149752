//! Usage events as a file: CSV for people and spreadsheets, made page by page while it is sent, so that its size does not
//! matter. Its last row says how many rows there were and their hash: without it, the file was cut, and the moment and
//! call of its last whole row say where to go on.

use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::event::UsageEvent;
use crate::app::App;
use crate::context::Context;
use crate::domain::csv::line;
use crate::error::{Error, Result};
use crate::ids::{CallId, UserId, WorkspaceId};
use crate::store::keys;
use crate::store::record::{Action, Scope};

/// How many events are read at once: with their text, what an export needs in memory.
const PART: u32 = 500;

/// Its media type.
pub const MEDIA_TYPE: &str = "text/csv; charset=utf-8; header=present";

const HEAD: [&str; 18] = [
    "row",
    "at",
    "callId",
    "userId",
    "agentId",
    "conversationId",
    "provider",
    "model",
    "inputTokens",
    "outputTokens",
    "cachedTokens",
    "cost",
    "providerCostUsd",
    "latencyMs",
    "status",
    "estimated",
    "account",
    "requestId",
];

/// What is to be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of which workspace.
    pub workspace: WorkspaceId,
    /// From when on.
    pub from: Option<Timestamp>,
    /// The end, itself not included.
    pub to: Option<Timestamp>,
    /// Of the events at `from`, those after this call: how a file that was cut is continued.
    pub after: Option<CallId>,
}

/// An export that is being made.
pub struct Export {
    app: App,
    workspace: WorkspaceId,
    /// The sort keys between which what is left lies.
    left: (String, String),
    begun: bool,
    ended: bool,
    rows: u64,
    sum: Sha256,
}

/// Begins an export: records that it was made, and by whom, before anything of it is out.
///
/// # Errors
/// `Invalid` on `query.from` or `query.after`; those of the table.
pub async fn begin(app: &App, cause: &Context, (user, wanted): (UserId, Wanted)) -> Result<Export> {
    let to = wanted.to.unwrap_or(cause.now);
    let from = wanted.from.unwrap_or(Timestamp::UNIX_EPOCH);
    if from >= to {
        return Err(Error::field("query.from", "must be before `to`"));
    }
    if wanted.after.is_some() && wanted.from.is_none() {
        return Err(Error::field(
            "query.after",
            "needs `from`, the moment of that call",
        ));
    }
    let detail = json!({"log": "usage", "format": "csv", "from": wanted.from, "to": to, "by": user});
    app.tx(cause)
        .audit(
            Action::DataExported,
            Scope::Workspace(wanted.workspace),
            wanted.workspace,
            detail,
        )?
        .run()
        .await?;
    Ok(Export {
        app: app.clone(),
        workspace: wanted.workspace,
        left: keys::usage_event_span(from, wanted.after, to),
        begun: false,
        ended: false,
        rows: 0,
        sum: Sha256::new(),
    })
}

impl Export {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the table does not answer: what was sent then has no last row, which shows.
    pub async fn next(&mut self) -> Result<Option<String>> {
        if self.ended {
            return Ok(None);
        }
        let mut piece = String::new();
        if !self.begun {
            self.begun = true;
            piece.push_str(&line(&HEAD.map(str::to_owned)));
        }
        let list = keys::usage_events(self.workspace);
        let (from, to) = &self.left;
        let (docs, more) = self.app.db().between(&list, (from, to), PART, false).await?;
        if let Some(last) = docs.last() {
            // A character after it, so that it does not come again.
            self.left.0 = format!("{}$", last.key()?.sk());
        }
        for doc in docs {
            piece.push_str(&row(doc.read()?));
            self.rows += 1;
        }
        self.sum.update(&piece);
        if !more {
            self.ended = true;
            piece.push_str(&self.last_row());
        }
        Ok(Some(piece))
    }

    /// `end`, the number of rows, and the SHA-256 of everything before this row.
    fn last_row(&mut self) -> String {
        let sum = data_encoding::HEXLOWER.encode(&self.sum.finalize_reset());
        let mut cells = vec![String::new(); HEAD.len()];
        let told = [
            "end".to_owned(),
            format!("rows={}", self.rows),
            format!("sha256={sum}"),
        ];
        cells.iter_mut().zip(told).for_each(|(cell, text)| *cell = text);
        line(&cells)
    }
}

fn row(UsageEvent { recorded, .. }: UsageEvent) -> String {
    let usage = recorded.usage;
    let status = serde_json::to_value(recorded.status).unwrap_or_default();
    line(&[
        "call".to_owned(),
        recorded.at.to_string(),
        recorded.call_id.to_string(),
        recorded.user_id.to_string(),
        recorded.agent_id.to_string(),
        recorded
            .conversation_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        usage.provider.unwrap_or_default(),
        usage.model.unwrap_or_default(),
        usage.input_tokens.to_string(),
        usage.output_tokens.to_string(),
        usage.cached_tokens.to_string(),
        recorded.cost.to_string(),
        dollars(usage.provider_cost_micro_usd),
        usage.latency_ms.to_string(),
        status.as_str().unwrap_or_default().to_owned(),
        recorded.estimated.to_string(),
        recorded.account.to_string(),
        usage.request_id.unwrap_or_default(),
    ])
}

fn dollars(micro: u64) -> String {
    format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_keep_their_millionths() {
        assert_eq!(dollars(5), "0.000005");
        assert_eq!(dollars(12_345_678), "12.345678");
    }
}
