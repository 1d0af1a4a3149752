//! What the API shows of presets and agents.

use jiff::Timestamp;
use serde::Serialize;

use super::Agent;
use super::presets::{self, PRESETS, Preset, PresetDomain};
use crate::ids::{AgentId, WorkspaceId};
use crate::store::Page;

/// A preset, without its role prompt: that is what people pay for.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PresetView {
    /// What agents are made from it by.
    pub id: &'static str,
    /// What it is about.
    pub domain: PresetDomain,
    /// Its name.
    pub name: &'static str,
    /// Its icon's name (Lucide).
    pub icon: &'static str,
    /// What it does, in one line.
    pub description: &'static str,
}

impl From<&Preset> for PresetView {
    fn from(preset: &Preset) -> Self {
        Self {
            id: preset.id,
            domain: preset.domain,
            name: preset.name,
            icon: preset.icon,
            description: preset.description,
        }
    }
}

/// The presets, of one domain or of all.
pub fn list_presets(domain: Option<PresetDomain>) -> Page<PresetView> {
    let wanted = PRESETS
        .iter()
        .filter(|preset| domain.is_none_or(|d| preset.domain == d));
    Page::whole(wanted.map(PresetView::from).collect())
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentView {
    /// Its id.
    pub id: AgentId,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The preset it was made from.
    pub preset_id: String,
    /// What the preset is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<PresetDomain>,
    /// The preset's icon (Lucide).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<&'static str>,
    /// What the preset does, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<&'static str>,
    /// 1 to 100 characters.
    pub name: String,
    /// Whether it answers.
    pub active: bool,
    /// The model it asks for; absent means the default one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Grows by one with every change.
    pub version: u64,
}

impl From<Agent> for AgentView {
    fn from(agent: Agent) -> Self {
        let preset = presets::by_id(&agent.preset_id);
        Self {
            id: agent.id,
            workspace_id: agent.id.workspace(),
            domain: preset.map(|p| p.domain),
            icon: preset.map(|p| p.icon),
            description: preset.map(|p| p.description),
            preset_id: agent.preset_id,
            name: agent.name,
            active: agent.active,
            model: agent.model,
            created_at: agent.created_at,
            updated_at: agent.updated_at,
            version: agent.version,
        }
    }
}
