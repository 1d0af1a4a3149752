//! Proving once more who one is, in a session that lives on: it is fresh again, under the same refresh token.
//!
//! Whoever has a second factor shows it, and nothing less will do. Whoever has none is asked again by an OpenID provider
//! that is linked to the account and can say when it asked, or confirms a link that is mailed to the account's address.
//! Both are bound to the session that asked, to the browser that asked, and to the account: an answer of somebody else's
//! identity changes nothing. GitHub can neither ask again nor say when it did, so it is no way to step up.

use serde_json::json;

use super::attempt::{InSession, Purpose, Wish};
use super::enter::{Spent, spend};
use super::link::linked;
use super::magic_link;
use super::proven::Proven;
use super::second_factor::{self, Answer, Door};
use super::sessions::{self, Session};
use super::sign_in::{self, Failure};
use crate::app::App;
use crate::config::{EMAIL_PROVIDER, ProviderConfig, ProviderKind};
use crate::context::Context;
use crate::domain::users::User;
use crate::domain::users::identity::Identity;
use crate::error::{Error, Result};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Entity, Update, keys};

/// The code of the refusal of somebody else's proof.
const IDENTITY_MISMATCH: &str = "identity_mismatch";

/// Who asks to prove once more who they are.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The person.
    pub user: User,
    /// The session, which lives.
    pub session: Session,
}

impl Asker {
    fn own(&self) -> InSession {
        InSession {
            user: self.user.id,
            session: self.session.id,
        }
    }
}

/// A way to prove it without a second factor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The provider's id, or `email`.
    pub id: String,
    /// What to call it.
    pub name: String,
}

/// Who asks.
///
/// # Errors
/// `Unauthenticated` when the session has ended.
pub async fn asker(app: &App, cause: &Context, own: InSession) -> Result<Asker> {
    let (session, profile) = (keys::session(own.user, own.session), keys::user(own.user));
    let mut read = app.db().batch(&[session.clone(), profile.clone()]).await?;
    let session = read.read::<Session>(&session)?.filter(|s| s.is_live(cause.now));
    let user = read.read::<User>(&profile)?.filter(User::is_staying);
    match (user, session) {
        (Some(user), Some(session)) => Ok(Asker { user, session }),
        _ => Err(sessions::ended()),
    }
}

/// With the second factor.
///
/// # Errors
/// `Invalid` for a wrong answer, and when there is no second factor; `RateLimited`; `Unauthenticated` when the session
/// has ended.
pub async fn by_factor(app: &App, cause: &Context, asker: &Asker, answer: &Answer) -> Result<Session> {
    let user = asker.user.id;
    let right = match second_factor::check(app, cause, (user, Door::Session), answer).await {
        Err(Error::NotFound) => {
            return Err(Error::field(
                answer.field(),
                "is no use: there is no second factor",
            ));
        }
        other => other?,
    };
    let detail = json!({ "stepUp": true, "secondFactor": right.method() });
    let wrong = answer.clone();
    app.tx(cause)
        .update(fresh(asker.own(), cause)?, sessions::ended)
        .update(right.spend(user, Door::Session)?, move || wrong.wrong())
        .audit(Action::UserLogin, Scope::Account(user), asker.session.id, detail)?
        .run()
        .await?;
    Ok(as_of_now(&asker.session, cause))
}

fn fresh(own: InSession, cause: &Context) -> Result<Update> {
    Ok(Update::of(keys::session(own.user, own.session))
        .set("authenticatedAt", cause.now)?
        .when(Session::lives(cause.now)?))
}

fn as_of_now(session: &Session, cause: &Context) -> Session {
    Session {
        authenticated_at: cause.now,
        ..session.clone()
    }
}

/// The ways of somebody without a second factor. A provider that does not answer now is none.
///
/// # Errors
/// When the table does not answer.
pub async fn ways(app: &App, cause: &Context, asker: &Asker) -> Result<Vec<Way>> {
    let linked = linked(app, asker.user.id).await?;
    let mut ways = Vec::new();
    for provider in &app.config().providers {
        let is_theirs = linked.iter().any(|l| l.identity.provider == provider.id);
        if is_theirs && asks_again(app, cause, provider).await.unwrap_or(false) {
            ways.push(Way {
                id: provider.id.clone(),
                name: provider.name.clone(),
            });
        }
    }
    if magic_link::reached(app, &asker.user).is_some() {
        ways.push(Way {
            id: EMAIL_PROVIDER.into(),
            name: "E-mail".into(),
        });
    }
    Ok(ways)
}

