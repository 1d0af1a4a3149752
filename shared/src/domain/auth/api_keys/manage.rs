//! Making, listing and deleting keys.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::sessions::{self, Session};
use super::{ApiKey, ApiKeyToken, KeyScope, Realm};
use crate::app::App;
use crate::context::{Actor, Context};
use crate::domain::name::Name;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{ApiKeyId, UserId, WorkspaceId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Page, PageRequest, Update, keys};

/// How many keys a person may have.
pub const MAX_KEYS: u32 = 25;

/// How many days a key is good for, unless told.
pub const USUAL_DAYS: u16 = 90;

/// How many days a key is good for at most.
pub const MOST_DAYS: u16 = 365;

const LIMIT: &str = "api_key_limit";

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What its owner calls it.
    pub name: Name,
    /// What it may be used for.
    pub scopes: BTreeSet<KeyScope>,
    /// The one workspace that it is good in; `None` is everywhere.
    pub workspace_id: Option<WorkspaceId>,
    /// Days that it is good for.
    pub days: u16,
}

/// A key as its owner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// What its owner calls it.
    pub name: String,
    /// Its prefix and last four characters.
    pub hint: String,
    /// What it may be used for.
    pub scopes: BTreeSet<KeyScope>,
    /// The one workspace that it is good in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was used last, to within five minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            hint: key.hint,
            scopes: key.scopes,
            workspace_id: key.workspace_id,
            created_at: key.created_at,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A key as it is shown once.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedApiKey {
    /// What will be seen of it from now on.
    pub api_key: ApiKeyView,
    /// The key itself, for the Authorization header. It is not shown again.
    pub key: String,
}

/// Makes a key.
///
/// # Errors
/// `Conflict` with `api_key_limit` when there are 25; `NotFound` when the person is no member of the workspace; `Forbidden`
/// for a scope of services, unless the person is an operator.
pub async fn create(
    app: &App,
    cause: &Context,
    user: UserId,
    (once, new): (Option<&OnceKey>, &NewApiKey),
) -> Result<Reply<CreatedApiKey>> {
    if new.scopes.iter().any(|scope| scope.is_of_services()) {
        let owner = app.db().get::<User>(&keys::user(user)).await?;
        if !owner.is_some_and(|u| u.is_staff(app.config())) {
            return Err(Error::Forbidden("scopes of services are for Camarad's operators"));
        }
    }
    match try_create(app, cause, user, (once, new)).await {
        Err(Error::Conflict { code: LIMIT, .. }) if collect(app, user, cause.now).await? > 0 => {
            try_create(app, cause, user, (once, new)).await
        }
        other => other,
    }
}

async fn try_create(
    app: &App,
    cause: &Context,
    user: UserId,
    (once, new): (Option<&OnceKey>, &NewApiKey),
) -> Result<Reply<CreatedApiKey>> {
    let token = ApiKeyToken::new(Realm::of_stage(&app.config().stage), user, app.clock());
    let life = SignedDuration::from_hours(24 * i64::from(new.days));
    let key = ApiKey {
        id: token.id,
        user_id: user,
        name: new.name.clone().into(),
        scopes: new.scopes.clone(),
        workspace_id: new.workspace_id,
        secret_hash: token.hash(),
        hint: token.hint(),
        created_at: cause.now,
        expires_at: cause.now.checked_add(life).map_err(Error::internal)?,
        last_used_at: None,
        person_key: cause.person_key.clone(),
    };
    let detail = json!({"scopes": key.scopes, "workspaceId": key.workspace_id, "expiresAt": key.expires_at});
    let full = || Error::Conflict {
        code: LIMIT,
        detail: format!("an account has at most {MAX_KEYS} API keys: delete one first"),
    };
    let room = Cond::absent("apiKeys").or(Cond::lt("apiKeys", MAX_KEYS)?);
    let one_more = Update::of(keys::account(user))
        .add("apiKeys", 1)?
        .when(Cond::item_exists().and(room));
    let mut tx =
        app.tx(cause)
            .update(one_more, full)
            .create(&key)?
            .check(keys::user(user), User::stays(), || {
                Error::Unauthenticated("the account is being deleted")
            });
    if let Actor::User { session, .. } = cause.actor {
        // Whoever ended this session meant all that comes of it.
        tx = tx.check(
            keys::session(user, session),
            Session::lives(cause.now)?,
            sessions::ended,
        );
    }
    if let Some(workspace) = new.workspace_id {
        tx = tx.check(keys::member(workspace, user), Cond::item_exists(), || {
            Error::NotFound
        });
    }
    let created = CreatedApiKey {
        api_key: key.into(),
        key: token.expose(),
    };
    tx.audit(Action::ApiKeyCreated, Scope::Account(user), token.id, detail)?
        .once(once)
        .commit(Reply::created(&created)?)
        .await
}

