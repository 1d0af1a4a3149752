//! One way to write what changed about a person, whether it was asked for as profile or as preferences.

use jiff::Timestamp;
use serde_json::json;

use super::User;
use super::preferences::{CHANGED, Changed};
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::reply::Reply;
use crate::store::record::{Action, Scope};
use crate::store::tx::OnceKey;
use crate::store::{Cond, Tx, Update, keys};

/// Under what a change is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    /// What the audit log calls it.
    pub(super) action: Action,
    /// The caller's Idempotency-Key.
    pub(super) once: Option<&'a OnceKey>,
}

/// Writes `new` over `old` and answers the view of what there is then; nothing but the used key is written when
/// nothing changed.
///
/// # Errors
/// `PreconditionFailed` when the person is no longer at both versions of `old`.
pub(super) async fn commit<T: serde::Serialize>(
    app: &App,
    cause: &Context,
    written: Written<'_>,
    (old, new): (&User, User),
    view: impl Fn(&User) -> T,
) -> Result<Reply<T>> {
    let unchanged = view(&new);
    let Some(change) = Change::between(old, new, cause.now)? else {
        let reply = Reply::ok(&unchanged)?;
        // Nothing to write but that the key was used.
        return match written.once {
            Some(once) => app.tx(cause).once(Some(once)).commit(reply).await,
            None => Ok(reply),
        };
    };
    let reply = Reply::ok(&view(&change.new))?;
    let tx = app.tx(cause).once(written.once);
    change.stage(tx, old, written.action)?.commit(reply).await
}

/// A change of a person that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The person after it.
    pub(crate) new: User,
    /// The names of what changes.
    changed: Vec<String>,
    /// Whether preferences are among it.
    preferences: bool,
}

impl Change {
    /// What makes `new` of `old`, with the versions raised that this raises; `None` when nothing differs.
    ///
    /// # Errors
    /// `Internal` when preferences have no form in JSON.
    pub(crate) fn between(old: &User, mut new: User, now: Timestamp) -> Result<Option<Self>> {
        let profile = profile_changes(old, &new);
        let mut changed = old.preferences.difference(&new.preferences)?;
        let shared = profile.iter().any(|name| ["locale", "timezone"].contains(name));
        let preferences = shared || !changed.is_empty();
        changed.splice(0..0, profile.iter().map(|name| (*name).to_owned()));
        if changed.is_empty() {
            return Ok(None);
        }
        if !profile.is_empty() {
            new.version += 1;
            new.updated_at = now;
        }
        if preferences {
            new.preferences.version += 1;
        }
        Ok(Some(Self {
            new,
            changed,
            preferences,
        }))
    }

    /// Stages it with its audit record and its event; `PreconditionFailed` when the person is no longer at both versions
    /// of `old`.
    ///
    /// # Errors
    /// `Internal` when something has no form in the table.
    pub(crate) fn stage<'a>(&self, tx: Tx<'a>, old: &User, action: Action) -> Result<Tx<'a>> {
        let new = &self.new;
        let tx = tx.update(update(old, new)?, || Error::PreconditionFailed).audit(
            action,
            Scope::Account(new.id),
            new.id,
            // Names, not values: the log outlives the profile.
            json!({ "changed": self.changed }),
        )?;
        if !self.preferences {
            return Ok(tx);
        }
        let told = Changed {
            user_id: new.id,
            version: new.preferences.version,
        };
        tx.event(CHANGED, told)
    }
}

/// Field by field, as a sign-in may write lastLoginAt meanwhile.
fn update(old: &User, new: &User) -> Result<Update> {
    let preferences = match old.preferences.is_untouched() {
        true => Cond::absent("preferences"),
        false => Cond::eq(["preferences", "version"], old.preferences.version)?,
    };
    let update = Update::of(keys::user(new.id))
        .set("name", &new.name)?
        .set("locale", &new.locale)?
        .set("timezone", &new.timezone)?
        .set("updatedAt", new.updated_at)?
        .set("version", new.version)?
        .when(Cond::eq("version", old.version)?)
        .when(preferences)
        .when(Cond::absent("deletingAt"));
    let update = match &new.avatar_url {
        Some(url) => update.set("avatarUrl", url)?,
        None => update.remove("avatarUrl"),
    };
    if new.preferences.is_untouched() {
        return Ok(update);
    }
    update.set("preferences", &new.preferences)
}

fn profile_changes(old: &User, new: &User) -> Vec<&'static str> {
    [
        ("name", old.name != new.name),
        ("avatarUrl", old.avatar_url != new.avatar_url),
        ("locale", old.locale != new.locale),
        ("timezone", old.timezone != new.timezone),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
