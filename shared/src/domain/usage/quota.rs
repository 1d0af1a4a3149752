//! Quota warnings: an account's owner is told when 50, 80 and 100 % of the period's grant are used.
//!
//! Each threshold is told once in a period, whatever happens: the mark that it was told is created in the transaction
//! that stages the notice. A debit that passes several thresholds at once gives the warning of each, so that what is told
//! depends neither on how debits are cut nor on how the table's stream bundles them; a refund takes none back, and going
//! up again tells nothing twice. A grant that makes the period's quota larger (an upgrade) does not begin again.
//!
//! The table's stream shows each change of a head with the image before it, so that a debit that passes no threshold
//! costs nothing here. What the stream dropped is found by `sweep`, every night.

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::App;
use crate::context::Context;
use crate::domain::ledger::{self, Period, Standing};
use crate::domain::notifications::{self, Notice};
use crate::domain::outbox;
use crate::domain::users::preferences::NotificationType;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::store::keys::{self, Key};
use crate::store::{Cond, Doc, Entity};

/// What is told, in percent of the period's grant.
pub const THRESHOLDS: [u32; 3] = [50, 80, 100];

/// How long after its period a mark is kept: longer than any event of the stream or the outbox may be late.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 35);

/// How many heads are looked at together, and how many warnings are given side by side.
const PAGE: u32 = 100;
const WIDTH: usize = 8;

const ALREADY: &str = "already_warned";

/// That a threshold was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Warned {
    account: UserId,
    period: Period,
    percent: u32,
    at: Timestamp,
}

impl Entity for Warned {
    const KIND: &'static str = "quota-warned";
    fn key(&self) -> Key {
        keys::quota_warned(self.account, self.period.start, self.percent)
    }
    fn ttl(&self) -> Option<i64> {
        Some((self.period.end.max(self.at) + KEPT).as_second())
    }
}

/// A threshold that an account has passed in its period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    standing: Standing,
    period: Period,
    percent: u32,
}

/// The thresholds that a standing has reached in its period.
fn reached(standing: &Standing) -> impl Iterator<Item = Passed> + use<> {
    let standing = *standing;
    let (used, quota) = (standing.used.as_micro(), standing.quota.as_micro());
    let period = standing.period.filter(|_| quota > 0);
    let reached = move |percent: &u32| i128::from(used) * 100 >= i128::from(quota) * i128::from(*percent);
    THRESHOLDS.into_iter().filter(reached).filter_map(move |percent| {
        period.map(|period| Passed {
            standing,
            period,
            percent,
        })
    })
}

/// The thresholds that a change of a ledger's head passes; none when it shows no head.
///
/// # Errors
/// `Internal` when an image is not what a head looks like.
pub fn passed(before: Option<&Doc>, after: &Doc) -> Result<Vec<Passed>> {
    let Some(after) = ledger::standing(after)? else {
        return Ok(Vec::new());
    };
    let before = before.map(ledger::standing).transpose()?.flatten();
    Ok(between(before.as_ref(), &after))
}

fn between(before: Option<&Standing>, after: &Standing) -> Vec<Passed> {
    let start = |s: &Standing| s.period.map(|p| p.start);
    let before = before.filter(|b| start(b) == start(after));
    let known: Vec<_> = before.into_iter().flat_map(reached).map(|p| p.percent).collect();
    reached(after).filter(|p| !known.contains(&p.percent)).collect()
}

/// Tells the account's owner, unless that was done in this period; whether it was done now.
///
/// # Errors
/// Those of the table.
pub async fn warn(app: &App, passed: &Passed) -> Result<bool> {
    let Passed {
        standing,
        period,
        percent,
    } = *passed;
    let now = app.clock().now();
    let notice = Notice {
        user: standing.account,
        kind: NotificationType::UsageQuotaWarning,
        data: json!({
            "percent": percent, "used": standing.used, "quota": standing.quota,
            "periodStart": period.start, "periodEnd": period.end,
        }),
        dedupe: format!("{}#{percent}", period.start),
    };
    let warned = Warned {
        account: standing.account,
        period,
        percent,
        at: now,
    };
    let cause = Context::system("quota-warnings", now);
    let already = || Error::Conflict {
        code: ALREADY,
        detail: "the threshold was told already".into(),
    };
    let stays = Cond::item_exists().and(Cond::absent("deletingAt"));
    let tx = app
        .tx(&cause)
        .create_or(&warned, already)?
        .check(keys::user(standing.account), stays, already);
    match notifications::stage(tx, &notice)?.run().await {
        Ok(()) => {}
        Err(Error::Conflict { code: ALREADY, .. }) => return Ok(false),
        Err(error) => return Err(error),
    }
    // At once, without waiting for the stream to show the outbox row; if this fails, it does.
    outbox::publish(app, &[notifications::event(&notice, now)?]).await;
    Ok(true)
}

