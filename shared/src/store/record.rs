//! The records that `Tx` writes beside an effect: audit, outbox. That of idempotency is in `once`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::Entity;
use super::keys::{self, Key};
use crate::context::{Actor, Context};
use crate::ids::{AuditId, EventId, UserId, WorkspaceId};

macro_rules! actions {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// What was done, as the audit log names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[allow(missing_docs)] // the names are the documentation
        pub enum Action { $(#[serde(rename = $text)] $name),+ }

        impl Action {
            /// The name in the log.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

actions! {
    UserLogin "user.login",
    UserLogout "user.logout",
    UserLoginFailed "user.login_failed",
    UserCreated "user.created",
    UserUpdated "user.updated",
    SessionRevoked "session.revoked",
    IdentityLinked "identity.linked",
    IdentityUnlinked "identity.unlinked",
    WorkspaceCreated "workspace.created",
    WorkspaceUpdated "workspace.updated",
    WorkspaceDeleted "workspace.deleted",
    WorkspaceTransferred "workspace.transferred",
    AgentCreated "agent.created",
    AgentUpdated "agent.updated",
    AgentDeleted "agent.deleted",
    PromptUpdated "prompt.updated",
    MemberInvited "member.invited",
    MemberJoined "member.joined",
    MemberRemoved "member.removed",
    MemberRoleChanged "member.role_changed",
    SubscriptionCreated "subscription.created",
    SubscriptionUpdated "subscription.updated",
    SubscriptionCancelled "subscription.cancelled",
    ApiKeyCreated "api_key.created",
    ApiKeyRevoked "api_key.revoked",
    SettingsUpdated "settings.updated",
    ApiRateLimited "api.rate_limited",
    SafetyBlocked "safety.blocked",
    TemplatePublished "template.published",
    TemplateInstalled "template.installed",
    DataExported "data.exported",
    AccountDeleted "account.deleted",
    LedgerGranted "ledger.granted",
    CallStopped "call.stopped",
}

/// Whose log a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// A workspace's.
    Workspace(WorkspaceId),
    /// A person's account.
    Account(UserId),
    /// Camarad's own.
    Platform,
}

impl Scope {
    /// The scope in keys and records.
    pub fn name(&self) -> String {
        match self {
            Self::Workspace(id) => id.to_string(),
            Self::Account(id) => id.to_string(),
            Self::Platform => "platform".into(),
        }
    }
}

/// An audit record: append-only, written in the same commit as the change it tells of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Its id.
    pub id: AuditId,
    /// Whose log.
    pub scope: String,
    /// What was done.
    pub action: Action,
    /// By whom.
    pub actor: Actor,
    /// To what: an id.
    pub resource: String,
    /// What changed, without secrets.
    pub detail: Value,
    /// From which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// In which request.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
}

impl AuditRecord {
    pub(super) fn new(
        id: AuditId,
        cause: &Context,
        action: Action,
        scope: Scope,
        resource: String,
        detail: Value,
    ) -> Self {
        Self {
            id,
            scope: scope.name(),
            action,
            actor: cause.actor.clone(),
            resource,
            detail,
            ip: cause.ip.clone(),
            user_agent: cause.user_agent.clone(),
            request_id: cause.request_id.clone(),
            at: cause.now,
        }
    }
}

impl Entity for AuditRecord {
    const KIND: &'static str = "audit";
    fn key(&self) -> Key {
        keys::audit(&self.scope, self.at, self.id)
    }
}

/// A domain event on its way out. The row is the promise: the table's stream only wakes the publisher, which removes
/// the row once the event is in its queue; a sweeper publishes rows that were overlooked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRecord {
    /// The event's id; consumers deduplicate by it.
    pub id: EventId,
    /// The event's type, `com.camarad.<noun>.<verb>` (CloudEvents 1.0 `type`).
    pub event_type: String,
    /// When it happened.
    pub at: Timestamp,
    /// Its data.
    pub data: Value,
}

impl Entity for OutboxRecord {
    const KIND: &'static str = "outbox";
    fn key(&self) -> Key {
        keys::outbox(self.id)
    }
}
