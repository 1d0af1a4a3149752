//! What the API shows of audit records.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::person::KeyOfPerson;
use crate::app::App;
use crate::context::Actor;
use crate::error::Result;
use crate::ids::{AuditId, UserId};
use crate::personal::{PersonKey, Personal};
use crate::store::keys;
use crate::store::record::{Action, AuditRecord};

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActorType {
    /// A signed-in person.
    User,
    /// A program with an API key.
    ApiKey,
    /// Camarad itself.
    System,
    /// Somebody who had not signed in.
    Anonymous,
}

/// Who acted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActorView {
    /// What kind of actor.
    #[serde(rename = "type")]
    pub kind: ActorType,
    /// The person's or API key's id, or the job's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whose API key it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
}

impl From<&Actor> for ActorView {
    fn from(actor: &Actor) -> Self {
        let (kind, id, user_id) = match actor {
            Actor::User { id, .. } => (ActorType::User, Some(id.to_string()), None),
            Actor::ApiKey { id, user } => (ActorType::ApiKey, Some(id.to_string()), Some(*user)),
            Actor::System { name } => (ActorType::System, Some(name.clone()), None),
            Actor::Anonymous => (ActorType::Anonymous, None, None),
        };
        Self { kind, id, user_id }
    }
}

/// A record of the audit log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// Its id.
    pub id: AuditId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What was done.
    pub action: Action,
    /// By whom.
    pub actor: ActorView,
    /// To what: an id.
    pub resource: String,
    /// What changed.
    #[schema(value_type = Object)]
    pub detail: Value,
    /// From which address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// From which network, where the address itself was not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Whether address and client were destroyed with the person's account.
    pub erased: bool,
    /// In which request.
    pub request_id: String,
}

impl AuditView {
    /// A record with its personal fields, if they could be read.
    pub fn of(record: AuditRecord, personal: Option<Personal>) -> Self {
        let erased = record.personal.is_some() && personal.is_none();
        let (ip, user_agent) = personal.map_or((None, None), |p| (p.ip, p.user_agent));
        Self {
            id: record.id,
            at: record.at,
            action: record.action,
            actor: ActorView::from(&record.actor),
            resource: record.resource,
            detail: record.detail,
            ip,
            user_agent,
            network: record.network,
            erased,
            request_id: record.request_id,
        }
    }
}

/// The keys of the people in some records.
#[derive(Default)]
pub struct Readers(HashMap<UserId, PersonKey>);

impl Readers {
    /// The keys that are still there, in one round trip.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn of<'a>(app: &App, records: impl Iterator<Item = &'a AuditRecord>) -> Result<Self> {
        let sealed = records.filter(|r| r.personal.is_some());
        let people: BTreeSet<UserId> = sealed.filter_map(whose).collect();
        let wanted: Vec<_> = people.iter().map(|user| keys::person_key(*user)).collect();
        let mut found = app.db().batch(&wanted).await?;
        let mut readers = HashMap::new();
        for (user, key) in people.iter().zip(&wanted) {
            if let Some(row) = found.read::<KeyOfPerson>(key)? {
                readers.insert(*user, row.key);
            }
        }
        Ok(Self(readers))
    }

    /// A record's personal fields, if there are any and their key is.
    pub fn open(&self, record: &AuditRecord) -> Option<Personal> {
        let key = self.0.get(&whose(record)?)?;
        key.open(&record.id.to_string(), record.personal.as_ref()?)
    }
}

/// Whose key a record's personal fields are sealed with: of the person who acts; where it is not known who that was, of the
/// person whose log it is.
fn whose(record: &AuditRecord) -> Option<UserId> {
    record.actor.person().or_else(|| record.scope.parse().ok())
}

/// Records as the API shows them.
///
/// # Errors
/// When the table does not answer.
pub async fn views(app: &App, records: Vec<AuditRecord>) -> Result<Vec<AuditView>> {
    let readers = Readers::of(app, records.iter()).await?;
    let open = |record: AuditRecord| {
        let personal = readers.open(&record);
        AuditView::of(record, personal)
    };
    Ok(records.into_iter().map(open).collect())
}
