//! What holds an e-mail address and a provider's account for one person: items of their own, written in the same
//! transaction as the person.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{IdentityId, UserId};
use crate::store::Entity;
use crate::store::keys::{self, Key};

/// Holds an e-mail address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldEmail {
    /// Lower case.
    pub email: String,
    /// For whom.
    pub user_id: UserId,
}

impl Entity for HeldEmail {
    const KIND: &'static str = "email";
    fn key(&self) -> Key {
        keys::email(&self.email)
    }
}

/// Holds an account at an identity provider: one way of a person to sign in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its id.
    pub id: IdentityId,
    /// The provider's id in our configuration.
    pub provider: String,
    /// Who, at that provider, for good.
    pub subject: String,
    /// For whom.
    pub user_id: UserId,
    /// Since when.
    pub linked_at: Timestamp,
}

impl Entity for Identity {
    const KIND: &'static str = "identity";
    fn key(&self) -> Key {
        keys::identity(&self.provider, &self.subject)
    }
}

/// The same beside the person, for their list. Written and deleted together with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkedIdentity {
    /// Which account at which provider.
    #[serde(flatten)]
    pub identity: Identity,
    /// The address that the provider vouched for, by which the person recognizes it.
    pub email: String,
}

impl Entity for LinkedIdentity {
    const KIND: &'static str = "linked-identity";
    fn key(&self) -> Key {
        keys::linked_identity(self.identity.user_id, self.identity.id)
    }
}
