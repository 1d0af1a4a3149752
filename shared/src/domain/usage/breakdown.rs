//! Who used how much of the whole: shares that add up to exactly 100 percent.

use jiff::Timestamp;
use serde::Serialize;

use super::bucket::Bucket;
use super::counter::{Counts, Dimension};
use super::stats::{CountsView, StatsQuery, span};
use super::sums::Sources;
use super::zone::Zone;
use crate::domain::agents::Agent;
use crate::domain::workspaces::Workspace;
use crate::error::{Error, Result};
use crate::ids::AgentId;
use crate::store::{Db, keys};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct BreakdownQuery {
    /// By whose calendar.
    pub zone: Zone,
    /// A moment in the first day; thirty days before the last, when absent.
    pub from: Option<Timestamp>,
    /// The end, itself not included; now, when absent.
    pub to: Option<Timestamp>,
    /// What the whole is divided by.
    pub group_by: Dimension,
}

/// One part of the whole.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartView {
    /// The agent's, member's or workspace's id, or the model's name.
    pub key: String,
    /// The agent's name, while there is the agent, or the workspace's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its sums.
    #[serde(flatten)]
    pub counts: CountsView,
    /// Its share of what was charged, in percent with two decimals. All shares add up to exactly 100; if nothing was
    /// charged, all are 0.
    pub cost_percent: f64,
    /// Its share of the calls, likewise.
    pub calls_percent: f64,
}

/// Who used how much.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakdownView {
    /// What the whole is divided by.
    pub group_by: Dimension,
    /// By the calendar of which time zone.
    pub timezone: String,
    /// The start of the first day.
    #[schema(value_type = String, format = DateTime)]
    pub from: Timestamp,
    /// The end of the last day.
    #[schema(value_type = String, format = DateTime)]
    pub to: Timestamp,
    /// The parts, the most expensive first.
    pub items: Vec<PartView>,
    /// The whole.
    pub totals: CountsView,
}

/// Divides what these workspaces used in whole days.
///
/// # Errors
/// `Invalid` on `query.groupBy`, `query.from` or `query.to`.
pub async fn breakdown(
    db: &Db,
    workspaces: &[Workspace],
    query: &BreakdownQuery,
    now: Timestamp,
) -> Result<BreakdownView> {
    if query.group_by == Dimension::All {
        return Err(Error::field(
            "query.groupBy",
            "must be agent, model, member or workspace",
        ));
    }
    let days = StatsQuery {
        range: Bucket::Day,
        zone: query.zone.clone(),
        from: query.from,
        to: query.to,
        group_by: query.group_by,
    };
    let days = span(&days, now)?;
    let (Some(from), Some(to)) = (days.first(), days.last()) else {
        return Err(Error::internal("a span without days"));
    };
    let ids: Vec<_> = workspaces.iter().map(|w| w.id).collect();
    let sources = Sources {
        db,
        workspaces: &ids,
        dimension: query.group_by,
    };
    let mut sums = sources.between(Bucket::Day, &[*from, *to]).await?;
    let mut parts: Vec<_> = sums.pop().unwrap_or_default().into_iter().collect();
    parts.sort_by(|(a, x), (b, y)| (y.cost, y.calls).cmp(&(x.cost, x.calls)).then(a.cmp(b)));
    let totals = parts.iter().fold(Counts::default(), |sum, (_, c)| sum.plus(*c));
    let names = match query.group_by {
        Dimension::Workspace => names_of(workspaces, &parts),
        by => names(db, by, &parts).await?,
    };
    Ok(BreakdownView {
        group_by: query.group_by,
        timezone: query.zone.name().to_owned(),
        from: *from,
        to: *to,
        items: views(parts, names),
        totals: totals.into(),
    })
}

fn views(parts: Vec<(String, Counts)>, names: Vec<Option<String>>) -> Vec<PartView> {
    let shares = |of: fn(&Counts) -> i64| shares(&parts.iter().map(|(_, c)| of(c)).collect::<Vec<_>>());
    let (by_cost, by_calls) = (shares(|c| c.cost), shares(|c| c.calls));
    let shares = by_cost.into_iter().zip(by_calls);
    let parts = parts.into_iter().zip(names).zip(shares);
    parts
        .map(|(((key, counts), name), (cost, calls))| PartView {
            key,
            name,
            counts: counts.into(),
            cost_percent: percent(cost),
            calls_percent: percent(calls),
        })
        .collect()
}

