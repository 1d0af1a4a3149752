//! Changes that depend on what an item says, while others change it too.

use crate::error::{Error, Result};
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
    let key = first.key();
    let mut current = first;
    for _ in 0..TRIES {
        match attempt(current).await {
            Err(Error::PreconditionFailed) => {}
            done => return done,
        }
        current = db.get(&key).await?.ok_or(Error::NotFound)?;
    }
    Err(Error::Unavailable("the item kept changing".into()))
}
