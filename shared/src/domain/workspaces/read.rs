//! Lists of workspaces and of members.

use super::view::{MemberView, WorkspaceView};
use super::{Member, Membership, Workspace};
use crate::domain::permissions::Role;
use crate::domain::users::User;
use crate::error::Result;
use crate::ids::{UserId, WorkspaceId};
use crate::store::{Db, Entity, Page, PageRequest, keys};

/// How many memberships are read at once, and how many workspaces: a batch takes a hundred keys.
const MEMBERSHIPS: u32 = 1_000;
const WORKSPACES: usize = 100;

/// The workspaces that `user` owns, in the order in which they were made: of one more than `most` none are read.
/// Two reads, for up to a hundred.
///
/// # Errors
/// When the table does not answer.
pub async fn owned(db: &Db, user: UserId, most: usize) -> Result<Owned> {
    let mut page = PageRequest::of(MEMBERSHIPS);
    let mut hints = Vec::new();
    loop {
        let some = db
            .list::<Membership>(&keys::memberships(user), &page, false)
            .await?;
        if let Some(last) = some.items.last() {
            page = page.starting_after(last.key().sk());
        }
        let owner = |m: &Membership| m.role == Role::Owner;
        hints.extend(some.items.into_iter().filter(owner).map(|m| m.workspace_id));
        if some.next_cursor.is_none() {
            break;
        }
    }
    if hints.len() > most {
        return Ok(Owned::TooMany);
    }
    let mut all = Vec::with_capacity(hints.len());
    for some in hints.chunks(WORKSPACES) {
        let wanted: Vec<_> = some.iter().map(|id| keys::workspace(*id)).collect();
        let mut read = db.batch(&wanted).await?;
        for key in &wanted {
            // The workspace itself says who owns it.
            let found = read.read::<Workspace>(key)?;
            all.extend(found.filter(|w| w.is_live() && w.owner_id == user));
        }
    }
    Ok(Owned::All(all))
}

/// What somebody owns.
#[derive(Debug)]
pub enum Owned {
    /// These workspaces.
    All(Vec<Workspace>),
    /// More than were wanted at most.
    TooMany,
}

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
