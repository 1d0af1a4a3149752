//! Typed, prefixed ids: `usr_…`, `ws_…`, `agt_…`. The body of an id is a UUIDv7 (RFC 9562) in Crockford's
//! base32, lower case, 26 characters, so that ids sort by the time they were made, as text too. A child's id
//! carries its parent where that saves a read: an agent's id names its workspace.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use uuid::Uuid;

use crate::clock::Clock;
use crate::random;

const LEN: usize = 26;

static BASE32: LazyLock<Option<Encoding>> = LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    spec.encoding().ok()
});

/// Bytes as ids write them.
pub(crate) fn base32(bytes: &[u8]) -> String {
    BASE32.as_ref().map(|b| b.encode(bytes)).unwrap_or_default()
}

/// The bytes that `base32` wrote so, and no other text for them.
pub(crate) fn from_base32(text: &str) -> Option<Vec<u8>> {
    BASE32.as_ref()?.decode(text.as_bytes()).ok()
}

fn encode(id: &Uuid) -> String {
    base32(id.as_bytes())
}

fn decode(text: &str) -> Option<Uuid> {
    if text.len() != LEN {
        return None;
    }
    Uuid::from_slice(&from_base32(text)?).ok()
}

/// A fresh UUIDv7: 48 bits of the clock's milliseconds, then 74 random bits.
fn fresh(clock: &dyn Clock) -> Uuid {
    let millis = u64::try_from(clock.now().as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random::bytes()).into_uuid()
}

/// The text is not an id of the wanted kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0} id")]
pub struct InvalidId(pub &'static str);

fn schema(prefix: &str, bodies: usize) -> RefOr<Schema> {
    let body = "0".repeat(LEN * bodies);
    ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::String))
        .pattern(Some(format!("^{prefix}[0-9a-hjkmnp-tv-z]{{{}}}$", LEN * bodies)))
        .examples([serde_json::Value::String(format!("{prefix}{body}"))])
        .build()
        .into()
}

macro_rules! text_form {
    ($name:ident, $prefix:literal, $bodies:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl utoipa::PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                schema($prefix, $bodies)
            }
        }
        impl utoipa::ToSchema for $name {}
        impl $name {
            /// The prefix that every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;
        }
    };
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, ordered by the clock.
            pub fn new(clock: &dyn Clock) -> Self {
                Self(fresh(clock))
            }

            /// The 26 characters after the prefix.
            pub fn body(&self) -> String {
                encode(&self.0)
            }

            /// The id whose UUID is these 16 bytes; for ids that are derived from something.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the UUID.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}{}", $prefix, encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix).and_then(decode).map(Self).ok_or(InvalidId(stringify!($name)))
            }
        }

        text_form!($name, $prefix, 1);
    };
}

id!(
    /// A person who signs in; also the id of that person's account (plan, limits, ledger).
    UserId, "usr_"
);
id!(
    /// One sign-in on one device, and the family of its refresh tokens.
    SessionId, "ses_"
);
id!(
    /// An API key of a person.
    ApiKeyId, "key_"
);
id!(
    /// An account at an identity provider, as one way of a person to sign in.
    IdentityId, "idn_"
);
id!(
    /// A workspace.
    WorkspaceId, "ws_"
);
id!(
    /// A conversation of one user with one agent.
    ConversationId, "cnv_"
);
id!(
    /// One AI call: its hold, bill, receipt and usage event share this id.
    CallId, "call_"
);
id!(
    /// A domain event; consumers deduplicate by it.
    EventId, "evt_"
);
id!(
    /// An audit record.
    AuditId, "aud_"
);
id!(
    /// An operator's or a job's movement on a ledger.
    OperationId, "op_"
);
id!(
    /// An export of what is kept about a person.
    ExportId, "exp_"
);
id!(
    /// A notice to a person.
    NotificationId, "ntf_"
);
id!(
    /// One run of a person's onboarding; also the name of its execution in Step Functions.
    ExecutionId, "onb_"
);

/// An agent. Its id names its workspace, so that membership can be checked without reading the agent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId {
    workspace: WorkspaceId,
    own: Uuid,
}

impl AgentId {
    /// A fresh agent id inside `workspace`.
    pub fn new(workspace: WorkspaceId, clock: &dyn Clock) -> Self {
        Self {
            workspace,
            own: fresh(clock),
        }
    }

    /// The workspace that the agent belongs to, for good.
    pub fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// The agent's own 26 characters, unique by themselves.
    pub fn own(&self) -> String {
        encode(&self.own)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agt_{}{}", self.workspace.body(), encode(&self.own))
    }
}

impl FromStr for AgentId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId("AgentId");
        let body = text.strip_prefix("agt_").ok_or(invalid)?;
        let (workspace, own) = body.split_at_checked(LEN).ok_or(invalid)?;
        Ok(Self {
            workspace: WorkspaceId(decode(workspace).ok_or(invalid)?),
            own: decode(own).ok_or(invalid)?,
        })
    }
}

text_form!(AgentId, "agt_", 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn an_id_survives_its_text_form() {
        let clock = ManualClock::at_unix(1_700_000_000);
        let agent = AgentId::new(WorkspaceId::new(&clock), &clock);
        assert_eq!(agent.to_string().parse::<AgentId>(), Ok(agent));
        assert_eq!(agent.to_string().len(), 4 + 52);
    }

    #[test]
    fn later_ids_sort_after_earlier_ones_as_text() {
        let clock = ManualClock::at_unix(1_700_000_000);
        let earlier = UserId::new(&clock).to_string();
        clock.advance(jiff::SignedDuration::from_millis(1));
        assert!(earlier < UserId::new(&clock).to_string());
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        let long = format!("usr_{}", "0".repeat(27));
        for text in [
            "",
            "usr_",
            "ws_00000000000000000000000000",
            "usr_0000000000000000000000000u",
            &long,
            "usr_ü0000000000000000000000000",
        ] {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }
}
