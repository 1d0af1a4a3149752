//! Refunds, which bring back what a call was charged, and adjustments, which take back what should not have come in.

use serde::{Deserialize, Serialize};

use super::entry::{Entry, Kind};
use super::flush::flush;
use super::grant::for_good;
use super::head::ROOM;
use super::hold::{End, Hold, find};
use super::movement::{Movement, Name, movement};
use super::named::{self, Seen};
use super::operation::Operation;
use crate::app::App;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::ids::{CallId, UserId};
use crate::money::{Amount, Cbt, Positive};
use crate::store::{Cond, Tx, Update, keys};

/// The event that a refund was decided; its data is `Refund`.
pub const REFUND_REQUESTED: &str = "com.camarad.ledger.refund_requested";

/// A part of a call's charge that comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// Whose ledger.
    pub account: UserId,
    /// The call.
    pub call: CallId,
    /// Tells several refunds of a call apart; the same name refunds once.
    pub name: String,
    /// How much.
    #[serde(with = "crate::money::stored_positive")]
    pub amount: Positive,
    /// Why, for the account's owner.
    pub reason: String,
}

impl Refund {
    fn attribute(&self) -> String {
        format!("refund:{}", self.name)
    }
}

/// Brings back a part of what a call was charged: all refunds of a call together are at most its charge. What comes back
/// never expires. A repetition under the same name answers the first one's entry.
///
/// First the call's row notes it, under the condition that the charge covers it; the note and the event that pays are one
/// transaction, so a refund that is noted is paid, whoever dies.
///
/// # Errors
/// `NotFound` when the call is not this account's; `Conflict` with `call_not_ended`, or `refund_exceeds_charge`;
/// `KeyReused` when the name was used for another amount; `Unavailable` (the same again is safe).
pub async fn refund(app: &App, refund: &Refund) -> Result<Entry> {
    let (_, end) = ended(app, refund.account, refund.call).await?;
    let cause = Context::system("refund", app.clock().now());
    let amount = refund.amount.cbt().as_micro();
    match noted(app.tx(&cause), refund, &end)?.run().await {
        Ok(()) => pay(app, refund).await,
        Err(Error::Conflict { .. }) => {
            let row = app.db().get_doc(&keys::hold(refund.call)).await?;
            match row
                .map(|r| r.field::<i64>(&refund.attribute()))
                .transpose()?
                .flatten()
            {
                Some(noted) if noted == amount => pay(app, refund).await,
                Some(_) => Err(Error::KeyReused),
                None => Err(exceeds()),
            }
        }
        Err(error) => Err(error),
    }
}

/// Notes on the call's row what comes back, if the charge covers it, and asks for its payment.
pub(super) fn noted<'a>(tx: Tx<'a>, refund: &Refund, end: &End) -> Result<Tx<'a>> {
    let (attribute, amount) = (refund.attribute(), refund.amount.cbt().as_micro());
    let left = end.charge.cbt().as_micro() - amount;
    if left < 0 {
        return Err(exceeds());
    }
    let note = Update::of(keys::hold(refund.call))
        .add("refunded", amount)?
        .set(attribute.as_str(), amount)?
        .when(Cond::absent(attribute.as_str()))
        .when(Cond::absent("refunded").or(Cond::le("refunded", left)?));
    tx.update(note, exceeds).event(REFUND_REQUESTED, refund)
}

/// What of a call's charge has not come back yet.
pub(super) async fn left(app: &App, call: CallId, end: &End) -> Result<Option<Positive>> {
    let row = app.db().get_doc(&keys::hold(call)).await?;
    let back = row.map(|r| r.field::<i64>("refunded")).transpose()?.flatten();
    let left = end.charge.cbt().as_micro() - back.unwrap_or(0);
    Ok(Positive::new(Cbt::micro(left)).ok())
}

/// What a refund beyond the charge says.
pub(super) const EXCEEDS: &str = "refund_exceeds_charge";

pub(super) fn exceeds() -> Error {
    Error::Conflict {
        code: EXCEEDS,
        detail: "all refunds of a call together are at most its charge".into(),
    }
}

/// The call's row, with how it ended.
///
/// # Errors
/// `NotFound` when the call is not this account's; the conflict `call_not_ended`.
pub(super) async fn ended(app: &App, account: UserId, call: CallId) -> Result<(Hold, End)> {
    for flushed in [false, true] {
        if flushed {
            flush(app, account).await?;
        }
        let row = find(app, call).await?;
        if row.as_ref().is_some_and(|h| h.account != account) {
            return Err(Error::NotFound);
        }
        if let Some((hold, end)) = row.and_then(|h| h.end.clone().map(|end| (h, end))) {
            return Ok((hold, end));
        }
    }
    match find(app, call).await? {
        None => Err(Error::NotFound),
        Some(_) => Err(Error::Conflict {
            code: "call_not_ended",
            detail: "the call has not ended yet".into(),
        }),
    }
}

/// Pays a refund that the call's row has noted. May be repeated.
pub(super) async fn pay(app: &App, refund: &Refund) -> Result<Entry> {
    let hold = find(app, refund.call).await?.ok_or(Error::NotFound)?;
    let name = Name::Refund(refund.call, refund.name.clone());
    named::once(app, refund.account, &name, |seen: &Seen<'_>| {
        let coming = Movement {
            delta: refund.amount.cbt(),
            memo: Some(hold.memo.clone()),
            reason: Some(refund.reason.clone()),
            ..Movement::of(Kind::Refund, app.clock().now())
        };
        let update = movement(refund.account, &name, &coming, ROOM)?;
        for_good(update, seen.head, coming.delta)
    })
    .await
}

/// cbT that should not have come in, such as a top-up whose payment was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// Under which name.
    pub operation: Operation,
    /// How much is to be taken back.
    pub amount: Positive,
    /// Why, for the account's owner.
    pub reason: String,
}

/// What was taken back.
#[derive(Debug, Clone, PartialEq)]
pub struct Adjusted {
    /// Its entry; of zero when nothing was available.
    pub entry: Entry,
    /// What could not be taken, as it had been spent or running calls hold it.
    pub shortfall: Amount,
}

/// Takes cbT back, as far as it is available: first what never expires, since that is what top-ups bring. A repetition
/// under the same name takes nothing more, and answers the same.
///
/// # Errors
/// `NotFound` when the account has no ledger; `Unavailable` (the same again is safe).
pub async fn adjust(app: &App, account: UserId, adjust: &Adjust) -> Result<Adjusted> {
    let name = adjust.operation.name();
    let wanted = adjust.amount.cbt();
    let entry = named::once(app, account, &name, |seen: &Seen<'_>| {
        let head = seen.head;
        let taken = wanted.min(head.avail);
        let going = Movement {
            delta: -taken,
            reason: Some(adjust.reason.clone()),
            ..Movement::of(Kind::Adjust, app.clock().now())
        };
        let update = movement(account, &name, &going, ROOM)?.when(Cond::ge("avail", taken.as_micro())?);
        let update = if seen.exact {
            update
                .when(Cond::eq("avail", head.avail.as_micro())?)
                .when(Cond::eq("posted", head.posted.as_micro())?)
        } else {
            update
        };
        // What the lots do not cover stays for good; only what is taken beyond it burns them.
        let for_good_part = head.posted.as_micro() - head.lots_now().total().as_micro();
        for_good(update, head, Cbt::micro(-taken.as_micro().min(for_good_part)))
    })
    .await?;
    let short = Cbt::micro(wanted.as_micro() + entry.delta.as_micro());
    Ok(Adjusted {
        entry,
        shortfall: Amount::new(short).map_err(Error::internal)?,
    })
}
