//! The second factor: passwords by time, and recovery codes for who has lost the app.
//!
//! A person with one who proves who they are gets a session that waits: its token opens nothing but `finish`, for ten
//! minutes. Every guess at a password is counted before it is looked at, by a conditional write, so that parallel guesses
//! count one by one and a table that does not answer lets none through. After each five wrong ones there is a wait, twice as
//! long as the one before, and the owner gets a mail. Who guesses has the first factor, so the owner must not be shut out
//! with them: a session that lives has a count of its own, and recovery codes, which nobody guesses, have none.

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
use super::{enter, magic_link};
use crate::app::App;
use crate::config::EMAIL_PROVIDER;
use crate::context::Context;
use crate::domain::mail::{self, Letter, Order};
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{EventId, UserId};
use crate::random;
use crate::store::keys::{self, Key};
use crate::store::record::{Action, Scope};
use crate::store::{Cond, Entity, Outcome, Update};

/// How long a person has for their second factor.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Wrong guesses until there is a wait.
const GUESSES: u32 = 5;

/// The first wait; each is twice as long as the one before.
const WAIT: SignedDuration = SignedDuration::from_mins(5);

/// The longest: fifteen guesses a day, of a million passwords of which three are good.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(8);

/// How long a warning is worth being mailed.
const NEWS: SignedDuration = SignedDuration::from_hours(24);

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
    /// Guesses of who signs in.
    #[serde(default)]
    pub sign_in_tries: Tries,
    /// Guesses in a session that lives.
    #[serde(default)]
    pub step_up_tries: Tries,
}

/// Wrong guesses since the last right one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Tries {
    /// How many.
    pub wrong: u32,
    /// Until when none is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Where somebody guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// At a sign-in, with the first factor.
    SignIn,
    /// In a session that lives.
    Session,
}

impl Door {
    fn attribute(self) -> &'static str {
        match self {
            Self::SignIn => "signInTries",
            Self::Session => "stepUpTries",
        }
    }
}

impl SecondFactor {
    fn tries(&self, door: Door) -> &Tries {
        match door {
            Door::SignIn => &self.sign_in_tries,
            Door::Session => &self.step_up_tries,
        }
    }
}

impl Tries {
    /// With one more guess, which is wrong until it is found right.
    ///
    /// # Errors
    /// `RateLimited` while none is taken.
    fn and_one(&self, now: Timestamp) -> Result<Self> {
        if let Some(until) = self.until.filter(|until| now < *until) {
            return Err(Error::RateLimited {
                retry_after: until.duration_since(now).unsigned_abs(),
                limit: GUESSES,
                window_s: u32::try_from(WAIT.as_secs()).unwrap_or(u32::MAX),
            });
        }
        let wrong = self.wrong.saturating_add(1);
        let until = match wrong % GUESSES {
            0 => Some(
                now.checked_add(wait_after(wrong / GUESSES))
                    .map_err(Error::internal)?,
            ),
            _ => None,
        };
        Ok(Self { wrong, until })
    }
}

/// The wait after so many rounds of wrong guesses.
fn wait_after(rounds: u32) -> SignedDuration {
    let times = 2_i32.saturating_pow(rounds.saturating_sub(1));
    WAIT.checked_mul(times)
        .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
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
    /// Uses it up, in the commit of what it allows, and forgets the wrong guesses at this door.
    pub(super) fn spend(&self, user: UserId, door: Door) -> Result<Update> {
        let update = Update::of(keys::second_factor(user)).remove(door.attribute());
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
async fn count_guess(app: &App, user: UserId, door: Door, now: Timestamp) -> Result<SecondFactor> {
    let key = keys::second_factor(user);
    let mut current: SecondFactor = app.db().get(&key).await?.ok_or(Error::NotFound)?;
    for _ in 0..TRIES {
        let (before, name) = (current.tries(door), door.attribute());
        let same = match *before == Tries::default() {
            true => Cond::item_exists().and(Cond::absent(name).or(Cond::eq(name, before)?)),
            false => Cond::eq(name, before)?,
        };
        let update = Update::of(key.clone())
            .set(name, before.and_one(now)?)?
            .when(same);
        current = match app.db().update(&update).await? {
            Outcome::Applied(doc) => return doc.read(),
            Outcome::Refused(Some(doc)) => doc.read()?,
            Outcome::Refused(None) => return Err(Error::NotFound),
        };
    }
    Err(Error::Unavailable("a guess could not be counted".into()))
}

/// Holds an answer against the person's second factor, and counts it if it can be guessed. A wrong one is recorded.
pub(super) async fn check(
    app: &App,
    cause: &Context,
    (user, door): (UserId, Door),
    answer: &Answer,
) -> Result<Right> {
    let factor = match answer {
        Answer::Code(_) => count_guess(app, user, door, cause.now).await?,
        Answer::Recovery(_) => {
            let key = keys::second_factor(user);
            app.db().get(&key).await?.ok_or(Error::NotFound)?
        }
    };
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
            let round_ends = matches!(answer, Answer::Code(_)) && factor.tries(door).until.is_some();
            if round_ends && door == Door::SignIn {
                warn(app, cause, user).await;
            }
            Err(error)
        }
        other => other,
    }
}

/// Mails the owner that somebody guesses who can do the first half of a sign-in. The refusal stands, mail or not.
async fn warn(app: &App, cause: &Context, user: UserId) {
    let mailed = async {
        let person: Option<User> = app.db().get(&keys::user(user)).await?;
        let Some(to) = person.and_then(|person| magic_link::reached(app, &person)) else {
            return Ok(());
        };
        let order = Order {
            id: EventId::new(app.clock()),
            to: to.as_str().to_owned(),
            letter: Letter::Guessed,
            expires_at: cause.now.checked_add(NEWS).map_err(Error::internal)?,
        };
        mail::order(app, &order).await
    };
    if let Err(error) = mailed.await {
        tracing::warn!(request.id = cause.request_id, error = %error, "a warning could not be mailed");
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
    let right = match check(app, cause, (user.id, Door::SignIn), answer).await {
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
    let seen = if session.provider == EMAIL_PROVIDER {
        enter::oust(app, cause, &user).await?;
        enter::also_proven(seen, &user, EMAIL_PROVIDER)?
    } else {
        seen
    };
    let detail = json!({ "provider": session.provider, "secondFactor": right.method() });
    let wrong = answer.clone();
    app.tx(cause)
        .put_if(&begun, same, over)?
        .update(right.spend(user.id, Door::SignIn)?, move || wrong.wrong())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fifth_wrong_guess_costs_twice_the_wait_of_the_one_before() {
        let (mut tries, mut now) = (Tries::default(), Timestamp::UNIX_EPOCH);
        let mut waits = Vec::new();
        while waits.len() < 9 {
            // However slowly somebody guesses.
            now += SignedDuration::from_hours(1);
            tries = tries.and_one(now).unwrap();
            if let Some(until) = tries.until {
                waits.push(until.duration_since(now).as_mins());
                assert!(tries.and_one(until - SignedDuration::from_secs(1)).is_err());
                now = until;
            }
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 480, 480]);
        assert_eq!(tries.wrong, 45);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }
}
