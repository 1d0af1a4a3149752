//! The second factor: passwords by time, and recovery codes for who has lost the app.
//!
//! A person with one who proves who they are gets a session that waits: its token opens nothing but `finish`, for ten
//! minutes. Every guess is counted before it is looked at, by a conditional write, so that parallel guesses count one
//! by one and a table that does not answer lets none through.

mod settings;
mod totp;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use settings::{RecoveryCodes, Setup, Status, activate, renew_codes, set_up, status, turn_off};
pub use totp::{Code, shown};

use super::refresh::RefreshToken;
use super::sessions::Session;
use crate::app::App;
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::random;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Entity, Outcome, Update};

/// How long a person has for their second factor.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Guesses in a window.
const GUESSES: u32 = 5;

/// The window, which slides.
const WINDOW: SignedDuration = SignedDuration::from_mins(5);

/// How often a guess is counted again when others are counted at the same time. At most five can come before it.
const TRIES: usize = 12;

/// A person's second factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecondFactor {
    /// Whose.
    pub user_id: UserId,
    /// The app's secret, sealed in the vault.
    pub secret: String,
    /// Whether it is asked for: only once a password of it was seen.
    pub active: bool,
    /// When it was set up.
    pub created_at: Timestamp,
    /// The step whose password was used last.
    pub last_step: i64,
    /// SHA-256 of the recovery codes that are left, with the time they were made.
    #[serde(default)]
    pub recovery: BTreeMap<String, Timestamp>,
    /// When somebody guessed lately.
    #[serde(default)]
    pub guesses: Vec<Timestamp>,
}

impl Entity for SecondFactor {
    const KIND: &'static str = "second-factor";
    fn key(&self) -> Key {
        keys::second_factor(self.user_id)
    }
}

/// What a person answers when asked for it.
#[derive(Clone)]
pub enum Answer {
    /// The app's password.
    Code(Code),
    /// A recovery code, however it is spaced.
    Recovery(String),
}

/// What was right about an answer, and is now to be used up.
pub(super) enum Right {
    Step(i64),
    Recovery(String),
}

impl Answer {
    pub(super) fn field(&self) -> &'static str {
        match self {
            Self::Code(_) => "code",
            Self::Recovery(_) => "recoveryCode",
        }
    }

    pub(super) fn wrong(&self) -> Error {
        Error::field(self.field(), "is not right, or was used before")
    }

    /// Whether it is right; nothing is used up yet.
    async fn judge(&self, app: &App, factor: &SecondFactor, now: Timestamp) -> Result<Right> {
        let right = match self {
            Self::Code(code) => {
                let secret = app.vault()?.open(&factor.key(), &factor.secret).await?;
                totp::step(&secret, code, now, factor.last_step).map(Right::Step)
            }
            Self::Recovery(code) => {
                let hash = settings::recovery_hash(code);
                factor
                    .recovery
                    .contains_key(&hash)
                    .then_some(Right::Recovery(hash))
            }
        };
        right.ok_or_else(|| self.wrong())
    }
}

impl Right {
    /// Uses it up, in the commit of what it allows.
    pub(super) fn spend(&self, user: UserId) -> Result<Update> {
        let update = Update::of(keys::second_factor(user)).set("guesses", Vec::<Timestamp>::new())?;
        Ok(match self {
            Self::Step(step) => update
                .set("lastStep", step)?
                .when(Cond::lt("lastStep", step)?.and(Cond::eq("active", true)?)),
            Self::Recovery(hash) => {
                let path = ["recovery", hash.as_str()];
                update
                    .remove(path)
                    .when(Cond::exists(path).and(Cond::eq("active", true)?))
            }
        })
    }

    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Step(_) => "totp",
            Self::Recovery(_) => "recovery_code",
        }
    }
}

