//! Changes that depend on what an item says, while others change it too.

use crate::error::{Error, Result};
use crate::store::db::back_off;
use crate::store::{Db, Entity};

/// How often an item is read again before the caller hears `Unavailable`.
const TRIES: u32 = 6;

/// Runs `attempt` on an item as it was read. When it answers `PreconditionFailed`, because the item changed before
/// the attempt's transaction came, the item is read again and the attempt repeated.
///
/// # Errors
/// `NotFound` when the item is gone, `Unavailable` when it kept changing, and what `attempt` answers.
pub async fn on_current<E, T, F>(db: &Db, first: E, attempt: impl Fn(E) -> F) -> Result<T>
where
    E: Entity,
    F: Future<Output = Result<T>>,
{
    on_expected(db, first, |_| true, attempt).await
}

/// The same for a caller who expects the item to be as they know it (If-Match): looked at anew each time.
///
/// # Errors
/// Also `PreconditionFailed` when the item is not as expected.
pub async fn on_expected<E, T, F>(
    db: &Db,
    first: E,
    expected: impl Fn(&E) -> bool,
    attempt: impl Fn(E) -> F,
) -> Result<T>
where
    E: Entity,
    F: Future<Output = Result<T>>,
{
    let key = first.key();
    let mut current = first;
    for n in 0..TRIES {
        if !expected(&current) {
            return Err(Error::PreconditionFailed);
        }
        // Boxed: attempts hold whole transactions, and handlers' futures would carry them on the stack.
        match Box::pin(attempt(current)).await {
            Err(Error::PreconditionFailed) => {}
            done => return done,
        }
        back_off(n).await;
        current = db.get(&key).await?.ok_or(Error::NotFound)?;
    }
    Err(Error::Unavailable("the item kept changing".into()))
}

/// Whether a version is one of those that a request names; any is, when it means whatever is there.
pub fn is_among(version: u64, expected: Option<&[u64]>) -> bool {
    expected.is_none_or(|versions| versions.contains(&version))
}
