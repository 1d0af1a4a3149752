//! A log as a file: NDJSON with everything that the verifier needs, or CSV for people. Made page by page while it is
//! sent, so that its size does not matter.
//!
//! It tells what is sealed; a record of the last minute may be in the next export only.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::chain::{Chain, Seal, Statement, genesis};
use super::filter::Filter;
use super::view::{AuditView, Readers};
use super::{csv, person};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::record::{Action, AuditRecord, Scope};
use crate::store::{Doc, keys};

/// How many seals are read at once, and how many records for them: what one piece of an export needs in memory.
const PART: u32 = 90;

/// What an export looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180.
    Csv,
}

impl Format {
    /// By its name in the query.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "ndjson" => Some(Self::Ndjson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
        }
    }
}

/// What is to be exported.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose log.
    pub scope: Scope,
    /// Which records.
    pub filter: Filter,
    /// How.
    pub format: Format,
}

/// An export that is being made.
pub struct Export {
    app: App,
    wanted: Wanted,
    scope: String,
    now: Timestamp,
    /// Number and hash of the seal before the next one.
    before: (u64, String),
    checkpoint: Option<Statement>,
    /// Where it ends.
    head: Option<Statement>,
    pieces: VecDeque<String>,
    begun: bool,
    ended: bool,
    lines: u64,
    sum: Sha256,
}

/// Begins an export: records that it was made, and by whom, before anything of it is out.
///
/// # Errors
/// When the table does not answer.
pub async fn begin(app: &App, cause: &Context, (user, wanted): (UserId, Wanted)) -> Result<Export> {
    let key = person::key_of(app, user, cause.now).await?;
    let cause = cause.with_key(Some(key));
    let scope = wanted.scope.name();
    let detail = json!({"log": "audit", "format": wanted.format.as_str(), "filter": wanted.filter.told()});
    app.tx(&cause)
        .audit(Action::DataExported, wanted.scope, &scope, detail)?
        .run()
        .await?;
    let chain = app.db().get::<Chain>(&keys::chain(&scope)).await?;
    let chain = chain.unwrap_or_else(|| Chain::new(&scope));
    Ok(Export {
        app: app.clone(),
        now: cause.now,
        before: chain.start(),
        checkpoint: chain.checkpoint,
        head: chain.head,
        wanted,
        scope,
        pieces: VecDeque::new(),
        begun: false,
        ended: false,
        lines: 0,
        sum: Sha256::new(),
    })
}

