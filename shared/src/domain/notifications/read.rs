//! Reading notices.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{KEPT, Notification};
use crate::app::App;
use crate::domain::users::preferences::NotificationType;
use crate::error::Result;
use crate::ids::{NotificationId, UserId};
use crate::store::{Page, PageRequest, keys};

/// A notice as its person sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotificationView {
    /// Which.
    pub id: NotificationId,
    /// Of what it tells.
    #[serde(rename = "type")]
    pub kind: NotificationType,
    /// What there is to say about it; its shape goes with the type.
    #[schema(value_type = Object)]
    pub data: Value,
    /// When it was raised.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl From<Notification> for NotificationView {
    fn from(notice: Notification) -> Self {
        Self {
            id: notice.id,
            kind: notice.kind,
            data: notice.data,
            created_at: notice.created_at,
        }
    }
}

/// What a person was told in the last ninety days, newest first.
///
/// # Errors
/// `Invalid` on `query.cursor`.
pub async fn list(app: &App, user: UserId, page: &PageRequest) -> Result<Page<NotificationView>> {
    let found = app
        .db()
        .list::<Notification>(&keys::notices(user), page, true)
        .await?;
    let over = app.clock().now() - KEPT;
    let total = found.items.len();
    let items: Vec<_> = found
        .items
        .into_iter()
        .filter(|notice| notice.created_at > over)
        .map(NotificationView::from)
        .collect();
    // What follows one that is over is over, too.
    let whole = items.len() == total;
    Ok(Page {
        items,
        next_cursor: found.next_cursor.filter(|_| whole),
    })
}