/// Counts a guess, and gives what it is to be held against.
///
/// # Errors
/// `RateLimited`; `NotFound` when there is no second factor; `Unavailable` when it cannot be counted.
async fn count_guess(app: &App, user: UserId, now: Timestamp) -> Result<SecondFactor> {
    let key = keys::second_factor(user);
    let mut current: SecondFactor = app.db().get(&key).await?.ok_or(Error::NotFound)?;
    for _ in 0..TRIES {
        let counted = counted(&current.guesses, now)?;
        let update = Update::of(key.clone())
            .set("guesses", &counted)?
            .when(Cond::eq("guesses", &current.guesses)?);
        current = match app.db().update(&update).await? {
            Outcome::Applied(doc) => return doc.read(),
            Outcome::Refused(Some(doc)) => doc.read()?,
            Outcome::Refused(None) => return Err(Error::NotFound),
        };
    }
    Err(Error::Unavailable("a guess could not be counted".into()))
}

/// The guesses of the window with this one.
fn counted(before: &[Timestamp], now: Timestamp) -> Result<Vec<Timestamp>> {
    let lately = before.iter().filter(|at| now.duration_since(**at) < WINDOW);
    let mut lately: Vec<_> = lately.copied().collect();
    if lately.len() >= GUESSES as usize {
        let first = lately.iter().min().copied().unwrap_or(now);
        let left = (WINDOW - now.duration_since(first)).unsigned_abs();
        return Err(Error::RateLimited {
            retry_after: left,
            limit: GUESSES,
            window_s: u32::try_from(WINDOW.as_secs()).unwrap_or(u32::MAX),
        });
    }
    lately.push(now);
    Ok(lately)
}

/// Holds an answer against the person's second factor, and counts it. A wrong one is recorded.
pub(super) async fn check(app: &App, cause: &Context, user: UserId, answer: &Answer) -> Result<Right> {
    let factor = count_guess(app, user, cause.now).await?;
    if !factor.active {
        return Err(Error::NotFound);
    }
    match answer.judge(app, &factor, cause.now).await {
        Err(error @ Error::Invalid(_)) => {
            let reason = json!({ "reason": "second_factor", "field": answer.field() });
            app.tx(cause)
                .audit(Action::UserLoginFailed, Scope::Account(user), user, reason)?
                .run()
                .await?;
            Err(error)
        }
        other => other,
    }
}

fn over() -> Error {
    Error::Unauthenticated("the sign-in is not waiting for a second factor: start again")
}

/// Ends a sign-in that waits: the session lives from now on, under another token.
///
/// # Errors
/// `Unauthenticated` when `waiting` names no session that waits; `Invalid` for a wrong answer; `RateLimited`.
pub async fn finish(
    app: &App,
    cause: &Context,
    waiting: &str,
    answer: &Answer,
) -> Result<(User, Session, RefreshToken)> {
    let token = RefreshToken::parse(waiting).ok_or_else(over)?;
    let (own, profile) = (
        keys::session(token.user(), token.session()),
        keys::user(token.user()),
    );
    let mut read = app.db().batch(&[own.clone(), profile.clone()]).await?;
    let session = read.read::<Session>(&own)?;
    let session = session
        .filter(|s| s.waits(cause.now) && token.is(&s.refresh_hash))
        .ok_or_else(over)?;
    let user = read.read::<User>(&profile)?.filter(User::is_staying);
    let user = user.ok_or_else(over)?;
    let cause = &cause
        .signed_in(user.id, session.id)
        .with_key(session.person_key.clone());
    let right = match check(app, cause, user.id, answer).await {
        // It was turned off on another device: this sign-in began under other rules.
        Err(Error::NotFound) => return Err(over()),
        other => other?,
    };
    let next = token.successor(&random::secret())?;
    let begun = Session {
        authenticated_at: cause.now,
        refresh_hash: next.hash(),
        rotated_at: cause.now,
        pending_until: None,
        ..session.clone()
    };
    let same = Cond::eq("refreshHash", token.hash())?
        .and(Cond::exists("pendingUntil"))
        .and(Cond::absent("revokedAt"));
    let seen = Update::of(profile)
        .set("lastLoginAt", cause.now)?
        .when(User::stays());
    let detail = json!({ "provider": session.provider, "secondFactor": right.method() });
    let wrong = answer.clone();
    app.tx(cause)
        .put_if(&begun, same, over)?
        .update(right.spend(user.id)?, move || wrong.wrong())
        .update(seen, over)
        .audit(Action::UserLogin, Scope::Account(user.id), session.id, detail)?
        .run()
        .await?;
    let user = User {
        last_login_at: cause.now,
        ..user
    };
    Ok((user, begun, next))
}
