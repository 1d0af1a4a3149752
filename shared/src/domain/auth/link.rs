//! Further ways to sign in: linked by somebody who is signed in, on an address that the provider has verified; listed;
//! and taken away again.
//!
//! The link that is mailed to the account's own address is a way to sign in too, as that address is verified: so every
//! linked identity may go. Where no mail is sent, or none to that address, the last one stays.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::attempt::{InSession, Purpose, Wish};
use super::enter::{ADDRESS_PROVEN, hold_identity, way};
use super::proven::Proven;
use super::sessions::{self, Session};
use super::{magic_link, sign_in};
use crate::app::App;
use crate::config::ProviderConfig;
use crate::context::Context;
use crate::domain::users::User;
use crate::domain::users::identity::{Identity, LinkedIdentity};
use crate::error::{Error, Result};
use crate::ids::{IdentityId, UserId};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Page, PageRequest, keys};

/// The provider's account is somebody else's way to sign in.
const IDENTITY_TAKEN: &str = "identity_taken";

/// A way to sign in, as the person whose it is sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IdentityView {
    /// Its id.
    pub id: IdentityId,
    /// The provider's id.
    pub provider: String,
    /// The address that the provider vouched for when it was linked.
    pub email: String,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub linked_at: Timestamp,
}

impl From<LinkedIdentity> for IdentityView {
    fn from(linked: LinkedIdentity) -> Self {
        Self {
            id: linked.identity.id,
            provider: linked.identity.provider,
            email: linked.email,
            linked_at: linked.identity.linked_at,
        }
    }
}

/// Starts the sign-in at `provider` that links it to the account `to`: the address that this browser goes to.
///
/// # Errors
/// `Upstream` when the provider's metadata cannot be had.
pub async fn begin(
    app: &App,
    cause: &Context,
    provider: &ProviderConfig,
    binding: &str,
    (wish, to): (Wish, InSession),
) -> Result<String> {
    sign_in::start(app, cause, provider, binding, (wish, Purpose::Link(to))).await
}

/// Links what was proven, if the session that asked for it is still live. What is linked to the same account already
/// stays as it is.
pub(super) async fn conclude(app: &App, cause: &Context, to: InSession, proven: &Proven) -> Result<()> {
    let taken = || Error::Conflict {
        code: IDENTITY_TAKEN,
        detail: "this is the way to sign in of another account".into(),
    };
    let email = proven.address.text()?;
    let session = Session::live(app, to, cause.now).await?;
    let cause = cause
        .signed_in(to.user, to.session)
        .with_key(session.person_key.clone());
    let tx = app
        .tx(&cause)
        .check(session.key(), Session::lives(cause.now)?, sessions::ended);
    let done = hold_identity(tx, (app, cause.now), to.user, (proven, email), taken)?
        .audit(
            Action::IdentityLinked,
            Scope::Account(to.user),
            &proven.provider,
            way(proven),
        )?
        .run()
        .await;
    match (done, &proven.subject) {
        (
            Err(Error::Conflict {
                code: IDENTITY_TAKEN,
                detail,
            }),
            Some(subject),
        ) => {
            let holder: Option<Identity> = app.db().get(&keys::identity(&proven.provider, subject)).await?;
            match holder {
                Some(identity) if identity.user_id == to.user => Ok(()),
                _ => Err(Error::Conflict {
                    code: IDENTITY_TAKEN,
                    detail,
                }),
            }
        }
        (done, _) => done,
    }
}

/// All of a person's linked identities.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub(super) async fn linked(app: &App, user: UserId) -> Result<Vec<LinkedIdentity>> {
    app.db().all(&keys::linked_identities(user)).await
}

/// A person's linked identities, oldest first.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn list(app: &App, user: UserId, page: &PageRequest) -> Result<Page<IdentityView>> {
    let linked = app
        .db()
        .list::<LinkedIdentity>(&keys::linked_identities(user), page, false)
        .await?;
    Ok(linked.map(IdentityView::from))
}

/// Takes a way to sign in away. Sessions that began with it go on.
///
/// # Errors
/// `NotFound`; `Conflict` with `last_identity` when nothing would be left to sign in with.
pub async fn unlink(
    app: &App,
    cause: &Context,
    (user, id): (UserId, IdentityId),
    once: Option<&OnceKey>,
) -> Result<Reply<()>> {
    let key = keys::linked_identity(user, id);
    let linked: LinkedIdentity = app.db().get(&key).await?.ok_or(Error::NotFound)?;
    let identity = linked.identity;
    let gone = || Error::NotFound;
    let mut tx = app.tx(cause).delete(key, Some(Cond::item_exists()), gone).delete(
        keys::identity(&identity.provider, &identity.subject),
        Some(Cond::eq("userId", user)?),
        gone,
    );
    let person: User = app.db().get(&keys::user(user)).await?.ok_or(Error::NotFound)?;
    if magic_link::reached(app, &person).is_none() {
        let rest = another(app, user, id).await?;
        tx = tx.check(keys::linked_identity(user, rest), Cond::item_exists(), last);
    }
    tx.audit(
        Action::IdentityUnlinked,
        Scope::Account(user),
        id,
        json!({ "provider": identity.provider }),
    )?
    .once(once)
    .commit(Reply::no_content())
    .await
}

/// Takes away, of somebody whose address was proven anew, the ways to sign in that do not prove it: those of a provider
/// whose word on it does not count, and those that came with another address. Who they belong to is not known.
pub(super) async fn drop_unproven(app: &App, cause: &Context, user: &User) -> Result<()> {
    let proves = |linked: &LinkedIdentity| {
        let mut providers = app.config().providers.iter();
        let provider = providers.find(|p| p.id == linked.identity.provider);
        linked.email == user.email && provider.is_some_and(|p| p.vouches_for(&linked.email))
    };
    for LinkedIdentity { identity, .. } in linked(app, user.id).await?.into_iter().filter(|l| !proves(l)) {
        let gone = || Error::Unavailable("a way to sign in went by itself: try again".into());
        let detail = json!({ "provider": identity.provider, "reason": ADDRESS_PROVEN });
        app.tx(cause)
            .delete(keys::linked_identity(user.id, identity.id), None, gone)
            .delete(
                keys::identity(&identity.provider, &identity.subject),
                Some(Cond::eq("userId", user.id)?),
                gone,
            )
            .audit(
                Action::IdentityUnlinked,
                Scope::Account(user.id),
                identity.id,
                detail,
            )?
            .run()
            .await?;
    }
    Ok(())
}

fn last() -> Error {
    Error::Conflict {
        code: "last_identity",
        detail: "this is the only way to sign in: link another one first".into(),
    }
}

/// Another identity of this person.
async fn another(app: &App, user: UserId, id: IdentityId) -> Result<IdentityId> {
    let all = linked(app, user).await?;
    let rest = all.iter().map(|l| l.identity.id).find(|other| *other != id);
    rest.ok_or_else(last)
}
