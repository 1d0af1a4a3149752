//! Setting the second factor up, turning it on and off, and recovery codes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Answer, Code, Door, Right, SecondFactor, Tries, count_guess, totp};
use crate::app::App;
use crate::context::Context;
use crate::domain::users::User;
use crate::error::{Error, Result};
use crate::ids::{self, UserId};
use crate::random;
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Entity, Tx, Update, keys};

/// How many recovery codes there are.
const CODES: usize = 10;

/// How a person's second factor stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether a sign-in asks for it.
    pub enabled: bool,
    /// Whether it was set up and waits for its first password.
    pub pending: bool,
    /// How many recovery codes are left.
    pub recovery_codes_left: usize,
}

/// What an authenticator app needs. Shown once.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// To type in: base32.
    pub secret: String,
    /// To scan, as a QR code: `otpauth://totp/…`.
    pub otpauth_uri: String,
}

/// Codes that each replace the app once. Shown once.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryCodes {
    /// Ten codes.
    pub recovery_codes: Vec<String>,
}

impl RecoveryCodes {
    fn fresh(now: Timestamp) -> (Self, BTreeMap<String, Timestamp>) {
        // 112 random bits: from there on ASVS 5.0 (V6.5.2) asks for no salt and no slow hash.
        let code = |_| {
            let text = ids::base32(&random::bytes::<14>());
            let groups: Vec<_> = text.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
            groups.join("-")
        };
        let recovery_codes: Vec<_> = (0..CODES).map(code).collect();
        let hashes = recovery_codes
            .iter()
            .map(|code| (recovery_hash(code), now))
            .collect();
        (Self { recovery_codes }, hashes)
    }
}

/// What the table holds of a code; case, spaces and hyphens are the reader's.
pub(super) fn recovery_hash(code: &str) -> String {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    keys::digest(&plain.to_ascii_lowercase())
}

fn changed<'a>(tx: Tx<'a>, user: UserId, to: &str) -> Result<Tx<'a>> {
    let detail = json!({ "setting": "twoFactor", "to": to });
    tx.audit(Action::SettingsUpdated, Scope::Account(user), user, detail)
}

fn is_on() -> Error {
    Error::Conflict {
        code: "two_factor_enabled",
        detail: "the second factor is on already: turn it off first".into(),
    }
}

fn is_off() -> Error {
    Error::Conflict {
        code: "two_factor_not_set_up",
        detail: "there is no second factor that waits to be turned on: set it up first".into(),
    }
}

/// How it stands.
///
/// # Errors
/// `Unavailable` when the table does not answer.
pub async fn status(app: &App, user: UserId) -> Result<Status> {
    let factor = app.db().get::<SecondFactor>(&keys::second_factor(user)).await?;
    Ok(Status {
        enabled: factor.as_ref().is_some_and(|f| f.active),
        pending: factor.as_ref().is_some_and(|f| !f.active),
        recovery_codes_left: factor.map_or(0, |f| f.recovery.len()),
    })
}

/// Makes a secret for an app. Sign-ins ask for it only once `activate` has seen a password of it.
///
/// # Errors
/// `Conflict` when one is on already.
pub async fn set_up(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<Setup>> {
    let person: User = app.db().get(&keys::user(user)).await?.ok_or(Error::NotFound)?;
    let secret = random::bytes::<{ totp::SECRET_LEN }>();
    let factor = SecondFactor {
        user_id: user,
        secret: app.vault()?.seal(&keys::second_factor(user), &secret).await?,
        active: false,
        created_at: cause.now,
        last_step: 0,
        recovery: BTreeMap::new(),
        sign_in_tries: Tries::default(),
        step_up_tries: Tries::default(),
    };
    let not_on = Cond::item_absent().or(Cond::eq("active", false)?);
    let setup = Setup {
        secret: totp::text(&secret),
        otpauth_uri: totp::uri(&secret, &person.email),
    };
    let tx = app.tx(cause).put_if(&factor, not_on, is_on)?;
    changed(tx, user, "set_up")?
        .once(once)
        .commit(Reply::ok(&setup)?)
        .await
}

/// Turns it on, once the app shows the right password, and gives the recovery codes.
///
/// # Errors
/// `Conflict` when nothing was set up, or it is on; `Invalid` for a wrong password; `RateLimited`.
pub async fn activate(
    app: &App,
    cause: &Context,
    user: UserId,
    (once, code): (Option<&OnceKey>, &Code),
) -> Result<Reply<RecoveryCodes>> {
    let factor = match count_guess(app, user, Door::Session, cause.now).await {
        Err(Error::NotFound) => return Err(is_off()),
        other => other?,
    };
    if factor.active {
        return Err(is_on());
    }
    let Right::Step(step) = Answer::Code(code.clone()).judge(app, &factor, cause.now).await? else {
        return Err(Error::internal("a password that is no password"));
    };
    let (codes, recovery) = RecoveryCodes::fresh(cause.now);
    let on = Update::of(factor.key())
        .set("active", true)?
        .set("lastStep", step)?
        .set("recovery", recovery)?
        .remove(Door::Session.attribute())
        .when(Cond::eq("active", false)?.and(Cond::eq("secret", &factor.secret)?));
    let asked = Update::of(keys::user(user))
        .set("secondFactor", true)?
        .when(Cond::item_exists());
    let tx = app.tx(cause).update(on, is_off).update(asked, || Error::NotFound);
    changed(tx, user, "on")?
        .once(once)
        .commit(Reply::ok(&codes)?)
        .await
}

/// Turns it off, whether it was on or only set up.
///
/// # Errors
/// `NotFound` when there is none.
pub async fn turn_off(app: &App, cause: &Context, user: UserId, once: Option<&OnceKey>) -> Result<Reply<()>> {
    let there = Some(Cond::item_exists());
    let asked = Update::of(keys::user(user))
        .remove("secondFactor")
        .when(Cond::item_exists());
    let tx = app
        .tx(cause)
        .delete(keys::second_factor(user), there, || Error::NotFound)
        .update(asked, || Error::NotFound);
    changed(tx, user, "off")?
        .once(once)
        .commit(Reply::no_content())
        .await
}

/// New recovery codes; the old ones are good for nothing from now on.
///
/// # Errors
/// `Conflict` when it is not on.
pub async fn renew_codes(
    app: &App,
    cause: &Context,
    user: UserId,
    once: Option<&OnceKey>,
) -> Result<Reply<RecoveryCodes>> {
    let (codes, recovery) = RecoveryCodes::fresh(cause.now);
    let renewed = Update::of(keys::second_factor(user))
        .set("recovery", recovery)?
        .when(Cond::eq("active", true)?);
    let tx = app.tx(cause).update(renewed, is_off);
    changed(tx, user, "new_recovery_codes")?
        .once(once)
        .commit(Reply::ok(&codes)?)
        .await
}
