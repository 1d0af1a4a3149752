//! Lists of agents.

use super::Agent;
use super::view::AgentView;
use crate::error::Result;
use crate::ids::WorkspaceId;
use crate::store::{Db, Page, PageRequest, keys};

/// The agents of a workspace, in the order in which they were made.
pub async fn list(db: &Db, workspace: WorkspaceId, page: &PageRequest) -> Result<Page<AgentView>> {
    Ok(db
        .list::<Agent>(&keys::agents(workspace), page, false)
        .await?
        .map(AgentView::from))
}
