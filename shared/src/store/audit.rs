//! Audit records: who did what, written by `Tx` in the same commit as the change they tell of, and never changed after.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entity::Entity;
use super::keys::{self, Key};
use crate::canonical::exact;
use crate::context::{Actor, Context};
use crate::error::{Error, Result};
use crate::ids::{AuditId, UserId, WorkspaceId};
use crate::personal::{self, Sealed};

// `tt`: what is a `literal` reaches utoipa wrapped, and it would document the variants' names instead.
macro_rules! actions {
    ($($name:ident $text:tt),+ $(,)?) => {
        /// What was done, as the audit log names it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[allow(missing_docs)] // the names are the documentation
        pub enum Action { $(#[serde(rename = $text)] $name),+ }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$name),+];

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
    BillingRequested "billing.requested",
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
    LedgerConsumed "ledger.consumed",
    LedgerRefunded "ledger.refunded",
    CallStopped "call.stopped",
}

/// Days that a workspace's records are kept unless its settings say otherwise.
pub const WORKSPACE_DAYS: u16 = 90;

/// Days that the records of a person's account are kept, on every plan: the shortest that a workspace has by default, as
/// nobody but the person needs them.
pub const ACCOUNT_DAYS: u16 = 90;

/// Days that the platform's records are kept.
pub const PLATFORM_DAYS: u16 = 365;

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
            Self::Platform => keys::PLATFORM.into(),
        }
    }

    /// The scope with this name.
    pub fn parse(name: &str) -> Option<Self> {
        if name == keys::PLATFORM {
            return Some(Self::Platform);
        }
        let workspace = name.parse().map(Self::Workspace);
        workspace.or_else(|_| name.parse().map(Self::Account)).ok()
    }

    /// How many days its records are kept.
    fn days(&self, cause: &Context) -> u16 {
        match self {
            Self::Workspace(_) => cause.audit_days.unwrap_or(WORKSPACE_DAYS),
            Self::Account(_) => ACCOUNT_DAYS,
            Self::Platform => PLATFORM_DAYS,
        }
    }
}

/// An audit record: append-only. Its seal (`domain::audit`) covers every field, so a field that is added later must be
/// absent in older records.
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
    /// What changed, without secrets and without what people typed (names, reasons): it outlives them, and nobody can
    /// delete it. Names of fields, ids and values of closed lists.
    pub detail: Value,
    /// Address and client, for as long as the person has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personal: Option<Sealed>,
    /// The network that somebody without a key came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// In which request.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
    /// Until when it is kept. Sealed with the rest, so that removing it earlier shows.
    pub expires_at: Timestamp,
}

impl AuditRecord {
    /// The record of what `cause` did.
    ///
    /// # Errors
    /// `Internal` when the cipher fails, or the clock is at the end of time.
    pub fn new(
        id: AuditId,
        cause: &Context,
        (action, scope): (Action, Scope),
        resource: String,
        detail: Value,
    ) -> Result<Self> {
        let (ip, user_agent) = (cause.ip.as_deref(), cause.user_agent.as_deref());
        let sealed = match &cause.person_key {
            Some(key) => key.seal(&id.to_string(), ip, user_agent)?,
            None => None,
        };
        let network = match &cause.person_key {
            Some(_) => None,
            None => ip.and_then(personal::network),
        };
        let kept = SignedDuration::from_hours(24 * i64::from(scope.days(cause)));
        Ok(Self {
            id,
            scope: scope.name(),
            action,
            actor: cause.actor.clone(),
            resource,
            detail: exact(detail),
            personal: sealed,
            network,
            request_id: cause.request_id.clone(),
            at: cause.now,
            expires_at: cause.now.checked_add(kept).map_err(Error::internal)?,
        })
    }
}

impl Entity for AuditRecord {
    const KIND: &'static str = "audit";
    fn key(&self) -> Key {
        keys::audit(&self.scope, self.at, self.id)
    }
    fn ttl(&self) -> Option<i64> {
        Some(self.expires_at.as_second())
    }
}