/// The names of workspaces, in the order of the parts.
fn names_of(workspaces: &[Workspace], parts: &[(String, Counts)]) -> Vec<Option<String>> {
    let name = |key: &String| {
        let found = workspaces.iter().find(|w| w.id.to_string() == *key);
        found.map(|w| w.name.clone())
    };
    parts.iter().map(|(key, _)| name(key)).collect()
}

/// The names of agents that still exist, in the order of the parts.
async fn names(db: &Db, by: Dimension, parts: &[(String, Counts)]) -> Result<Vec<Option<String>>> {
    let mut names = Vec::with_capacity(parts.len());
    // A batch takes a hundred keys.
    for some in parts.chunks(100) {
        let agents: Vec<Option<AgentId>> = match by {
            Dimension::Agent => some.iter().map(|(key, _)| key.parse().ok()).collect(),
            _ => vec![None; some.len()],
        };
        let wanted: Vec<_> = agents.iter().flatten().map(|id| keys::agent(*id)).collect();
        let mut found = db.batch(&wanted).await?;
        for agent in agents {
            let agent = match agent {
                Some(id) => found.read::<Agent>(&keys::agent(id))?,
                None => None,
            };
            names.push(agent.map(|a| a.name));
        }
    }
    Ok(names)
}

/// Hundredths of a percent as a number of two decimals.
fn percent(hundredths: i64) -> f64 {
    // Exact: they are at most 10,000.
    i32::try_from(hundredths).map_or(0.0, |h| f64::from(h) / 100.0)
}

/// All of it, in hundredths of a percent.
const WHOLE: i128 = 10_000;

/// The shares of parts in hundredths of a percent, which add up to the whole: each is rounded down, and those that lost
/// most by it get one more (the largest remainder method; of equals, the first). Zeros, if the whole is nothing.
fn shares(parts: &[i64]) -> Vec<i64> {
    let part = |n: &i64| i128::from((*n).max(0));
    let total: i128 = parts.iter().map(part).sum();
    if total == 0 {
        return vec![0; parts.len()];
    }
    let mut shares: Vec<_> = parts.iter().map(|n| part(n) * WHOLE / total).collect();
    let mut order: Vec<_> = parts
        .iter()
        .map(|n| part(n) * WHOLE % total)
        .enumerate()
        .collect();
    order.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
    let missing = WHOLE - shares.iter().sum::<i128>();
    for (place, _) in order.into_iter().take(usize::try_from(missing).unwrap_or(0)) {
        if let Some(share) = shares.get_mut(place) {
            *share += 1;
        }
    }
    shares
        .into_iter()
        .map(|s| i64::try_from(s).unwrap_or(0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirds_add_up_to_the_whole() {
        assert_eq!(shares(&[1, 1, 1]), [3_334, 3_333, 3_333]);
        assert_eq!(shares(&[2, 1]), [6_667, 3_333]);
        assert_eq!(shares(&[0, 5]), [0, 10_000]);
        assert_eq!(shares(&[0, 0]), [0, 0]);
        assert_eq!(shares(&[]), [0_i64; 0]);
    }

    #[test]
    fn shares_add_up_to_exactly_a_hundred_percent_and_are_off_by_less_than_one_hundredth() {
        let mut seed: u64 = 7;
        let mut next = |bound: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        for _ in 0..2_000 {
            let bound = 10_u64.pow(u32::try_from(next(9) + 1).unwrap());
            let parts: Vec<_> = (0..next(40) + 1)
                .map(|_| i64::try_from(next(bound)).unwrap())
                .collect();
            let (shares, total) = (shares(&parts), parts.iter().sum::<i64>());
            if total == 0 {
                continue;
            }
            assert_eq!(shares.iter().sum::<i64>(), 10_000, "{parts:?}");
            for (share, part) in shares.iter().zip(&parts) {
                let off = i128::from(*share) * i128::from(total) - i128::from(*part) * 10_000;
                assert!(off.abs() < i128::from(total), "{share} of {part} in {total}");
            }
            let shown: f64 = shares.iter().map(|s| percent(*s) * 100.0).sum();
            assert!((shown - 10_000.0).abs() < 1e-6);
        }
    }
}
