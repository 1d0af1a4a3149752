//! Workspaces: members, agents, conversations.

use super::{Key, List};
use crate::ids::{AgentId, CallId, ConversationId, UserId, WorkspaceId};

fn workspace_pk(workspace: WorkspaceId) -> String {
    format!("WS#{workspace}")
}

/// A workspace.
pub fn workspace(workspace: WorkspaceId) -> Key {
    Key::raw(workspace_pk(workspace), "META")
}

/// A member of a workspace.
pub fn member(workspace: WorkspaceId, user: UserId) -> Key {
    Key::raw(workspace_pk(workspace), format!("MEMBER#{user}"))
}

/// All members of a workspace.
pub fn members(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "MEMBER#",
    }
}

/// An agent.
pub fn agent(agent: AgentId) -> Key {
    Key::raw(workspace_pk(agent.workspace()), format!("AGENT#{}", agent.own()))
}

/// All agents of a workspace.
pub fn agents(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "AGENT#",
    }
}

/// An agent that was deleted and whose conversations are not all gone yet.
pub fn deleted_agent(agent: AgentId) -> Key {
    Key::raw(workspace_pk(agent.workspace()), format!("GONE#{}", agent.own()))
}

/// All such agents of a workspace.
pub fn deleted_agents(workspace: WorkspaceId) -> List {
    List {
        pk: workspace_pk(workspace),
        prefix: "GONE#",
    }
}

fn conversations_pk(agent: AgentId, user: UserId) -> String {
    format!("CONVERSATIONS#{}#{user}", agent.own())
}

/// A conversation. Agent and user are in its key, so a conversation that is found is one the caller may see.
pub fn conversation(agent: AgentId, user: UserId, conversation: ConversationId) -> Key {
    Key::raw(conversations_pk(agent, user), format!("CNV#{conversation}"))
}

/// All conversations of a user with an agent, oldest first.
pub fn conversations(agent: AgentId, user: UserId) -> List {
    List {
        pk: conversations_pk(agent, user),
        prefix: "CNV#",
    }
}

/// One turn (question and answer) of a conversation.
pub fn turn(conversation: ConversationId, call: CallId) -> Key {
    Key::raw(format!("CNV#{conversation}"), format!("TURN#{call}"))
}

/// All turns of a conversation, oldest first.
pub fn turns(conversation: ConversationId) -> List {
    List {
        pk: format!("CNV#{conversation}"),
        prefix: "TURN#",
    }
}