/// Whether a provider can be told to ask the person again, and says when it did.
async fn asks_again(app: &App, cause: &Context, provider: &ProviderConfig) -> Result<bool> {
    match provider.kind {
        ProviderKind::Oidc => {
            let metadata = app.oidc()?.metadata(provider, cause.now).await?;
            Ok(metadata.tells_auth_time())
        }
        ProviderKind::Github => Ok(false),
    }
}

/// Starts the sign-in at a linked provider that makes the session fresh: the address that this browser goes to.
///
/// # Errors
/// `Invalid` when the provider is no way of this person to step up; `Upstream` when it does not answer.
pub async fn at_provider(
    app: &App,
    cause: &Context,
    asker: &Asker,
    (id, binding, wish): (&str, &str, Wish),
) -> Result<String> {
    let none = || Error::field("with", "is no way of yours to prove who you are");
    let provider = sign_in::provider(app.config(), id).map_err(|_| none())?;
    let linked = linked(app, asker.user.id).await?;
    if !linked.iter().any(|l| l.identity.provider == id) || !asks_again(app, cause, provider).await? {
        return Err(none());
    }
    let purpose = Purpose::StepUp(asker.own());
    sign_in::start(app, cause, provider, binding, (wish, purpose)).await
}

/// Mails the link that makes the session fresh to the account's address. It works in the browser that has `binding` as a
/// cookie, and in no other.
///
/// # Errors
/// `Invalid` where no mail is sent; `Unavailable` when table or queue does not answer.
pub async fn by_mail(app: &App, cause: &Context, asker: &Asker, (binding, wish): (&str, Wish)) -> Result<()> {
    magic_link::ask_again(app, cause, (&asker.user, asker.own()), (binding, wish)).await
}

/// Makes the session fresh that asked, if what was proven is a way of its own account.
///
/// # Errors
/// `Conflict` with `identity_mismatch` when it is somebody else's; `Unauthenticated` when the session has ended or wants
/// a second factor by now; `SignIn` when what would be spent is spent.
pub(super) async fn conclude(
    app: &App,
    cause: &Context,
    own: InSession,
    (proven, spent): (&Proven, Option<&Spent>),
) -> Result<Session> {
    let Asker { user, session } = asker(app, cause, own).await?;
    let cause = &cause
        .signed_in(own.user, own.session)
        .with_key(session.person_key.clone());
    let subject = proven.subject.as_ref();
    let identity = subject.map(|subject| keys::identity(&proven.provider, subject));
    let is_theirs = match &identity {
        None => proven.address.proves(&user.email),
        Some(key) => {
            let held: Option<Identity> = app.db().get(key).await?;
            held.is_some_and(|held| held.user_id == own.user)
        }
    };
    if !is_theirs {
        Failure::of(proven, Some(own))
            .record(app, cause, IDENTITY_MISMATCH)
            .await;
        return Err(mismatch());
    }
    let alone = User::stays().and(Cond::absent("secondFactor").or(Cond::eq("secondFactor", false)?));
    let mut tx = spend(app.tx(cause), spent)
        .update(fresh(own, cause)?, sessions::ended)
        .check(user.key(), alone, || {
            Error::Unauthenticated("this needs the second factor: ask again")
        });
    if let Some(key) = identity {
        tx = tx.check(key, Cond::eq("userId", own.user)?, mismatch);
    }
    let detail = json!({ "stepUp": true, "provider": proven.provider, "method": proven.method });
    tx.audit(Action::UserLogin, Scope::Account(own.user), own.session, detail)?
        .run()
        .await?;
    Ok(as_of_now(&session, cause))
}

fn mismatch() -> Error {
    Error::Conflict {
        code: IDENTITY_MISMATCH,
        detail: "this is no way to sign in of the account that asked".into(),
    }
}
