//! What an API key may be used for. routes.tsv names the scope of each route.

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])+ $name:ident $text:literal),+ $(,)?) => {
        /// A thing that an API key may be allowed to do, within what its owner may.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum KeyScope { $($(#[$doc])+ #[serde(rename = $text)] $name),+ }

        impl KeyScope {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name in requests and in routes.tsv.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }
        }
    };
}

scopes! {
    /// Read the profile, the preferences and the subscription.
    UserRead "user:read",
    /// Change the profile and the preferences.
    UserWrite "user:write",
    /// Read workspaces, their settings and members.
    WorkspacesRead "workspaces:read",
    /// Make, change and delete workspaces.
    WorkspacesWrite "workspaces:write",
    /// Read agents.
    AgentsRead "agents:read",
    /// Make, change and delete agents.
    AgentsWrite "agents:write",
    /// Talk to agents, and read what was said.
    AgentsUse "agents:use",
    /// Read the ledger and its balance.
    LedgerRead "ledger:read",
    /// Read the subscription, invoices and how they are paid.
    BillingRead "billing:read",
    /// Read what AI calls used.
    UsageRead "usage:read",
    /// Read what the person was told.
    NotificationsRead "notifications:read",
    /// Bring usage events of a service; for keys of Camarad's operators.
    UsageRecord "usage:record",
    /// Charge for what a service did; for keys of Camarad's operators.
    LedgerConsume "ledger:consume",
    /// Read audit logs.
    AuditRead "audit:read",
}

impl KeyScope {
    /// Whether it is for services of ours: nobody but an operator makes a key with it.
    pub fn is_of_services(self) -> bool {
        matches!(self, Self::UsageRecord | Self::LedgerConsume)
    }

    /// The scope of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == name)
    }
}
