//! What is in an archive.

use std::collections::BTreeSet;
use std::marker::PhantomData;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::Export;
use super::lines::Lines;
use crate::app::App;
use crate::domain::agents::Agent;
use crate::domain::audit;
use crate::domain::ledger::{self, EntryView};
use crate::domain::permissions::Role;
use crate::domain::runtime::{Conversation, ConversationView, Turn, TurnView};
use crate::domain::usage::event;
use crate::domain::workspaces::{Member, Membership};
use crate::error::{Error, Result};
use crate::ids::{AgentId, ConversationId, UserId, WorkspaceId};
use crate::store::keys::List;
use crate::store::record::AuditRecord;
use crate::store::{Db, Doc, Entity, PageRequest, keys};

/// The version of the archive's shape.
const SCHEMA: u32 = 1;

/// Chunks that may wait for the reader.
const AHEAD: usize = 2;

/// What of the items that lie with a person is told, and as what. Of one that is not listed only its kind is told.
const TOLD: [(&str, &str); 10] = [
    ("user", "profile"),
    ("account", "account"),
    ("linked-identity", "identity"),
    ("session", "session"),
    ("api-key", "apiKey"),
    ("membership", "membership"),
    ("export", "export"),
    ("email", "email"),
    ("notice", "notification"),
    ("onboarding", "onboarding"),
];

/// Kept to answer the same request again, or to tell nothing twice: what it is about is in the archive.
const ANSWERS: [&str; 4] = ["once", "claim", "notice-told", "quota-warned"];

/// An attribute with one of these in its name is by what one signs in or reads what is sealed, or tells of it.
const SECRET: [&str; 6] = ["hash", "secret", "salt", "key", "token", "code"];

/// Attributes of the table itself, and the hash of an Idempotency-Key.
const OURS: [&str; 9] = [
    "PK", "SK", "GSI1PK", "GSI1SK", "GSI2PK", "GSI2SK", "kind", "ttl", "once",
];

/// An archive that is being written.
#[derive(Debug)]
pub struct Archive {
    /// What a file of it is called.
    pub file_name: String,
    chunks: Receiver<Result<Bytes>>,
}

impl Archive {
    /// The next piece; an error when what follows cannot be told, after which nothing comes.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        self.chunks.recv().await
    }
}

/// Begins to write. The writer waits for its reader, and ends when that leaves.
pub(super) fn begin(app: &App, export: &Export, now: Timestamp) -> Archive {
    let (to, chunks) = mpsc::channel(AHEAD);
    let (app, export) = (app.clone(), export.clone());
    let file_name = format!("camarad-{}.ndjson", now.strftime("%Y-%m-%d"));
    tokio::spawn(async move { write(&app, &export, now, to).await });
    Archive { file_name, chunks }
}

async fn write(app: &App, export: &Export, now: Timestamp, to: Sender<Result<Bytes>>) {
    if let Err(error) = lines(app, export, now, Lines::to(to.clone())).await {
        tracing::error!(error = %error, cause = ?error, export.id = %export.id, "an export broke off");
        // The reader may have left, which then was the error.
        let _ = to.send(Err(error)).await;
    }
}

async fn lines(app: &App, export: &Export, now: Timestamp, mut out: Lines) -> Result<()> {
    let (db, user) = (app.db(), export.user_id);
    let manifest = json!({"schema": SCHEMA, "userId": user, "exportId": export.id, "at": now});
    out.add("manifest", manifest).await?;
    belongings(db, user, &mut out).await?;
    let memberships = db.all::<Membership>(&keys::memberships(user)).await?;
    for membership in &memberships {
        workspace(db, membership, &mut out).await?;
    }
    let mut places: BTreeSet<_> = memberships.iter().map(|m| m.workspace_id).collect();
    money(app, user, &mut places, &mut out).await?;
    for place in places {
        used(db, place, user, &mut out).await?;
    }
    let mut records = Walk::<AuditRecord>::over(keys::audits(&user.to_string()));
    while let Some(page) = records.next(db).await? {
        // As the log shows them: what is sealed for the person is open to them.
        for record in audit::view::views(app, page).await? {
            out.add("auditRecord", record).await?;
        }
    }
    out.end().await
}

/// A list on its way through memory, a page at a time.
struct Walk<E> {
    list: List,
    next: Option<PageRequest>,
    of: PhantomData<fn() -> E>,
}

impl<E: Entity> Walk<E> {
    fn over(list: List) -> Self {
        Self {
            list,
            next: Some(PageRequest::default()),
            of: PhantomData,
        }
    }

