//! From a proven identity to a session: of the person who has it, or of a new one.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::proven::Proven;
use super::refresh::RefreshToken;
use super::sessions::Session;
use crate::app::App;
use crate::context::Context;
use crate::domain::audit::chain::Chain;
use crate::domain::audit::person::{KeyOfPerson, key_of};
use crate::domain::users::identity::{HeldEmail, Identity, LinkedIdentity};
use crate::domain::users::preferences::Preferences;
use crate::domain::users::{Account, User};
use crate::error::{Error, Result, SignInRefusal};
use crate::ids::{IdentityId, UserId};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Key, Tx, Update, keys};

/// The code of the refusal to sign in by another way than the one that the address came with.
pub(super) const ACCOUNT_EXISTS: &str = "account_exists";

/// Another first sign-in with the same identity or address came first.
const RACED: &str = "sign_up_raced";

/// How often a first sign-in looks again after it lost a race; once is enough, unless the winner fails too.
const TRIES: usize = 3;

/// Somebody who is in.
pub(super) struct Entered {
    pub(super) user: User,
    pub(super) session: Session,
    pub(super) refresh: RefreshToken,
}

/// What a sign-in uses up, in its own commit: so it signs in once, and is not lost when the commit fails.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    pub(super) key: Key,
    pub(super) cond: Cond,
}

pub(super) fn spend<'a>(tx: Tx<'a>, spent: Option<&Spent>) -> Tx<'a> {
    match spent {
        None => tx,
        Some(spent) => tx.delete(spent.key.clone(), Some(spent.cond.clone()), || {
            Error::SignIn(SignInRefusal::Failed)
        }),
    }
}

/// Signs in the person whom this identity belongs to, or makes them: with an account that can be read, until Stripe has a
/// subscription for it. Where the address itself is the proof, it is the identity.
///
/// # Errors
/// `Conflict` with `account_exists` when the address belongs to somebody with another identity: a provider that
/// vouches for an address must not thereby open an account that it did not open before. `SignIn` when what would be
/// spent is spent.
pub(super) async fn enter(
    app: &App,
    cause: &Context,
    (proven, spent): (&Proven, Option<&Spent>),
) -> Result<Entered> {
    let by_email = keys::email(&proven.email);
    let by_identity = proven
        .subject
        .as_deref()
        .map(|subject| keys::identity(&proven.provider, subject));
    let wanted: Vec<_> = by_identity.iter().chain([&by_email]).cloned().collect();
    for _ in 0..TRIES {
        let mut found = app.db().batch(&wanted).await?;
        let holder = found.read::<HeldEmail>(&by_email)?.map(|held| held.user_id);
        let known = match &by_identity {
            Some(key) => found.read::<Identity>(key)?.map(|identity| identity.user_id),
            None => holder,
        };
        if let Some(user) = known {
            return login(app, cause, user, (proven, spent)).await;
        }
        if holder.is_some() {
            let detail =
                "this e-mail address belongs to an account with another way to sign in: use that one";
            return Err(Error::Conflict {
                code: ACCOUNT_EXISTS,
                detail: detail.into(),
            });
        }
        match sign_up(app, cause, (proven, spent)).await {
            Err(Error::Conflict { code: RACED, .. }) => {}
            other => return other,
        }
    }
    Err(Error::Unavailable("first sign-ins kept racing".into()))
}

