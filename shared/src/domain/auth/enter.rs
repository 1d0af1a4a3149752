//! From a proven identity to a session: of the person who has it, or of a new one.

use jiff::SignedDuration;
use serde_json::json;

use super::id_token;
use super::refresh::RefreshToken;
use super::sessions::Session;
use crate::app::App;
use crate::context::Context;
use crate::domain::ledger::{self, TRIAL_STARTED, TrialStarted};
use crate::domain::name::Name;
use crate::domain::plans::{Plan, TRIAL_DAYS};
use crate::domain::users::fields::{AvatarUrl, Locale, Timezone};
use crate::domain::users::identity::{HeldEmail, Identity};
use crate::domain::users::{Account, SubscriptionStatus, User};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Update, keys};

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

/// Signs in the person whom this identity belongs to, or makes them on the trial of `plan`.
///
/// # Errors
/// `Conflict` with `account_exists` when the address belongs to somebody with another identity: a provider that
/// vouches for an address must not thereby open an account that it did not open before.
pub(super) async fn enter(
    app: &App,
    cause: &Context,
    provider: &str,
    plan: Plan,
    (identity, email): (&id_token::Identity, &str),
) -> Result<Entered> {
    let (by_identity, by_email) = (keys::identity(provider, &identity.sub), keys::email(email));
    for _ in 0..TRIES {
        let mut found = app.db().batch(&[by_identity.clone(), by_email.clone()]).await?;
        if let Some(known) = found.read::<Identity>(&by_identity)? {
            return login(app, cause, provider, known.user_id).await;
        }
        if found.read::<HeldEmail>(&by_email)?.is_some() {
            let detail =
                "this e-mail address belongs to an account with another way to sign in: use that one";
            return Err(Error::Conflict {
                code: ACCOUNT_EXISTS,
                detail: detail.into(),
            });
        }
        match sign_up(app, cause, provider, plan, (identity, email)).await {
            Err(Error::Conflict { code: RACED, .. }) => {}
            other => return other,
        }
    }
    Err(Error::Unavailable("first sign-ins kept racing".into()))
}

async fn login(app: &App, cause: &Context, provider: &str, id: UserId) -> Result<Entered> {
    let user: User = app
        .db()
        .get(&keys::user(id))
        .await?
        .ok_or_else(|| Error::internal("an identity of nobody"))?;
    let (session, refresh) = Session::start(id, provider, cause, app.clock())?;
    let cause = cause.signed_in(id, session.id);
    let seen = Update::of(keys::user(id))
        .set("lastLoginAt", cause.now)?
        .when(Cond::item_exists());
    app.tx(&cause)
        .create(&session)?
        .update(seen, || Error::NotFound)
        .audit(
            Action::UserLogin,
            Scope::Account(id),
            session.id,
            json!({ "provider": provider }),
        )?
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

async fn sign_up(
    app: &App,
    cause: &Context,
    provider: &str,
    plan: Plan,
    (identity, email): (&id_token::Identity, &str),
) -> Result<Entered> {
    let raced = || Error::Conflict {
        code: RACED,
        detail: "another sign-in came first".into(),
    };
    let user = person(app, cause, identity, email);
    let account = trial(&user, plan)?;
    let held = HeldEmail {
        email: email.to_owned(),
        user_id: user.id,
    };
    let identity = Identity {
        provider: provider.to_owned(),
        subject: identity.sub.clone(),
        user_id: user.id,
        linked_at: cause.now,
    };
    let (session, refresh) = Session::start(user.id, provider, cause, app.clock())?;
    let cause = cause.signed_in(user.id, session.id);
    let scope = Scope::Account(user.id);
    let started = TrialStarted {
        user_id: user.id,
        plan,
    };
    app.tx(&cause)
        .create_or(&identity, raced)?
        .create_or(&held, raced)?
        .create(&user)?
        .create(&account)?
        .create(&session)?
        .audit(
            Action::UserCreated,
            scope,
            user.id,
            json!({ "provider": provider }),
        )?
        .audit(
            Action::SubscriptionCreated,
            scope,
            user.id,
            json!({ "plan": plan, "trialEndsAt": account.trial_ends_at }),
        )?
        .audit(
            Action::UserLogin,
            scope,
            session.id,
            json!({ "provider": provider }),
        )?
        .event(TRIAL_STARTED, started)?
        .run()
        .await?;
    // The event repeats this, so that a trial whose cbT come a moment later is no failed sign-in.
    if let Err(error) = ledger::grant_trial(app, &account).await {
        tracing::warn!(request.id = cause.request_id, error = %error, "the trial's cbT come later");
    }
    Ok(Entered {
        user,
        session,
        refresh,
    })
}

/// A new person, as far as the provider describes them well.
fn person(app: &App, cause: &Context, identity: &id_token::Identity, email: &str) -> User {
    let local = email.split('@').next().unwrap_or(email);
    let name = identity.name.as_deref().and_then(Name::parse).map(String::from);
    let locale = identity
        .locale
        .as_deref()
        .and_then(Locale::parse)
        .map(String::from);
    let timezone = identity
        .zoneinfo
        .as_deref()
        .and_then(Timezone::parse)
        .map(String::from);
    User {
        id: UserId::new(app.clock()),
        email: email.to_owned(),
        name: name.unwrap_or_else(|| local.chars().take(100).collect()),
        avatar_url: identity
            .picture
            .as_deref()
            .and_then(AvatarUrl::parse)
            .map(String::from),
        locale: locale.unwrap_or_else(|| "en".into()),
        timezone: timezone.unwrap_or_else(|| "UTC".into()),
        last_login_at: cause.now,
        onboarding_completed_at: None,
        created_at: cause.now,
        updated_at: cause.now,
        version: 1,
    }
}

fn trial(user: &User, plan: Plan) -> Result<Account> {
    let life = SignedDuration::from_hours(24 * TRIAL_DAYS);
    Ok(Account {
        user_id: user.id,
        plan,
        status: SubscriptionStatus::Trialing,
        trial_ends_at: user.created_at.checked_add(life).map_err(Error::internal)?,
        workspaces: 0,
        agents: 0,
        created_at: user.created_at,
    })
}
