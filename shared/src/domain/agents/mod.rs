//! Agents: made from presets, used in conversations.

pub mod create;
pub mod delete;
pub mod presets;
pub mod read;
pub mod update;
pub mod view;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::presets::Preset;
use crate::error::{Error, Result};
use crate::ids::AgentId;
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// An agent of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its id, which names its workspace.
    pub id: AgentId,
    /// The preset it was made from.
    pub preset_id: String,
    /// 1 to 100 characters.
    pub name: String,
    /// Whether it answers. At most ten are active in one workspace.
    pub active: bool,
    /// The model it asks for; the catalogue's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The last change.
    pub updated_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
}

impl Agent {
    /// An agent as its preset has it, active.
    pub(crate) fn from_preset(id: AgentId, preset: &Preset, now: Timestamp) -> Self {
        Self {
            id,
            preset_id: preset.id.into(),
            name: preset.name.into(),
            active: true,
            model: None,
            created_at: now,
            updated_at: now,
            version: 1,
        }
    }

    /// Whether it answers, and works.
    ///
    /// # Errors
    /// The conflict `agent_inactive`.
    pub fn must_be_active(&self) -> Result<()> {
        match self.active {
            true => Ok(()),
            false => Err(Error::Conflict {
                code: "agent_inactive",
                detail: "the agent is inactive: activate it first".into(),
            }),
        }
    }
}

impl Entity for Agent {
    const KIND: &'static str = "agent";
    fn key(&self) -> Key {
        keys::agent(self.id)
    }
}

/// What stays of a deleted agent until its conversations are gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletedAgent {
    /// Its id.
    pub id: AgentId,
}

impl Entity for DeletedAgent {
    const KIND: &'static str = "deletedAgent";
    fn key(&self) -> Key {
        keys::deleted_agent(self.id)
    }
}