fn one_less(user: UserId) -> Result<Update> {
    Ok(Update::of(keys::account(user))
        .add("apiKeys", -1)?
        .when(Cond::ge("apiKeys", 1)?))
}

/// Removes the keys that have expired, which count until then; how many that were.
async fn collect(app: &App, user: UserId, now: Timestamp) -> Result<u32> {
    let cause = Context::system("expired API keys", now);
    let mut collected = 0;
    let all = app
        .db()
        .list::<ApiKey>(&keys::api_keys(user), &PageRequest::of(MAX_KEYS), false)
        .await?;
    for key in all.items.into_iter().filter(|key| key.expires_at <= now) {
        let gone = || Error::NotFound;
        let tx = app.tx(&cause).delete(key.key(), Some(Cond::item_exists()), gone);
        match tx.update(one_less(user)?, gone).run().await {
            Ok(()) => collected += 1,
            // Somebody else collected it.
            Err(Error::NotFound) => collected += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(collected)
}

/// The person's keys, oldest first; expired ones too, until they are deleted.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn list(app: &App, user: UserId, page: &PageRequest) -> Result<Page<ApiKeyView>> {
    let keys = app
        .db()
        .list::<ApiKey>(&keys::api_keys(user), page, false)
        .await?;
    Ok(keys.map(ApiKeyView::from))
}

/// Deletes a key: it opens nothing from now on.
///
/// # Errors
/// `NotFound`.
pub async fn delete(
    app: &App,
    cause: &Context,
    user: UserId,
    (once, id): (Option<&OnceKey>, ApiKeyId),
) -> Result<Reply<()>> {
    let key = keys::api_key(user, id);
    let known: ApiKey = app.db().get(&key).await?.ok_or(Error::NotFound)?;
    let detail = json!({ "hint": known.hint });
    app.tx(cause)
        .delete(key, Some(Cond::item_exists()), || Error::NotFound)
        .update(one_less(user)?, || Error::NotFound)
        .audit(Action::ApiKeyRevoked, Scope::Account(user), id, detail)?
        .once(once)
        .commit(Reply::no_content())
        .await
}

/// Deletes every key of a person.
///
/// # Errors
/// `Unavailable` when the table does not answer, or a key was made or deleted in between.
pub(in crate::domain::auth) async fn end_all(
    app: &App,
    cause: &Context,
    user: UserId,
    reason: &str,
) -> Result<()> {
    let page = PageRequest::of(MAX_KEYS);
    let all = app
        .db()
        .list::<ApiKey>(&keys::api_keys(user), &page, false)
        .await?;
    let changed = || Error::Unavailable("API keys came or went meanwhile: try again".into());
    if all.items.is_empty() {
        return Ok(());
    }
    let none = Update::of(keys::account(user))
        .set("apiKeys", 0)?
        .when(Cond::item_exists());
    let mut tx = app.tx(cause).update(none, changed);
    for key in all.items {
        tx = tx.delete(key.key(), Some(Cond::item_exists()), changed).audit(
            Action::ApiKeyRevoked,
            Scope::Account(user),
            key.id,
            json!({ "reason": reason }),
        )?;
    }
    tx.run().await
}