async fn login(
    app: &App,
    cause: &Context,
    id: UserId,
    (proven, spent): (&Proven, Option<&Spent>),
) -> Result<Entered> {
    let profile = keys::user(id);
    let (user, key) = tokio::try_join!(app.db().get(&profile), key_of(app, id, cause.now))?;
    let user: Option<User> = user;
    let user = user.filter(User::is_staying).ok_or_else(deleting)?;
    let cause = &cause.with_key(Some(key));
    let (session, refresh) = Session::start(id, &proven.provider, cause, app.clock())?;
    if user.second_factor {
        // Not signed in yet: `second_factor::finish` says when, in the log too.
        let session = session.waiting(cause.now)?;
        spend(app.tx(cause), spent)
            .create(&session)?
            .check(keys::user(id), User::stays(), deleting)
            .run()
            .await?;
        return Ok(Entered {
            user,
            session,
            refresh,
        });
    }
    let cause = cause.signed_in(id, session.id);
    let seen = Update::of(keys::user(id))
        .set("lastLoginAt", cause.now)?
        .when(User::stays());
    spend(app.tx(&cause), spent)
        .create(&session)?
        .update(seen, deleting)
        .audit(Action::UserLogin, Scope::Account(id), session.id, way(proven))?
        .run()
        .await?;
    Ok(Entered {
        user: User {
            last_login_at: cause.now,
            ..user
        },
        session,
        refresh,
    })
}

/// The account is on its way out; once it is gone, signing in makes a new one.
fn deleting() -> Error {
    Error::Conflict {
        code: "account_deleting",
        detail: "this account is being deleted: sign in again in a few minutes to start anew".into(),
    }
}

/// How somebody came in, for audit records.
pub(super) fn way(proven: &Proven) -> Value {
    json!({ "provider": proven.provider, "method": proven.method })
}

/// Stages a provider's account as a way of `user` to sign in, on both sides.
///
/// # Errors
/// `on_taken` when it is somebody's already.
pub(super) fn hold_identity<'a>(
    tx: Tx<'a>,
    (app, now): (&App, Timestamp),
    user: UserId,
    proven: &Proven,
    on_taken: impl Fn() -> Error + Send + Sync + 'static,
) -> Result<Tx<'a>> {
    let Some(subject) = &proven.subject else {
        return Ok(tx);
    };
    let identity = Identity {
        id: IdentityId::new(app.clock()),
        provider: proven.provider.clone(),
        subject: subject.clone(),
        user_id: user,
        linked_at: now,
    };
    tx.create_or(&identity, on_taken)?.create(&LinkedIdentity {
        identity,
        email: proven.email.clone(),
    })
}

async fn sign_up(app: &App, cause: &Context, (proven, spent): (&Proven, Option<&Spent>)) -> Result<Entered> {
    let raced = || Error::Conflict {
        code: RACED,
        detail: "another sign-in came first".into(),
    };
    let user = person(app, cause, proven);
    let account = Account::of_a_newcomer(user.id, cause.now);
    let held = HeldEmail {
        email: proven.email.clone(),
        user_id: user.id,
    };
    let key = KeyOfPerson::fresh(user.id, cause.now);
    let cause = &cause.with_key(Some(key.key.clone()));
    let (session, refresh) = Session::start(user.id, &proven.provider, cause, app.clock())?;
    let cause = cause.signed_in(user.id, session.id);
    let scope = Scope::Account(user.id);
    let tx = spend(app.tx(&cause), spent).create_or(&held, raced)?;
    hold_identity(tx, (app, cause.now), user.id, proven, raced)?
        .create(&user)?
        .create(&account)?
        .create(&key)?
        .create(&Chain::new(&scope.name()))?
        .create(&session)?
        .audit(Action::UserCreated, scope, user.id, way(proven))?
        .audit(Action::UserLogin, scope, session.id, way(proven))?
        .run()
        .await?;
    Ok(Entered {
        user,
        session,
        refresh,
    })
}

/// A new person, as far as the provider describes them well.
fn person(app: &App, cause: &Context, proven: &Proven) -> User {
    User {
        id: UserId::new(app.clock()),
        email: proven.email.clone(),
        name: proven.about.name_or(&proven.email),
        avatar_url: proven.about.avatar_url(),
        locale: proven.about.locale(),
        timezone: proven.about.timezone(),
        second_factor: false,
        last_login_at: cause.now,
        onboarding_completed_at: None,
        created_at: cause.now,
        updated_at: cause.now,
        version: 1,
        preferences: Preferences::default(),
        deleting_at: None,
    }
}
