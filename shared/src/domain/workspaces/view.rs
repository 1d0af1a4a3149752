//! What the API shows of workspaces.

use jiff::Timestamp;
use serde::Serialize;

use super::{Workspace, WorkspaceType};
use crate::domain::permissions::Role;
use crate::domain::plans::Plan;
use crate::ids::{UserId, WorkspaceId};

/// A workspace, as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkspaceView {
    /// Its id.
    pub id: WorkspaceId,
    /// 1 to 100 characters.
    pub name: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind_of: WorkspaceType,
    /// The caller's role in it.
    pub role: Role,
    /// Who owns it.
    pub owner_id: UserId,
    /// The owner's plan.
    pub plan: Plan,
    /// Agents in it.
    pub agents: u32,
    /// Agents in it that are active.
    pub active_agents: u32,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
}

impl WorkspaceView {
    /// As a member with this role sees it.
    pub fn of(workspace: Workspace, role: Role) -> Self {
        Self {
            id: workspace.id,
            name: workspace.name,
            kind_of: workspace.kind_of,
            role,
            owner_id: workspace.owner_id,
            plan: workspace.plan,
            agents: workspace.agents,
            active_agents: workspace.active_agents,
            created_at: workspace.created_at,
            updated_at: workspace.updated_at,
            version: workspace.version,
        }
    }
}

/// A member, as the other members see them.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Who.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
    /// A picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// As what.
    pub role: Role,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub joined_at: Timestamp,
}