    /// The next page, oldest first; `None` after the last.
    async fn next(&mut self, db: &Db) -> Result<Option<Vec<E>>> {
        let Some(page) = self.next.take() else {
            return Ok(None);
        };
        let found = db.list::<E>(&self.list, &page, false).await?;
        if let (Some(_), Some(last)) = (found.next_cursor, found.items.last()) {
            self.next = Some(page.starting_after(last.key().sk()));
        }
        Ok(Some(found.items))
    }
}

/// What lies with the person.
async fn belongings(db: &Db, user: UserId, out: &mut Lines) -> Result<()> {
    let mut page = PageRequest::default();
    loop {
        let docs = db.docs(&keys::person(user), &page).await?;
        let Some(last) = docs.last() else {
            return Ok(());
        };
        page = page.starting_after(last.key()?.sk());
        for doc in docs {
            let kind = doc.field::<String>("kind")?.unwrap_or_default();
            match TOLD.iter().find(|(stored, _)| *stored == kind) {
                Some((_, told)) => out.add(told, plain(doc)?).await?,
                None if ANSWERS.contains(&kind.as_str()) => {}
                None => out.add("withheld", json!({ "kind": kind })).await?,
            }
        }
    }
}

/// An item without what is the table's own, and without secrets.
fn plain(doc: Doc) -> Result<Map<String, Value>> {
    let mut item: Map<String, Value> = doc.read()?;
    item.retain(|name, _| {
        let lower = name.to_lowercase();
        !OURS.contains(&name.as_str()) && !SECRET.iter().any(|secret| lower.contains(secret))
    });
    Ok(item)
}

/// A workspace of the person's own with its members and agents, and in any workspace what they said there.
async fn workspace(db: &Db, membership: &Membership, out: &mut Lines) -> Result<()> {
    let id = membership.workspace_id;
    let own = membership.role == Role::Owner;
    if own && let Some(workspace) = db.get_doc(&keys::workspace(id)).await? {
        out.add("workspace", plain(workspace)?).await?;
        let mut members = Walk::<Member>::over(keys::members(id));
        while let Some(page) = members.next(db).await? {
            for member in page {
                out.add("member", member).await?;
            }
        }
    }
    let mut agents = Walk::<Agent>::over(keys::agents(id));
    while let Some(page) = agents.next(db).await? {
        for agent in page {
            said(db, agent.id, membership.user_id, out).await?;
            if own {
                out.add("agent", agent).await?;
            }
        }
    }
    Ok(())
}

async fn said(db: &Db, agent: AgentId, user: UserId, out: &mut Lines) -> Result<()> {
    let mut conversations = Walk::<Conversation>::over(keys::conversations(agent, user));
    while let Some(page) = conversations.next(db).await? {
        for conversation in page {
            let id = conversation.id;
            out.add("conversation", ConversationView::from(conversation))
                .await?;
            turns(db, id, out).await?;
        }
    }
    Ok(())
}

async fn turns(db: &Db, conversation: ConversationId, out: &mut Lines) -> Result<()> {
    let mut turns = Walk::<Turn>::over(keys::turns(conversation));
    while let Some(page) = turns.next(db).await? {
        for turn in page {
            let turn = serde_json::to_value(TurnView::from(turn)).map_err(Error::internal)?;
            out.add("turn", with(turn, "conversationId", json!(conversation)))
                .await?;
        }
    }
    Ok(())
}

fn with(mut item: Value, name: &str, value: Value) -> Value {
    if let Some(members) = item.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    item
}

/// Balance and entries; also learns in which workspaces, some of which may be gone, the person's cbT were spent.
async fn money(app: &App, user: UserId, places: &mut BTreeSet<WorkspaceId>, out: &mut Lines) -> Result<()> {
    out.add("balance", ledger::balance(app, user).await?).await?;
    let mut page = PageRequest::default();
    loop {
        let entries = ledger::entries(app, user, &page).await?;
        for entry in entries.items {
            places.extend(entry.memo.as_ref().map(ledger::Memo::workspace));
            out.add("ledgerEntry", EntryView::from(entry)).await?;
        }
        match entries.next_cursor {
            Some(cursor) => page = PageRequest::parse(None, Some(&cursor))?,
            None => return Ok(()),
        }
    }
}

/// The person's own usage in a workspace.
async fn used(db: &Db, workspace: WorkspaceId, user: UserId, out: &mut Lines) -> Result<()> {
    let mut page = PageRequest::default();
    loop {
        let events = event::list(db, workspace, &page).await?;
        for used in events.items.into_iter().filter(|e| e.user_id == user) {
            let used = serde_json::to_value(used).map_err(Error::internal)?;
            out.add("usageEvent", with(used, "workspaceId", json!(workspace)))
                .await?;
        }
        match events.next_cursor {
            Some(cursor) => page = PageRequest::parse(None, Some(&cursor))?,
            None => return Ok(()),
        }
    }
}
