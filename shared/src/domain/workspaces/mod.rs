//! Workspaces and their members.

pub mod create;
pub mod delete;
pub mod read;
pub mod settings;
pub mod update;
pub mod view;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::manner::Tone;
use super::permissions::Role;
use super::plans::{Plan, Pool};
use crate::error::{Error, Result};
use crate::ids::{AgentId, UserId, WorkspaceId};
use crate::money::{self, Cbt};
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// What a workspace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceType {
    /// One person's life.
    Personal,
    /// A company.
    Business,
    /// An agency.
    Agency,
    /// Software.
    Developer,
}

/// A workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workspace {
    /// Its id.
    pub id: WorkspaceId,
    /// 1 to 100 characters.
    pub name: String,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind_of: WorkspaceType,
    /// Who owns and, on a shared pool, pays for it.
    pub owner_id: UserId,
    /// The owner's plan, copied here so that one batch read knows pool and limits; `billing::limits` keeps it in step.
    pub plan: Plan,
    /// Agents in it; changes only in the transaction that creates or deletes one.
    pub agents: u32,
    /// Agents in it that are active; likewise.
    pub active_agents: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
    /// Days that its audit records are kept: what is written gets its time to live from it.
    #[serde(default = "settings::audit_retention_days")]
    pub audit_retention_days: u16,
    /// The model of agents that name none; the catalogue's default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_model: Option<String>,
    /// How its agents speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_tone: Option<Tone>,
    /// The language that its agents answer in, BCP 47.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_locale: Option<String>,
    /// Whether it can be read, exported and deleted only, as its owner's plan allows fewer workspaces.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// The newest agent (the own part of its id) that is within the limit of its owner's plan, where some are beyond it:
    /// those can be read, exported and deleted only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_agent: Option<String>,
    /// What it may draw from its owner's account in a period; without it, all that the account has. The owner's ledger
    /// counts against it.
    #[serde(
        with = "money::stored_option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub allocation: Option<Cbt>,
    /// When it was deleted. The item stays as a tombstone until everything in it is gone; nobody sees it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
}

impl Workspace {
    /// A workspace that is made now, without agents and with the settings of one that nobody changed.
    pub fn new(
        id: WorkspaceId,
        name: String,
        kind_of: WorkspaceType,
        (owner_id, plan): (UserId, Plan),
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            name,
            kind_of,
            owner_id,
            plan,
            agents: 0,
            active_agents: 0,
            created_at: now,
            updated_at: now,
            version: 1,
            audit_retention_days: settings::AUDIT_RETENTION_DAYS,
            default_model: None,
            default_tone: None,
            default_locale: None,
            read_only: false,
            newest_agent: None,
            allocation: None,
            deleted_at: None,
        }
    }

    /// Whether it is there for its members.
    pub fn is_live(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// Days that a record of now is kept: as its settings say, and as long as the plan allows.
    pub fn audit_days(&self) -> u16 {
        self.audit_retention_days.min(self.plan.audit_days())
    }

    /// Whether it may be changed and used.
    ///
    /// # Errors
    /// `PlanLimit`.
    pub fn within_limit(&self) -> Result<()> {
        match self.read_only {
            false => Ok(()),
            true => Err(Error::PlanLimit {
                what: "workspaces",
                max: self.plan.limits().workspaces.unwrap_or_default(),
            }),
        }
    }

    /// Whether this agent of it may be changed and used.
    ///
    /// # Errors
    /// `PlanLimit`.
    pub fn agent_within_limit(&self, agent: AgentId) -> Result<()> {
        match &self.newest_agent {
            Some(newest) if agent.own() > *newest => Err(Error::PlanLimit {
                what: "agents",
                max: self.plan.limits().agents.unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Whose cbT its calls spend: the owner's plan decides.
    pub fn pool(&self) -> Pool {
        self.plan.pool()
    }

    /// Whose ledger pays for a call of `user` here.
    pub fn payer(&self, user: UserId) -> UserId {
        match self.pool() {
            Pool::Own => user,
            Pool::Shared => self.owner_id,
        }
    }
}

impl Entity for Workspace {
    const KIND: &'static str = "workspace";
    fn key(&self) -> Key {
        keys::workspace(self.id)
    }
}

/// A member of a workspace, stored with the workspace; the truth about roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Where.
    pub workspace_id: WorkspaceId,
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Timestamp,
}

impl Entity for Member {
    const KIND: &'static str = "member";
    fn key(&self) -> Key {
        keys::member(self.workspace_id, self.user_id)
    }
}

/// The same membership, stored with the person, so that their workspaces can be listed. Written in the same
/// transactions as `Member`; never used to decide what somebody may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// Where.
    pub workspace_id: WorkspaceId,
    /// Who.
    pub user_id: UserId,
    /// As what.
    pub role: Role,
}

impl Entity for Membership {
    const KIND: &'static str = "membership";
    fn key(&self) -> Key {
        keys::membership(self.user_id, self.workspace_id)
    }
}
