//! Lots that expire: whoever meets one takes it out, and a sweeper takes out those that nobody meets.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tries;
use super::entry::Kind;
use super::flush::make_room;
use super::head::{Head, ROOM_TO_END, change};
use super::lots::Gone;
use super::movement::{Movement, Name, movements};
use crate::app::App;
use crate::error::Result;
use crate::ids::UserId;
use crate::money::Cbt;
use crate::store::keys::{self, Index, Key};
use crate::store::{Cond, Entity};

/// How many lots of one shard are looked at in one run.
const PER_SHARD: u32 = 100;

/// How many accounts are worked on at once.
const WIDTH: usize = 8;

/// Reminds the sweeper of a lot: it is written before the lot, and goes when the lot has left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reminder {
    pub(super) account: UserId,
    pub(super) expires_at: Timestamp,
}

impl Entity for Reminder {
    const KIND: &'static str = "ledgerLot";
    fn key(&self) -> Key {
        keys::ledger_lot(self.account, self.expires_at)
    }
    fn index1(&self) -> Option<Index> {
        Some(keys::lot_expiry(self.account, self.expires_at))
    }
}

/// The entries of what leaves because lots expired. `version` is of the lots as they are written with them: so the names
/// are new, and a request that arrives twice meets a fence that has moved.
pub(super) fn entries(gone: &[Gone], version: u64, at: Timestamp) -> Vec<(Name, Movement)> {
    let mut by_lot: BTreeMap<i64, i64> = BTreeMap::new();
    for lot in gone {
        *by_lot.entry(lot.expires).or_default() += lot.amount.as_micro();
    }
    let named = |(expires, micro): (i64, i64)| {
        let movement = Movement {
            delta: Cbt::micro(-micro),
            reason: Timestamp::from_second(expires)
                .ok()
                .map(|t| format!("Granted until {t} and not used")),
            ..Movement::of(Kind::Expire, at)
        };
        (Name::Other(format!("expire:{expires}:{version}")), movement)
    };
    by_lot.into_iter().map(named).collect()
}

/// Takes what has expired out of this head, if it still stands as it was read. Whether it did.
pub(super) async fn take_out(app: &App, head: &Head) -> Result<bool> {
    let now = app.clock().now();
    let mut lots = head.lots_now();
    let gone = lots.expire(now.as_second(), head.held(), head.seq);
    let entries = entries(&gone, head.lv + 1, now);
    let left: i64 = entries.iter().map(|(_, m)| m.delta.as_micro()).sum();
    let update = match entries.is_empty() {
        true => change(head.account)?,
        false => movements(head.account, &entries, ROOM_TO_END)?,
    };
    let base = Cbt::micro(head.posted.as_micro() + left);
    // Nothing moves between reading what is held and writing what of the lot it covers. Only running calls could, as
    // nothing is set aside until the lot has left: so there is an end to it.
    let update = head
        .with_lots(update, &lots, base)?
        .when(Cond::eq("seq", head.seq)?);
    Ok(matches!(
        app.db().update(&update).await?,
        crate::store::Outcome::Applied(_)
    ))
}

/// The same; when the journal has no room, makes some.
pub(super) async fn expire_of(app: &App, head: &Head) -> Result<()> {
    if head.jn >= ROOM_TO_END {
        return make_room(app, head).await;
    }
    take_out(app, head).await.map(drop)
}

/// Takes out of an account's balance what has expired of its grants and is not held. May be repeated.
///
/// # Errors
/// When the table does not answer.
pub async fn expire(app: &App, account: UserId) -> Result<()> {
    let mut tries = Tries::begin();
    loop {
        let head = app.db().get::<Head>(&keys::ledger_head(account)).await?;
        let Some(head) = head.filter(|h| !h.lots_stand(app.clock().now())) else {
            return Ok(());
        };
        head.known()?;
        expire_of(app, &head).await?;
        tries.wait().await?;
    }
}

/// What a sweep of the lots did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LotsSwept {
    /// Lots that the index showed as expired; it lags.
    pub seen: u32,
    /// Lots that could not be taken out; the next sweep tries again.
    pub failed: u32,
}

/// Takes every lot that has expired out of its balance.
///
/// # Errors
/// When the table does not answer. A lot that cannot be taken out is logged and does not stop the others.
pub async fn sweep_lots(app: &App) -> Result<LotsSwept> {
    let mut swept = LotsSwept::default();
    let until = keys::lots_until(app.clock().now());
    for shard in 0..keys::SHARDS {
        let hints = app
            .db()
            .hints(&keys::expiring_lots(shard), &until, PER_SHARD)
            .await?;
        let work: Vec<_> = hints.iter().map(|key| sweep_one(app, key)).collect();
        let mut done = stream::iter(work).buffer_unordered(WIDTH);
        while let Some(result) = done.next().await {
            swept.seen += 1;
            if let Err(error) = result {
                swept.failed += 1;
                tracing::error!(error = %error, cause = ?error, "an expired lot could not be taken out");
            }
        }
    }
    Ok(swept)
}

async fn sweep_one(app: &App, key: &Key) -> Result<()> {
    let now = app.clock().now();
    let row = app.db().get::<Reminder>(key).await?;
    let Some(row) = row.filter(|row| row.expires_at <= now) else {
        return Ok(());
    };
    expire(app, row.account).await?;
    app.db().take(key, &Cond::item_exists()).await.map(drop)
}
