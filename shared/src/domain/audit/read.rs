//! Reading a log, newest first.

use futures_util::future::try_join_all;

use super::filter::Filter;
use super::view::{AuditView, views};
use crate::app::App;
use crate::error::{Error, Result};
use crate::store::page::cursor;
use crate::store::record::AuditRecord;
use crate::store::{Doc, Page, PageRequest, keys};

/// How many records are read at once from each part of a log.
const PART: u32 = 200;

/// How many times, for one page: a filter that hardly takes anything must not read a log from end to end in one request.
const PARTS: u32 = 10;

/// One page of a log, newest first. A page may have fewer records than asked for and still go on. A cursor is a place
/// in time and among ids: records that are added later come before it, so that going on neither skips nor repeats one
/// that was there.
///
/// # Errors
/// `Invalid` on a cursor of another list.
pub async fn list(app: &App, scope: &str, filter: &Filter, page: &PageRequest) -> Result<Page<AuditView>> {
    let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
    let now = app.clock().now();
    let (from, mut to) = keys::audit_span(filter.from, filter.to);
    let mut before = match page.after() {
        Some(after) if keys::audit_of_place(after).is_none() => {
            return Err(Error::field("query.cursor", "is not a cursor of this list"));
        }
        Some(after) => Some(after.to_owned()),
        None => None,
    };
    let mut taken = Vec::new();
    for _ in 0..PARTS {
        if let Some(before) = before.as_deref().filter(|b| *b < to.as_str()) {
            to = before.to_owned();
        }
        let (records, more) = part(app, scope, (&from, &to), before.as_deref()).await?;
        for (place, doc) in records {
            let record: AuditRecord = doc.read()?;
            if !filter.takes(&record) || record.expires_at <= now {
                before = Some(place);
                continue;
            }
            if taken.len() == limit {
                return page_of(app, taken, before).await;
            }
            taken.push(record);
            before = Some(place);
        }
        if !more {
            return page_of(app, taken, None).await;
        }
    }
    page_of(app, taken, before).await
}

async fn page_of(app: &App, records: Vec<AuditRecord>, last: Option<String>) -> Result<Page<AuditView>> {
    Ok(Page {
        items: views(app, records).await?,
        next_cursor: last.as_deref().map(cursor),
    })
}

/// The newest records of all parts of a log up to a place, and whether there are more.
async fn part(
    app: &App,
    scope: &str,
    span: (&str, &str),
    before: Option<&str>,
) -> Result<(Vec<(String, Doc)>, bool)> {
    let lists = keys::audit_parts(scope);
    let reads = lists.iter().map(|list| app.db().between(list, span, PART, true));
    let (mut all, mut floor) = (Vec::new(), None);
    for (docs, more) in try_join_all(reads).await? {
        let last = docs
            .last()
            .map(|doc| doc.key().map(|k| k.sk().to_owned()))
            .transpose()?;
        if more {
            // What lies below was not read here: it comes with the next part, in its order.
            floor = floor.max(last);
        }
        for doc in docs {
            all.push((doc.key()?.sk().to_owned(), doc));
        }
    }
    all.retain(|(place, _)| Some(place.as_str()) != before && floor.as_ref().is_none_or(|f| place >= f));
    all.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok((all, floor.is_some()))
}
