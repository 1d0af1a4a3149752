//! From a proven identity to a session: of the person who has it, or of a new one.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::proven::Proven;
use super::refresh::RefreshToken;
use super::sessions::Session;
use super::{api_keys, devices, link};
use crate::app::App;
use crate::config::EMAIL_PROVIDER;
use crate::context::{Actor, Context};
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

/// The code of the refusal to make an account of an address on the word of a provider that is not trusted that far.
pub(super) const NOT_CONFIRMED: &str = "email_not_confirmed";

/// Why sessions, API keys and ways to sign in ended, in audit records.
pub(super) const ADDRESS_PROVEN: &str = "the address was proven by mail for the first time";

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
/// vouches for an address must not thereby open an account that it did not open before; with `email_not_confirmed` when it
/// is nobody's and the provider's word is not enough. `SignIn` when there is no address to make an account of, or what
/// would be spent is spent.
pub(super) async fn enter(
    app: &App,
    cause: &Context,
    (proven, spent): (&Proven, Option<&Spent>),
) -> Result<Entered> {
    let address = proven.address.text();
    let by_email = address.as_ref().ok().map(|email| keys::email(email));
    let by_identity = proven
        .subject
        .as_deref()
        .map(|subject| keys::identity(&proven.provider, subject));
    let wanted: Vec<_> = by_identity.iter().chain(&by_email).cloned().collect();
    for _ in 0..TRIES {
        let mut found = app.db().batch(&wanted).await?;
        let holder = match &by_email {
            Some(key) => found.read::<HeldEmail>(key)?.map(|held| held.user_id),
            None => None,
        };
        let known = match &by_identity {
            Some(key) => found.read::<Identity>(key)?.map(|identity| identity.user_id),
            None => holder,
        };
        let entered = match known {
            Some(user) => login(app, cause, user, (proven, spent)).await,
            None => {
                let email = proven.address.text()?;
                may_be_made(proven, email, holder)?;
                sign_up(app, cause, email, (proven, spent)).await
            }
        };
        match entered {
            Err(Error::Conflict { code: RACED, .. }) => {}
            other => return other,
        }
    }
    Err(Error::Unavailable("sign-ins kept racing".into()))
}

/// Whether an account may be made of this address.
fn may_be_made(proven: &Proven, email: &str, holder: Option<UserId>) -> Result<()> {
    let (code, detail) = if holder.is_some() {
        let other = "this e-mail address belongs to an account with another way to sign in: use that one";
        (ACCOUNT_EXISTS, other)
    } else if !proven.address.proves(email) {
        let confirm = "this provider's word on the address is not enough: sign in with a mailed link, then link the provider";
        (NOT_CONFIRMED, confirm)
    } else {
        return Ok(());
    };
    Err(Error::Conflict {
        code,
        detail: detail.into(),
    })
}

fn raced() -> Error {
    Error::Conflict {
        code: RACED,
        detail: "another sign-in came first".into(),
    }
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
        let tx = spend(app.tx(cause), spent).create(&session)?;
        // A mailed link counts once the second factor was shown.
        let new = proven.subject.is_some()
            && proven.address.proves(&user.email)
            && !user.address_proven_by.contains(&proven.provider);
        let tx = if new {
            let noted = also_proven(Update::of(profile), &user, &proven.provider)?;
            tx.update(noted.when(User::stays()), deleting)
        } else {
            tx.check(profile, User::stays(), deleting)
        };
        tx.run().await?;
        return Ok(Entered {
            user,
            session,
            refresh,
        });
    }
    let cause = cause.signed_in(id, session.id);
    if proven.subject.is_none() {
        oust(app, &cause, &user).await?;
    }
    // Whoever turns a second factor on meanwhile is asked for it, or was deleted: the next try tells.
    let without = User::stays().and(Cond::absent("secondFactor").or(Cond::eq("secondFactor", false)?));
    let seen = Update::of(profile).set("lastLoginAt", cause.now)?.when(without);
    spend(app.tx(&cause), spent)
        .create(&session)?
        .update(now_proven(seen, &user, proven)?, raced)
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

/// Notes that this way to sign in has proven the account's address, if it has.
fn now_proven(update: Update, user: &User, proven: &Proven) -> Result<Update> {
    if !proven.address.proves(&user.email) {
        return Ok(update);
    }
    also_proven(update, user, &proven.provider)
}

/// Notes a way to sign in that has proven the account's address.
pub(super) fn also_proven(update: Update, user: &User, way: &str) -> Result<Update> {
    if user.address_proven_by.contains(way) {
        return Ok(update);
    }
    let mut all = user.address_proven_by.clone();
    all.insert(way.to_owned());
    update.set("addressProvenBy", all)
}

/// Who made an account is only known to the provider that they came with. So when its address is proven by mail for the
/// first time, every session but the one that begins here ends, and every API key and every way to sign in that does not
/// prove the same address: whoever signed up with somebody else's address is out before its owner does anything there.
/// Before the commit that notes it, so that what dies in between is done again.
pub(super) async fn oust(app: &App, cause: &Context, user: &User) -> Result<()> {
    if user.address_proven_by.contains(EMAIL_PROVIDER) {
        return Ok(());
    }
    let keep = match cause.actor {
        Actor::User { session, .. } => Some(session),
        _ => None,
    };
    devices::end_all(app, cause, (user.id, keep), ADDRESS_PROVEN).await?;
    api_keys::end_all(app, cause, user.id, ADDRESS_PROVEN).await?;
    link::drop_unproven(app, cause, user).await
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
    (proven, email): (&Proven, &str),
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
        email: email.to_owned(),
    })
}

async fn sign_up(
    app: &App,
    cause: &Context,
    email: &str,
    (proven, spent): (&Proven, Option<&Spent>),
) -> Result<Entered> {
    let user = person(app, cause, (proven, email));
    let account = Account::of_a_newcomer(user.id, cause.now);
    let held = HeldEmail {
        email: email.to_owned(),
        user_id: user.id,
    };
    let key = KeyOfPerson::fresh(user.id, cause.now);
    let cause = &cause.with_key(Some(key.key.clone()));
    let (session, refresh) = Session::start(user.id, &proven.provider, cause, app.clock())?;
    let cause = cause.signed_in(user.id, session.id);
    let scope = Scope::Account(user.id);
    let tx = spend(app.tx(&cause), spent).create_or(&held, raced)?;
    hold_identity(tx, (app, cause.now), user.id, (proven, email), raced)?
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
fn person(app: &App, cause: &Context, (proven, email): (&Proven, &str)) -> User {
    User {
        id: UserId::new(app.clock()),
        email: email.to_owned(),
        name: proven.about.name_or(email),
        avatar_url: proven.about.avatar_url(),
        locale: proven.about.locale(),
        timezone: proven.about.timezone(),
        second_factor: false,
        address_proven_by: [proven.provider.clone()].into(),
        last_login_at: cause.now,
        onboarding_completed_at: None,
        created_at: cause.now,
        updated_at: cause.now,
        version: 1,
        preferences: Preferences::default(),
        deleting_at: None,
    }
}
