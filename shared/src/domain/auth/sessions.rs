//! Sessions: one per sign-in, thirty days, with a refresh token that changes at each use (`refresh`).

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::attempt::InSession;
use super::refresh::RefreshToken;
use super::second_factor::PATIENCE;
use crate::app::App;
use crate::clock::Clock;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{SessionId, UserId};
use crate::personal::PersonKey;
use crate::store::Entity;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Update};

/// How long a session lasts, whatever is done with it.
pub const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// One sign-in on one device, and the family of its refresh tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id, in every access token.
    pub id: SessionId,
    /// Whose.
    pub user_id: UserId,
    /// When the person proved who they are.
    pub authenticated_at: Timestamp,
    /// The provider that said so.
    pub provider: String,
    /// SHA-256 of what all refresh tokens of this session have in common: tells a token that was one of them from
    /// a made-up one.
    pub family_hash: String,
    /// SHA-256 of the live refresh token.
    pub refresh_hash: String,
    /// SHA-256 of the one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_hash: Option<String>,
    /// With the token before, gives the live one; nothing by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
    /// Counts rotations.
    pub generation: u64,
    /// When the refresh token changed last.
    pub rotated_at: Timestamp,
    /// When the session ends, whatever happens.
    pub expires_at: Timestamp,
    /// Until when it waits for a second factor, if it does: nothing can be done with it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_until: Option<Timestamp>,
    /// Set when it was ended before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// Where it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// A copy of the person's key (`audit::person`), so that a write need not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person_key: Option<PersonKey>,
}

impl Session {
    /// A new session of `user`, who has just proved who they are to `provider`, with its first refresh token. Nothing
    /// is written yet.
    ///
    /// # Errors
    /// `Internal` when the clock is at the end of time.
    pub fn start(
        user: UserId,
        provider: &str,
        context: &Context,
        clock: &dyn Clock,
    ) -> Result<(Self, RefreshToken)> {
        let id = SessionId::new(clock);
        let token = RefreshToken::first(user, id);
        let session = Self {
            id,
            user_id: user,
            authenticated_at: context.now,
            provider: provider.to_owned(),
            family_hash: token.family_hash(),
            refresh_hash: token.hash(),
            previous_hash: None,
            salt: None,
            generation: 0,
            rotated_at: context.now,
            expires_at: context.now.checked_add(SESSION_LIFE).map_err(Error::internal)?,
            pending_until: None,
            revoked_at: None,
            ip: context.ip.clone(),
            user_agent: context.user_agent.clone(),
            person_key: context.person_key.clone(),
        };
        Ok((session, token))
    }

    /// Whether it may be used at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.pending_until.is_none() && now < self.expires_at
    }

    /// The session that somebody asks with, if it is live.
    ///
    /// # Errors
    /// `Unauthenticated` when it has ended.
    pub async fn live(app: &App, own: InSession, now: Timestamp) -> Result<Self> {
        let session: Option<Self> = app.db().get(&keys::session(own.user, own.session)).await?;
        session.filter(|s| s.is_live(now)).ok_or_else(ended)
    }

    /// The condition that `is_live` is, for a commit.
    ///
    /// # Errors
    /// `Internal` when the time has no form in the table.
    pub fn lives(now: Timestamp) -> Result<Cond> {
        Ok(Cond::exists("id")
            .and(Cond::absent("revokedAt"))
            .and(Cond::absent("pendingUntil"))
            .and(Cond::gt("expiresAt", now)?))
    }

    /// The same session, waiting for a second factor.
    ///
    /// # Errors
    /// `Internal` when the clock is at the end of time.
    pub fn waiting(self, now: Timestamp) -> Result<Self> {
        let until = now.checked_add(PATIENCE).map_err(Error::internal)?;
        Ok(Self {
            pending_until: Some(until),
            ..self
        })
    }

    /// Whether it waits for a second factor at `now`.
    pub fn waits(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.pending_until.is_some_and(|until| now < until)
    }
}

impl Entity for Session {
    const KIND: &'static str = "session";
    fn key(&self) -> Key {
        keys::session(self.user_id, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.pending_until.unwrap_or(self.expires_at).as_second())
    }
}

/// A session as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The provider that the person signed in with.
    pub provider: String,
    /// When the person proved who they are.
    #[schema(value_type = String, format = DateTime)]
    pub authenticated_at: Timestamp,
}

impl From<&Session> for SessionView {
    fn from(session: &Session) -> Self {
        Self {
            id: session.id,
            // A session begins with the proof; a later step-up moves only the proof, and the session's end tells.
            created_at: session
                .expires_at
                .checked_sub(SESSION_LIFE)
                .unwrap_or(session.authenticated_at),
            expires_at: session.expires_at,
            provider: session.provider.clone(),
            authenticated_at: session.authenticated_at,
        }
    }
}

/// Ends a session before its time, with every token of its family, and records why. A session that has ended already
/// stays as it is, and nothing is recorded twice.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn revoke(
    app: &App,
    cause: &Context,
    (user, session): (UserId, SessionId),
    action: Action,
    reason: &str,
) -> Result<()> {
    let ended = || Error::Conflict {
        code: ENDED,
        detail: "the session has ended already".into(),
    };
    let update = Update::of(keys::session(user, session))
        .set("revokedAt", cause.now)?
        .when(Cond::item_exists().and(Cond::absent("revokedAt")));
    let done = app
        .tx(cause)
        .update(update, ended)
        .audit(action, Scope::Account(user), session, json!({ "reason": reason }))?
        .run()
        .await;
    match done {
        Err(Error::Conflict { code: ENDED, .. }) => Ok(()),
        other => other,
    }
}

/// What whoever comes with an ended session hears.
pub(in crate::domain::auth) fn ended() -> Error {
    Error::Unauthenticated("the session has ended: sign in again")
}

const ENDED: &str = "session_ended";
