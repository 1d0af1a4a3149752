//! Everything that is kept about a person, for them to take along: NDJSON, written from the table page by page while it is
//! read, so that no second copy lies about and no account is too large. An export is a permission that lasts for a day;
//! the archive tells what there is at the moment of its download.
//!
//! The first line is a manifest; the last one has the number of lines by kind and SHA-256 of every byte before it. An
//! archive without its last line is not whole: something went wrong while it was written.
//!
//! Left out, and why: hashes and secrets, by which one signs in, not a person is described; answers kept under an
//! Idempotency-Key, for a day, of what is in the archive itself; the rows that hold an address or an identity for the
//! person, which say what profile and identities say; bills and holds, of which each call's ledger entries and usage event
//! tell; counters of usage, which add up the person's events with those of others; what others' workspaces hold but the
//! person did not say: it is theirs.

mod archive;
mod lines;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use archive::Archive;

use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{ExportId, UserId};
use crate::reply::Reply;
use crate::store::Entity;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;

/// How long an export may be downloaded.
const LIFE: SignedDuration = SignedDuration::from_hours(24);

/// An export that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Whose.
    pub user_id: UserId,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// Until when it may be downloaded.
    pub expires_at: Timestamp,
}

impl Entity for Export {
    const KIND: &'static str = "export";
    fn key(&self) -> Key {
        keys::export(self.user_id, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}

/// An export.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExportView {
    /// Its id.
    pub id: ExportId,
    /// Where it is downloaded, with a sign-in within the last fifteen minutes.
    pub download: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// Until when it may be downloaded.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

impl From<&Export> for ExportView {
    fn from(export: &Export) -> Self {
        Self {
            id: export.id,
            download: format!("/api/user/export/{}/download", export.id),
            requested_at: export.requested_at,
            expires_at: export.expires_at,
        }
    }
}

/// Asks for an export.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn request(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<ExportView>> {
    let export = Export {
        id: ExportId::new(app.clock()),
        user_id: user,
        requested_at: cause.now,
        expires_at: cause.now + LIFE,
    };
    app.tx(cause)
        .create(&export)?
        .audit(
            Action::DataExported,
            Scope::Account(user),
            export.id,
            json!({ "step": "requested" }),
        )?
        .once(once)
        .commit(Reply::created(&ExportView::from(&export))?)
        .await
}

/// An export of this person that has not expired at `now`.
///
/// # Errors
/// `NotFound`.
pub async fn read(app: &App, (user, id): (UserId, ExportId), now: Timestamp) -> Result<Export> {
    let found = app.db().get::<Export>(&keys::export(user, id)).await?;
    found.filter(|e| now < e.expires_at).ok_or(Error::NotFound)
}

/// Begins the download of an export. That it was downloaded is in the log before its first byte goes out.
///
/// # Errors
/// `NotFound`.
pub async fn download(app: &App, cause: &Context, which: (UserId, ExportId)) -> Result<Archive> {
    let export = read(app, which, cause.now).await?;
    app.tx(cause)
        .audit(
            Action::DataExported,
            Scope::Account(export.user_id),
            export.id,
            json!({ "step": "downloaded" }),
        )?
        .run()
        .await?;
    Ok(archive::begin(app, &export, cause.now))
}
