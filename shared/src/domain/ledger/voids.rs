//! Void attempts: a reserve whose answer was lost, and that is now known never to happen.
//!
//! A reserve reads nothing first, so it has no fence: nobody can tell whether a lost one is still on its way. The head
//! therefore notes that the call's attempt is void, in an update that only passes while the hold is not in the journal, and
//! every attempt demands that its call is not noted. What arrives later is refused, so another attempt is safe; that one
//! knows the head, and has a fence.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Tries;
use super::head::{Head, change};
use super::hold::find;
use super::movement::Name;
use super::reserve::{Attempt, HoldRequest, held};
use crate::app::App;
use crate::error::{Error, Result};
use crate::store::{Cond, Outcome, Update, keys};

/// How long an attempt stays void. A request that is on its way for longer makes a hold that nobody knows, which expires.
const LIFE: SignedDuration = SignedDuration::from_mins(10);

/// Learns whether the attempt was made, and sees to it that it never is if it was not.
///
/// # Errors
/// `SubscriptionRequired` when the account has no ledger; `Unavailable` when the table does not answer.
pub(super) async fn find_out(app: &App, request: &HoldRequest) -> Result<Attempt> {
    let key = keys::ledger_head(request.account);
    let mut tries = Tries::begin();
    loop {
        let head = app.db().get::<Head>(&key).await?;
        let head = head.ok_or(Error::SubscriptionRequired)?;
        head.known()?;
        let update = noting(&head, request, app.clock().now())?;
        let (noted, head) = match app.db().update(&update).await? {
            Outcome::Applied(doc) => (true, doc.read::<Head>()?),
            Outcome::Refused(Some(doc)) => (false, doc.read()?),
            Outcome::Refused(None) => return Err(Error::SubscriptionRequired),
        };
        if let Some(held) = held(&head, request) {
            return Ok(Attempt::Held(held));
        }
        // In this order: a flush writes the row before it takes the operation out of the head.
        if let Some(hold) = find(app, request.call).await? {
            return Ok(Attempt::Held(hold.reservation()));
        }
        if noted {
            return Ok(Attempt::Never(head.rev));
        }
        tries.wait().await?;
    }
}

fn noting(head: &Head, request: &HoldRequest, now: Timestamp) -> Result<Update> {
    let (call, at) = (request.call.to_string(), now.as_millisecond());
    let unmade = Cond::absent(["ops", &Name::Hold(request.call).to_string()]);
    let update = change(request.account)?.when(unmade);
    if head.voids.is_empty() {
        let first = BTreeMap::from([(call, at)]);
        return Ok(update.set("voids", first)?.when(Cond::absent("voids")));
    }
    Ok(update.set(["voids", &call], at)?.when(Cond::exists("voids")))
}

/// Forgets what is void, once all of it has been so for long enough; part of a flush.
pub(super) fn forget(update: Update, head: &Head, now: Timestamp) -> Result<Update> {
    let old = |at: &i64| at.saturating_add(millis(LIFE)) <= now.as_millisecond();
    if head.voids.is_empty() || !head.voids.values().all(old) {
        return Ok(update);
    }
    Ok(update.remove("voids").when(Cond::eq("voids", &head.voids)?))
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
