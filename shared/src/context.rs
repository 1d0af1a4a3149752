//! Who does something, from where, in which request and when: what audit records and events say of their cause.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{ApiKeyId, SessionId, UserId};
use crate::personal::PersonKey;

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "type")]
pub enum Actor {
    /// A signed-in person.
    User {
        /// The person.
        id: UserId,
        /// The session they use.
        session: SessionId,
    },
    /// A program, with a key that a person made for it.
    ApiKey {
        /// The key.
        id: ApiKeyId,
        /// The person, whose rights it has.
        user: UserId,
    },
    /// Camarad itself.
    System {
        /// The job or consumer.
        name: String,
    },
    /// Somebody who has not signed in yet.
    Anonymous,
}

impl Actor {
    /// The person who acts, or in whose name a program does.
    pub fn person(&self) -> Option<UserId> {
        match self {
            Self::User { id: user, .. } | Self::ApiKey { user, .. } => Some(*user),
            Self::System { .. } | Self::Anonymous => None,
        }
    }
}

/// The cause of a change.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who acts.
    pub actor: Actor,
    /// The client's address as API Gateway saw it; never from a header that a client can write.
    pub ip: Option<String>,
    /// The User-Agent header, cut to 256 characters.
    pub user_agent: Option<String>,
    /// What seals address and client in audit records, where a person's session or key was read.
    pub person_key: Option<PersonKey>,
    /// Days that audit records of the request's workspace are kept, where it was read.
    pub audit_days: Option<u16>,
    /// The request's id, for correlation.
    pub request_id: String,
    /// The moment of the request; everything in it happens at this time.
    pub now: Timestamp,
}

impl Context {
    /// A job or consumer of ours.
    pub fn system(name: &str, now: Timestamp) -> Self {
        Self {
            actor: Actor::System { name: name.into() },
            ip: None,
            user_agent: None,
            person_key: None,
            audit_days: None,
            request_id: name.into(),
            now,
        }
    }

    /// The same request, now known to be this person's.
    pub fn signed_in(&self, user: UserId, session: SessionId) -> Self {
        Self {
            actor: Actor::User { id: user, session },
            ..self.clone()
        }
    }

    /// The same request, now known to come with this key of theirs.
    pub fn with_api_key(&self, user: UserId, key: ApiKeyId) -> Self {
        Self {
            actor: Actor::ApiKey { id: key, user },
            ..self.clone()
        }
    }

    /// The same request, with the key of the person who acts.
    pub fn with_key(&self, key: Option<PersonKey>) -> Self {
        Self {
            person_key: key,
            ..self.clone()
        }
    }
}
