//! A person's sessions as they see them: on which device, from where, when seen last; and how they end them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::sessions::{Session, SessionView};
use crate::app::App;
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Page, PageRequest, Update, keys};

/// How many sessions one transaction ends: each is two writes of a hundred.
const CHUNK: usize = 40;

/// Why sessions ended, in audit records.
const FROM_ANOTHER: &str = "ended from another session";
const BY_OPERATOR: &str = "ended by an operator";

/// A session in the list of a person's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeviceView {
    /// Its id.
    pub id: SessionId,
    /// Program and system, as far as the client tells: `Firefox on Windows`.
    pub device: String,
    /// The address that it signed in from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The provider that the person signed in with.
    pub provider: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The last sign-in or refresh: an access token is good for ten minutes more.
    #[schema(value_type = String, format = DateTime)]
    pub last_seen_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl DeviceView {
    fn of(session: Session, current: SessionId) -> Self {
        let view = SessionView::from(&session);
        Self {
            id: session.id,
            device: device(session.user_agent.as_deref().unwrap_or_default()),
            ip: session.ip,
            provider: session.provider,
            created_at: view.created_at,
            last_seen_at: session.rotated_at,
            expires_at: session.expires_at,
            current: session.id == current,
        }
    }
}

/// What ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Revoked {
    /// How many sessions.
    pub revoked: usize,
}

/// The person's sessions that live, newest first. A page may have fewer and still go on.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn list(
    app: &App,
    now: Timestamp,
    (user, current): (UserId, SessionId),
    page: &PageRequest,
) -> Result<Page<DeviceView>> {
    let all = app
        .db()
        .list::<Session>(&keys::sessions(user), page, true)
        .await?;
    let live = all.items.into_iter().filter(|session| session.is_live(now));
    Ok(Page {
        items: live.map(|session| DeviceView::of(session, current)).collect(),
        next_cursor: all.next_cursor,
    })
}

/// Ends one of them: at once for refreshes and writes, within an access token's life for reads.
///
/// # Errors
/// `NotFound` when it has ended, or never was theirs.
pub async fn end(
    app: &App,
    cause: &Context,
    (user, session): (UserId, SessionId),
    once: Option<&OnceKey>,
) -> Result<Reply<()>> {
    let known: Option<Session> = app.db().get(&keys::session(user, session)).await?;
    let known = known.filter(|s| s.is_live(cause.now)).ok_or(Error::NotFound)?;
    let ended = Update::of(known.key())
        .set("revokedAt", cause.now)?
        .when(Cond::item_exists().and(Cond::absent("revokedAt")));
    let reason = json!({ "reason": "ended by its owner" });
    app.tx(cause)
        .update(ended, || Error::NotFound)
        .audit(Action::SessionRevoked, Scope::Account(user), session, reason)?
        .once(once)
        .commit(Reply::no_content())
        .await
}

/// Ends all but the current one, those that wait for a second factor too.
///
/// # Errors
/// `Conflict` when one of them ended by itself in between; the same request may be sent again.
pub async fn end_others(
    app: &App,
    cause: &Context,
    (user, current): (UserId, SessionId),
    once: Option<&OnceKey>,
) -> Result<Reply<Revoked>> {
    let others = living(app, cause.now, (user, Some(current))).await?;
    if let Some(once) = once.filter(|_| others.len() > CHUNK)
        && let Some(first) = once.first_answer(app.db(), cause.now).await?
    {
        return Ok(first);
    }
    let answer = Revoked {
        revoked: others.len(),
    };
    if others.is_empty() && once.is_none() {
        return Reply::ok(&answer); // DynamoDB refuses a transaction of nothing
    }
    let mut chunks: Vec<_> = others.chunks(CHUNK).collect();
    let last = chunks.pop().unwrap_or_default();
    for chunk in chunks {
        ending(app, cause, chunk, FROM_ANOTHER)?.run().await?;
    }
    ending(app, cause, last, FROM_ANOTHER)?
        .once(once)
        .commit(Reply::ok(&answer)?)
        .await
}