impl Export {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the table does not answer: what was sent then has no end, which shows.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            if self.begun {
                self.part().await?;
            } else {
                self.begun = true;
                self.open();
            }
        }
    }

    fn last(&self) -> u64 {
        self.head.as_ref().map_or(0, |head| head.seq)
    }

    fn line(&mut self, piece: &mut String, value: &Value) {
        let mut line = value.to_string();
        line.push('\n');
        self.sum.update(&line);
        self.lines += 1;
        piece.push_str(&line);
    }

    fn open(&mut self) {
        if self.wanted.format == Format::Csv {
            self.sum.update(csv::HEAD);
            self.pieces.push_back(csv::HEAD.to_owned());
            return;
        }
        let mut piece = String::new();
        let mut manifest = json!({
            "type": "manifest", "version": 1, "scope": self.scope, "exportedAt": self.now,
        });
        if !self.wanted.filter.is_all() {
            manifest["filter"] = self.wanted.filter.told();
        }
        self.line(&mut piece, &manifest);
        if let Some(checkpoint) = self.checkpoint.clone() {
            self.line(&mut piece, &statement(&checkpoint));
        }
        self.pieces.push_back(piece);
    }

    /// The next seals with their records.
    async fn part(&mut self) -> Result<()> {
        let mut seals = Vec::new();
        if self.before.0 < self.last() {
            let (from, to) = keys::seals_from(self.before.0 + 1);
            let list = keys::seals(&self.scope);
            let (docs, _) = self.app.db().between(&list, (&from, &to), PART, false).await?;
            for doc in docs {
                seals.push(doc.read::<Seal>()?);
            }
            let last = self.last();
            seals.retain(|s| s.seq <= last);
        }
        if seals.is_empty() {
            self.close();
            return Ok(());
        }
        self.told(seals).await
    }

    async fn told(&mut self, seals: Vec<Seal>) -> Result<()> {
        self.now = self.app.clock().now();
        let lives = |s: &Seal| s.expires_at > self.now && self.wanted.filter.spans(s.at);
        let wanted: Vec<_> = seals.iter().filter(|s| lives(s)).map(Seal::record).collect();
        let mut found = self.app.db().batch(&wanted).await?;
        let mut records = Vec::with_capacity(seals.len());
        for seal in &seals {
            let doc = found.take(&seal.record());
            let record = doc.as_ref().map(|d| d.clone().read::<AuditRecord>()).transpose();
            // A record that somebody made unreadable is told as it is; the verifier names it.
            records.push((doc, record.ok().flatten()));
        }
        let readers = Readers::of(&self.app, records.iter().filter_map(|(_, r)| r.as_ref())).await?;
        let mut piece = String::new();
        for (seal, (doc, record)) in seals.into_iter().zip(records) {
            let takes = match &record {
                Some(record) => self.wanted.filter.takes(record),
                None => doc.is_some() || self.wanted.filter.spans(seal.at),
            };
            if takes {
                match self.wanted.format {
                    Format::Ndjson => self.ndjson(&mut piece, &seal, doc, record.as_ref(), &readers)?,
                    Format::Csv => self.csv(&mut piece, &seal, record, &readers),
                }
            }
            self.before = (seal.seq, seal.hash);
        }
        self.pieces.push_back(piece);
        Ok(())
    }

    fn ndjson(
        &mut self,
        piece: &mut String,
        seal: &Seal,
        doc: Option<Doc>,
        record: Option<&AuditRecord>,
        readers: &Readers,
    ) -> Result<()> {
        let kind = match (&doc, seal.expires_at > self.now) {
            (Some(_), _) => "record",
            (None, true) => "missing",
            (None, false) if self.wanted.filter.is_all() => "expired",
            (None, false) => return Ok(()),
        };
        let mut line = json!({
            "type": kind, "seq": seal.seq, "id": seal.id, "prevHash": self.before.1,
            "recordHash": seal.record_hash, "expiresAt": seal.expires_at, "hash": seal.hash,
        });
        if let Some(doc) = doc {
            line["record"] = doc.content()?;
        }
        if let Some(record) = record.filter(|r| r.personal.is_some()) {
            match readers.open(record) {
                Some(personal) => {
                    line["personal"] = serde_json::to_value(personal).map_err(Error::internal)?
                }
                None => line["erased"] = true.into(),
            }
        }
        self.line(piece, &line);
        Ok(())
    }

    fn csv(&mut self, piece: &mut String, seal: &Seal, record: Option<AuditRecord>, readers: &Readers) {
        let row = match record {
            Some(record) => {
                let personal = readers.open(&record);
                csv::row(seal, &AuditView::of(record, personal))
            }
            None if seal.expires_at > self.now => csv::missing(seal),
            None => return,
        };
        self.sum.update(&row);
        self.lines += 1;
        piece.push_str(&row);
    }

    fn close(&mut self) {
        self.ended = true;
        if self.wanted.format == Format::Csv {
            let sum = data_encoding::HEXLOWER.encode(&self.sum.finalize_reset());
            self.pieces.push_back(csv::end(self.lines, &sum));
            return;
        }
        let mut piece = String::new();
        let head = match self.head.clone() {
            Some(head) => statement(&head),
            None => json!({"type": "head", "scope": self.scope, "seq": 0, "hash": genesis(&self.scope)}),
        };
        self.line(&mut piece, &head);
        let sum = data_encoding::HEXLOWER.encode(&self.sum.finalize_reset());
        let end = json!({"type": "end", "lines": self.lines, "sha256": sum});
        self.line(&mut piece, &end);
        self.pieces.push_back(piece);
    }
}

fn statement(statement: &Statement) -> Value {
    let mut value = json!(statement);
    if let Some(line) = value.as_object_mut()
        && let Some(kind) = line.remove("kind")
    {
        line.insert("type".into(), kind);
    }
    value
}
