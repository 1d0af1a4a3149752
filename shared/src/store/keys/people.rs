//! People: profiles, accounts, sessions, API keys, identities.

use super::{Key, List, digest};
use crate::ids::{ApiKeyId, IdentityId, SessionId, UserId, WorkspaceId};

fn user_pk(user: UserId) -> String {
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

/// A sign-in that was started and not finished, by the state parameter.
pub fn auth_state(state: &str) -> Key {
    Key::raw(format!("STATE#{}", digest(state)), "STATE")
}
