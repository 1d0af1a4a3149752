//! The one table of permissions: what each role of a workspace may do. Handlers demand a permission as a type, and
//! domain functions take the proof (`http::Member<P>`'s `Membership`), so that a check cannot be forgotten.

use serde::{Deserialize, Serialize};

/// A member's role in a workspace.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Uses the workspace.
    Member,
    /// Manages what is in it.
    Admin,
    /// Owns and pays for it; exactly one.
    Owner,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Owner, Role::Admin, Role::Member];

    /// Whether the role has the permission.
    pub fn may(self, permission: Permission) -> bool {
        self >= permission.least_role()
    }
}

macro_rules! permissions {
    ($($(#[$doc:meta])+ $name:ident $text:literal $role:ident),+ $(,)?) => {
        /// Something that a role may or may not do in a workspace.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Permission { $($(#[$doc])+ $name),+ }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Permission] = &[$(Permission::$name),+];

            /// The name in routes.tsv.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The least role that has it.
            pub fn least_role(self) -> Role {
                match self { $(Self::$name => Role::$role),+ }
            }
        }

        /// The permissions as types, for extractors.
        pub mod grant {
            $($(#[$doc])+ #[derive(Debug, Clone, Copy)] pub struct $name;
            impl super::Grant for $name {
                const PERMISSION: super::Permission = super::Permission::$name;
            })+
        }
    };
}

permissions! {
    /// See the workspace, its agents, members and usage.
    WorkspaceView "workspace.view" Member,
    /// Talk to its agents.
    AgentsUse "agents.use" Member,
    /// Create, change and delete agents.
    AgentsManage "agents.manage" Admin,
    /// Invite members, change their roles, remove them.
    MembersManage "members.manage" Admin,
    /// Rename the workspace.
    WorkspaceUpdate "workspace.update" Admin,
    /// Change its settings.
    SettingsManage "settings.manage" Admin,
    /// Read its audit log.
    AuditView "audit.view" Admin,
    /// Decide what it may spend.
    BillingManage "billing.manage" Owner,
    /// Delete it.
    WorkspaceDelete "workspace.delete" Owner,
    /// Give it to somebody else.
    WorkspaceTransfer "workspace.transfer" Owner,
}

/// A permission as a type.
pub trait Grant: Send + Sync + 'static {
    /// Which.
    const PERMISSION: Permission;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_of_the_product() {
        let may = |role: Role| -> Vec<_> {
            Permission::ALL
                .iter()
                .filter(|p| role.may(**p))
                .map(|p| p.as_str())
                .collect()
        };
        assert_eq!(may(Role::Member), ["workspace.view", "agents.use"]);
        assert_eq!(
            may(Role::Admin),
            [
                "workspace.view",
                "agents.use",
                "agents.manage",
                "members.manage",
                "workspace.update",
                "settings.manage",
                "audit.view"
            ]
        );
        assert_eq!(may(Role::Owner).len(), Permission::ALL.len());
    }
}
