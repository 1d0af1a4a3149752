//! Deleting an account. One commit (`request`) makes the person a tombstone, ends every session and key, closes the
//! account and leaves an item that says what remains to be done; a job (`job`) does it, however often it is ended.
//!
//! - `deleting`: nobody signs in as this person, and nothing they began before can be written. The job closes their
//!   workspaces, leaves those of others with what they said there, and removes everything that is theirs. Then the address
//!   and the identities are free: whoever signs up with them is a new person.
//! - `finishing`: a quarter of an hour later, when the last AI call that ran at that moment must have ended and been
//!   settled, the job goes through everything once more and removes what such a call left.
//! - `completed`: what stays has ids only: ledger, bills, usage and the subscription's facts, which the law wants kept, and
//!   audit records, whose personal fields nobody can read since the person's key is gone.
//!
//! Cancelling a subscription at the payment provider hangs on the same event, `REQUESTED`.

mod job;
mod request;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use job::{SweptDeletions, carry_on, sweep};
pub use request::{Closing, closing, request};

use crate::app::App;
use crate::error::{Error, Result};
use crate::ids::{UserId, WorkspaceId};
use crate::random;
use crate::store::Entity;
use crate::store::keys::{self, Index, Key};

/// The event that makes the outbox call `carry_on`; its data is `Requested`.
pub const REQUESTED: &str = "com.camarad.account.deleted";

/// What the event says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requested {
    /// Whose account was deleted.
    pub user_id: UserId,
}

/// Longer than any AI call and any request that was admitted before the deletion.
const STRAGGLERS: SignedDuration = SignedDuration::from_mins(16);

/// How long one run of the job has before the sweeper begins another.
const TURN: SignedDuration = SignedDuration::from_mins(2);

/// How long one may ask what became of a deletion.
pub(crate) const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How far a deletion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// What is the person's is being removed.
    Deleting,
    /// It has been; what was under way at that moment may still come to its end.
    Finishing,
    /// Nothing personal is left.
    Completed,
}

/// A deletion: what the job needs to know, and what its owner may ask. It has nothing personal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Whose.
    pub user_id: UserId,
    /// How far.
    pub stage: Stage,
    /// SHA-256 of the token that shows this item.
    pub token_hash: String,
    /// Workspaces of others that the person was in.
    pub elsewhere: Vec<WorkspaceId>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When the job is to look at it next.
    pub due_at: Timestamp,
    /// When everything had been removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
    /// When it was completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

impl Entity for Deletion {
    const KIND: &'static str = "deletion";
    fn key(&self) -> Key {
        keys::deletion(self.user_id)
    }
    fn index1(&self) -> Option<Index> {
        (self.stage != Stage::Completed).then(|| keys::deletion_due(self.user_id, self.due_at))
    }
    fn ttl(&self) -> Option<i64> {
        self.completed_at.map(|at| (at + REMEMBERED).as_second())
    }
}

/// Shows a deletion to whoever asked for it, once their session is gone: `del_`, the body of their id, a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusToken {
    user: UserId,
    secret: String,
}

impl StatusToken {
    /// What every such token starts with.
    pub const PREFIX: &'static str = "del_";

    fn fresh(user: UserId) -> Self {
        Self {
            user,
            secret: random::secret(),
        }
    }

    /// The token that `text` is, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, secret) = text.strip_prefix(Self::PREFIX)?.split_once('.')?;
        Some(Self {
            user: format!("{}{user}", UserId::PREFIX).parse().ok()?,
            secret: secret.to_owned(),
        })
    }

    fn text(&self) -> String {
        format!("{}{}.{}", Self::PREFIX, self.user.body(), self.secret)
    }

    fn hash(&self) -> String {
        keys::digest(&self.secret)
    }
}

/// How far a deletion is, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeletionView {
    /// How far it is.
    pub status: Stage,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// When everything had been removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub removed_at: Option<Timestamp>,
    /// When nothing personal was left any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub completed_at: Option<Timestamp>,
    /// Shows this status for thirty days, as a bearer token, now that no session does. Told once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_token: Option<String>,
}

impl From<&Deletion> for DeletionView {
    fn from(deletion: &Deletion) -> Self {
        Self {
            status: deletion.stage,
            requested_at: deletion.requested_at,
            removed_at: deletion.removed_at,
            completed_at: deletion.completed_at,
            status_token: None,
        }
    }
}

/// The deletion of a person's account.
///
/// # Errors
/// `NotFound` when nobody asked for one.
pub async fn read(app: &App, user: UserId) -> Result<DeletionView> {
    let found = app.db().get::<Deletion>(&keys::deletion(user)).await?;
    found.map(|d| DeletionView::from(&d)).ok_or(Error::NotFound)
}

/// The deletion that a token shows.
///
/// # Errors
/// `Unauthenticated` when it shows none.
pub async fn shown(app: &App, token: &StatusToken) -> Result<DeletionView> {
    let found = app.db().get::<Deletion>(&keys::deletion(token.user)).await?;
    // Hashes of a secret are compared, so that the time it takes tells nothing of the secret.
    found
        .filter(|d| d.token_hash == token.hash())
        .map(|d| DeletionView::from(&d))
        .ok_or(Error::Unauthenticated("this token shows no deletion"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_status_token_comes_back_as_it_was() {
        let token = StatusToken::fresh(UserId::new(&ManualClock::at_unix(1_700_000_000)));
        assert_eq!(StatusToken::parse(&token.text()), Some(token));
        for text in [
            "",
            "del_",
            "del_.",
            "del_x.y",
            "usr_0.0",
            "del_00000000000000000000000000",
        ] {
            assert_eq!(StatusToken::parse(text), None, "{text}");
        }
    }
}
