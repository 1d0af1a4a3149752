//! Lists of workspaces and of members.

use super::view::{MemberView, WorkspaceView};
use super::{Member, Membership, Workspace};
use crate::domain::users::User;
use crate::error::Result;
use crate::ids::{UserId, WorkspaceId};
use crate::store::{Db, Page, PageRequest, keys};

/// The workspaces that `user` is a member of, in the order in which they were made. A page has fewer items than asked
/// for where a workspace was deleted.
pub async fn list(db: &Db, user: UserId, page: &PageRequest) -> Result<Page<WorkspaceView>> {
    let memberships = db
        .list::<Membership>(&keys::memberships(user), page, false)
        .await?;
    let wanted: Vec<_> = memberships
        .items
        .iter()
        .map(|m| keys::workspace(m.workspace_id))
        .collect();
    let mut read = db.batch(&wanted).await?;
    let mut items = Vec::with_capacity(wanted.len());
    for (membership, key) in memberships.items.iter().zip(&wanted) {
        if let Some(workspace) = read.read::<Workspace>(key)?.filter(Workspace::is_live) {
            items.push(WorkspaceView::of(workspace, membership.role));
        }
    }
    Ok(Page {
        items,
        next_cursor: memberships.next_cursor,
    })
}

/// The members of a workspace.
pub async fn members(db: &Db, workspace: WorkspaceId, page: &PageRequest) -> Result<Page<MemberView>> {
    let members = db.list::<Member>(&keys::members(workspace), page, false).await?;
    let wanted: Vec<_> = members.items.iter().map(|m| keys::user(m.user_id)).collect();
    let mut read = db.batch(&wanted).await?;
    let mut items = Vec::with_capacity(wanted.len());
    for (member, key) in members.items.into_iter().zip(&wanted) {
        if let Some(user) = read.read::<User>(key)? {
            items.push(MemberView {
                user_id: member.user_id,
                name: user.name,
                email: user.email,
                avatar_url: user.avatar_url,
                role: member.role,
                joined_at: member.joined_at,
            });
        }
    }
    Ok(Page {
        items,
        next_cursor: members.next_cursor,
    })
}