/// What a look at all ledgers did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweptQuotas {
    /// Warnings that the stream had not brought.
    pub warned: usize,
    /// Warnings that could not be given; the next run tries again.
    pub failed: usize,
}

/// Gives the warnings that the table's stream dropped. Two reads per hundred ledgers, where nothing is amiss.
///
/// # Errors
/// When the table does not answer. A warning that cannot be given does not stop the others.
pub async fn sweep(app: &App) -> Result<SweptQuotas> {
    let mut swept = SweptQuotas::default();
    let mut walk = app.db().walk(keys::ledger_heads, PAGE);
    while let Some(heads) = walk.next().await? {
        let missing = untold(app, &heads).await?;
        let work: Vec<_> = missing.iter().map(|passed| warn(app, passed)).collect();
        let done: Vec<_> = stream::iter(work).buffer_unordered(WIDTH).collect().await;
        for result in done {
            match result {
                Ok(now) => swept.warned += usize::from(now),
                Err(error) => {
                    swept.failed += 1;
                    tracing::error!(error = %error, cause = ?error, "a quota warning could not be given");
                }
            }
        }
    }
    Ok(swept)
}

/// What these heads have passed and nobody was told of.
async fn untold(app: &App, heads: &[Key]) -> Result<Vec<Passed>> {
    let mut found = app.db().batch(heads).await?;
    let mut all = Vec::new();
    for head in heads {
        let image = found.take(head);
        let standing = image.as_ref().map(ledger::standing).transpose()?.flatten();
        all.extend(standing.iter().flat_map(reached));
    }
    let mut left = Vec::new();
    // A batch takes a hundred keys.
    for some in all.chunks(100) {
        let key = |p: &Passed| keys::quota_warned(p.standing.account, p.period.start, p.percent);
        let marks: Vec<_> = some.iter().map(key).collect();
        let told = app.db().batch(&marks).await?;
        left.extend(some.iter().filter(|p| !told.has(&key(p))));
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Cbt;

    fn standing(used: i64, quota: i64, start: &str) -> Standing {
        let start: Timestamp = start.parse().unwrap();
        Standing {
            account: UserId::from_bytes([7; 16]),
            used: Cbt::micro(used),
            quota: Cbt::micro(quota),
            period: Some(Period {
                start,
                end: start + SignedDuration::from_hours(24 * 30),
            }),
        }
    }

    fn percents(before: Option<&Standing>, after: &Standing) -> Vec<u32> {
        between(before, after).iter().map(|p| p.percent).collect()
    }

    #[test]
    fn a_threshold_is_passed_by_the_change_that_reaches_it() {
        let at = |used| standing(used, 1_000, "2026-03-01T00:00:00Z");
        for (before, after, expected) in [
            (0, 499, &[][..]),
            (499, 500, &[50]),
            (500, 799, &[]),
            (400, 1_000, &[50, 80, 100]),
            (800, 2_000, &[100]),
            (900, 400, &[]),
            (400, 900, &[50, 80]),
        ] {
            assert_eq!(
                percents(Some(&at(before)), &at(after)),
                expected,
                "{before} to {after}"
            );
        }
        assert_eq!(percents(None, &at(800)), [50, 80]);
    }

    #[test]
    fn a_new_period_begins_again() {
        let old = standing(1_000, 1_000, "2026-03-01T00:00:00Z");
        let new = |used| standing(used, 1_000, "2026-04-01T00:00:00Z");
        assert_eq!(percents(Some(&old), &new(0)), [0_u32; 0]);
        assert_eq!(percents(Some(&old), &new(600)), [50]);
    }

    #[test]
    fn without_a_grant_or_a_period_there_is_nothing_to_warn_of() {
        assert_eq!(
            percents(None, &standing(5, 0, "2026-03-01T00:00:00Z")),
            [0_u32; 0]
        );
        let mut none = standing(5, 5, "2026-03-01T00:00:00Z");
        none.period = None;
        assert_eq!(percents(None, &none), [0_u32; 0]);
        assert_eq!(
            percents(
                None,
                &standing(i64::MAX / 2, i64::MAX / 2, "2026-03-01T00:00:00Z")
            ),
            [50, 80, 100]
        );
    }
}