/// Ends all sessions of a person but, if told, one; those that wait for a second factor too.
///
/// # Errors
/// `Conflict` when one of them ended by itself in between; the same request may be sent again.
pub(super) async fn end_all(
    app: &App,
    cause: &Context,
    (user, but): (UserId, Option<SessionId>),
    reason: &str,
) -> Result<()> {
    let all = living(app, cause.now, (user, but)).await?;
    for chunk in all.chunks(CHUNK) {
        ending(app, cause, chunk, reason)?.run().await?;
    }
    Ok(())
}

/// Ends all sessions of somebody, on the word of one of Camarad's own staff: where an account was taken over, or is
/// thought to be.
///
/// # Errors
/// `NotFound` when there is no such person; `Conflict` as with `end_others`.
pub async fn end_by_operator(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<Revoked>> {
    if let Some(once) = once
        && let Some(first) = once.first_answer(app.db(), cause.now).await?
    {
        return Ok(first);
    }
    let known: Option<User> = app.db().get(&keys::user(user)).await?;
    known.ok_or(Error::NotFound)?;
    let all = living(app, cause.now, (user, None)).await?;
    let revoked = all.len();
    let mut chunks: Vec<_> = all.chunks(CHUNK).collect();
    let last = chunks.pop().unwrap_or_default();
    for chunk in chunks {
        ending(app, cause, chunk, BY_OPERATOR)?.run().await?;
    }
    let detail = json!({ "reason": BY_OPERATOR, "sessions": revoked });
    ending(app, cause, last, BY_OPERATOR)?
        .audit(Action::SessionRevoked, Scope::Platform, user, detail)?
        .once(once)
        .commit(Reply::ok(&Revoked { revoked })?)
        .await
}

fn ending<'a>(
    app: &'a App,
    cause: &'a Context,
    sessions: &[Session],
    reason: &str,
) -> Result<crate::store::Tx<'a>> {
    let mut tx = app.tx(cause);
    for session in sessions {
        let ended = Update::of(session.key())
            .set_if_absent("revokedAt", cause.now)?
            .when(Cond::item_exists());
        let changed = || Error::Conflict {
            code: "conflict",
            detail: "a session ended by itself: repeat the request".into(),
        };
        let reason = json!({ "reason": reason });
        tx = tx.update(ended, changed).audit(
            Action::SessionRevoked,
            Scope::Account(session.user_id),
            session.id,
            reason,
        )?;
    }
    Ok(tx)
}

/// The sessions that live or wait, but one.
async fn living(app: &App, now: Timestamp, (user, but): (UserId, Option<SessionId>)) -> Result<Vec<Session>> {
    let list = keys::sessions(user);
    let all = app.db().part::<Session>(&list, list.prefix(), "SES~").await?;
    let lives = |s: &Session| Some(s.id) != but && (s.is_live(now) || s.waits(now));
    Ok(all.into_iter().filter(lives).collect())
}

/// A client in words. Only well-known names are read out of the text, as it is anybody's.
fn device(user_agent: &str) -> String {
    const PROGRAMS: [(&str, &str); 11] = [
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser/", "Samsung Internet"),
        ("FxiOS/", "Firefox"),
        ("Firefox/", "Firefox"),
        ("CriOS/", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
        ("python", "Python"),
        ("node", "Node.js"),
    ];
    const SYSTEMS: [(&str, &str); 7] = [
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ];
    let named = |names: &[(&str, &'static str)]| {
        let found = names.iter().find(|(sign, _)| user_agent.contains(sign));
        found.map(|(_, name)| *name)
    };
    match (named(&PROGRAMS), named(&SYSTEMS)) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "Unknown device".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_in_words() {
        for (user_agent, words) in [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox on Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Linux; Android 16; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            ("curl/8.15.0", "curl"),
            ("", "Unknown device"),
            ("<script>alert(1)</script>", "Unknown device"),
        ] {
            assert_eq!(device(user_agent), words);
        }
    }
}
