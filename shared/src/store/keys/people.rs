//! People: profiles, accounts, sessions, API keys, identities.

use jiff::Timestamp;

use super::{Index, Key, List, digest, sortable};
use crate::ids::{ApiKeyId, ExportId, IdentityId, SessionId, UserId, WorkspaceId};

pub(super) fn user_pk(user: UserId) -> String {
    format!("USER#{user}")
}

/// A person's profile.
pub fn user(user: UserId) -> Key {
    Key::raw(user_pk(user), "PROFILE")
}

/// A person's account: plan, subscription state, counters that enforce the plan's limits.
pub fn account(user: UserId) -> Key {
    Key::raw(user_pk(user), "ACCOUNT")
}

/// One session of a person.
pub fn session(user: UserId, session: SessionId) -> Key {
    Key::raw(user_pk(user), format!("SES#{session}"))
}

/// All sessions of a person.
pub fn sessions(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "SES#",
    }
}

/// An API key of a person.
pub fn api_key(user: UserId, key: ApiKeyId) -> Key {
    Key::raw(user_pk(user), format!("KEY#{key}"))
}

/// All API keys of a person.
pub fn api_keys(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "KEY#",
    }
}

/// A person's second factor.
pub fn second_factor(user: UserId) -> Key {
    Key::raw(user_pk(user), "2FA")
}

/// A person's own record of a workspace they are a member of.
pub fn membership(user: UserId, workspace: WorkspaceId) -> Key {
    Key::raw(user_pk(user), format!("WS#{workspace}"))
}

/// All workspaces a person is a member of.
pub fn memberships(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "WS#",
    }
}

/// Holds an e-mail address for one person; `address` in lower case.
pub fn email(address: &str) -> Key {
    Key::raw(format!("EMAIL#{}", digest(address)), "EMAIL")
}

/// Holds a provider's subject for one person.
pub fn identity(provider: &str, subject: &str) -> Key {
    Key::raw(format!("IDENTITY#{provider}#{}", digest(subject)), "IDENTITY")
}

/// A person's own record of a provider's account that they sign in with.
pub fn linked_identity(user: UserId, identity: IdentityId) -> Key {
    Key::raw(user_pk(user), format!("IDN#{identity}"))
}

/// All of a person's, oldest first.
pub fn linked_identities(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "IDN#",
    }
}

/// A mailed link that was not used, by its token. The address is in the token, and in the table nowhere.
pub fn magic_link(token: &str) -> Key {
    Key::raw(format!("LINK#{}", digest(token)), "LINK")
}

/// Everything that is stored with a person. Whatever is personal lies here, so that an export finds it and a deletion
/// removes it, also what is made later than these lines.
pub fn person(user: UserId) -> List {
    List {
        pk: user_pk(user),
        prefix: "",
    }
}

/// An export of what is kept about a person.
pub fn export(user: UserId, export: ExportId) -> Key {
    Key::raw(user_pk(user), format!("EXP#{export}"))
}

/// The deletion of a person's account; not with the person, as it outlives them.
pub fn deletion(user: UserId) -> Key {
    Key::raw(format!("DELETION#{user}"), "DELETION")
}

/// The place of a deletion in the first index, by when it is to be carried on.
pub fn deletion_due(user: UserId, at: Timestamp) -> Index {
    Index {
        pk: DELETIONS.into(),
        sk: format!("{}#{user}", sortable(at)),
    }
}

/// All deletions that are not completed, in the first index; few at a time.
pub const DELETIONS: &str = "DELETIONS";

/// The upper end of the deletions that are due at `at`.
pub fn deletions_until(at: Timestamp) -> String {
    sortable(at)
}

/// Whose deletion is stored at this key.
pub fn person_of_deletion(key: &Key) -> Option<UserId> {
    key.pk().strip_prefix("DELETION#")?.parse().ok()
}

/// A person's onboarding: the last one.
pub fn onboarding(user: UserId) -> Key {
    Key::raw(user_pk(user), "ONBOARDING")
}

/// The place of an onboarding that has not ended in the first index, by when it must have.
pub fn onboarding_due(user: UserId, at: Timestamp) -> Index {
    Index {
        pk: ONBOARDINGS.into(),
        sk: format!("{}#{user}", sortable(at)),
    }
}

/// All onboardings that have not ended, in the first index; few at a time.
pub const ONBOARDINGS: &str = "ONBOARDINGS";

/// The upper end of the onboardings that must have ended by `at`.
pub fn onboardings_until(at: Timestamp) -> String {
    sortable(at)
}

/// Whose onboarding is stored at this key.
pub fn person_of_onboarding(key: &Key) -> Option<UserId> {
    key.pk().strip_prefix("USER#")?.parse().ok()
}

/// A sign-in that was started and not finished, by the state parameter.
pub fn auth_state(state: &str) -> Key {
    Key::raw(format!("STATE#{}", digest(state)), "STATE")
}
