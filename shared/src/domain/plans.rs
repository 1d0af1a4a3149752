//! The plans: prices, limits and monthly cbT. The one place that knows them.

use serde::{Deserialize, Serialize};

use crate::money::Cbt;

/// How long a trial lasts.
pub const TRIAL_DAYS: i64 = 15;

/// A plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// For one person.
    Personal,
    /// For a company.
    Business,
    /// For an agency that shares one pool of cbT with its members.
    Agency,
    /// By contract.
    Custom,
}

/// What a plan allows. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Workspaces that the account owns.
    pub workspaces: Option<u32>,
    /// Agents in all of them.
    pub agents: Option<u32>,
    /// Distinct members in all of them.
    pub members: Option<u32>,
}

/// Whose cbT a call spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The acting user's own.
    Own,
    /// The workspace owner's, shared with the members.
    Shared,
}

/// What everything is priced in, ISO 4217 as Stripe writes it.
pub const CURRENCY: &str = "usd";

/// How long full use goes on after a renewal that could not be charged.
pub const GRACE_DAYS: i64 = 7;

/// cbT that can be bought on top, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopUp {
    /// How many whole cbT.
    pub cbt: i64,
    /// In US cents, without tax.
    pub price_cents: i64,
}

/// The packs, smallest first.
pub const TOP_UPS: [TopUp; 3] = [
    TopUp {
        cbt: 10_000,
        price_cents: 900,
    },
    TopUp {
        cbt: 50_000,
        price_cents: 4_000,
    },
    TopUp {
        cbt: 200_000,
        price_cents: 14_000,
    },
];

impl TopUp {
    /// The pack of this many cbT.
    pub fn find(cbt: i64) -> Option<Self> {
        TOP_UPS.into_iter().find(|pack| pack.cbt == cbt)
    }

    /// What its price is called at Stripe.
    pub fn lookup_key(self) -> String {
        format!("camarad_topup_{}", self.cbt)
    }
}

/// How long the cbT of a period can be spent after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollover {
    /// This many further periods.
    Periods(u8),
    /// Always.
    Forever,
}

/// Agents that may be active at once in one workspace, on every plan.
pub const ACTIVE_AGENTS: u32 = 10;

impl Plan {
    /// Every plan.
    pub const ALL: [Plan; 4] = [Plan::Personal, Plan::Business, Plan::Agency, Plan::Custom];

    /// The plan's limits.
    pub fn limits(self) -> Limits {
        let (workspaces, agents, members) = match self {
            Self::Personal => (Some(3), Some(5), Some(1)),
            Self::Business => (Some(10), Some(10), Some(5)),
            Self::Agency => (None, Some(20), Some(20)),
            Self::Custom => (None, None, None),
        };
        Limits {
            workspaces,
            agents,
            members,
        }
    }

    /// cbT granted each month; `None` by contract.
    pub fn monthly_cbt(self) -> Option<Cbt> {
        match self {
            Self::Personal => Some(Cbt::whole(10_000)),
            Self::Business => Some(Cbt::whole(40_000)),
            Self::Agency => Some(Cbt::whole(150_000)),
            Self::Custom => None,
        }
    }

    /// Whose cbT calls in the plan's workspaces spend.
    pub fn pool(self) -> Pool {
        match self {
            Self::Personal | Self::Business => Pool::Own,
            Self::Agency | Self::Custom => Pool::Shared,
        }
    }

    /// Messages an hour per agent; `None` is unlimited.
    pub fn messages_per_hour(self) -> Option<u32> {
        match self {
            Self::Personal => Some(100),
            Self::Business | Self::Agency => Some(500),
            Self::Custom => None,
        }
    }

    /// The longest that a workspace on this plan keeps its audit records, in days: a year, or seven.
    pub fn audit_days(self) -> u16 {
        match self {
            Self::Personal => 365,
            Self::Business | Self::Agency | Self::Custom => 2_555,
        }
    }

    /// US cents a month, without tax; `None` by contract.
    pub fn price_cents(self) -> Option<i64> {
        match self {
            Self::Personal => Some(1_200),
            Self::Business => Some(4_900),
            Self::Agency => Some(14_900),
            Self::Custom => None,
        }
    }

    /// How long a month's cbT can be spent after it.
    pub fn rollover(self) -> Rollover {
        match self {
            Self::Personal => Rollover::Periods(0),
            Self::Business => Rollover::Periods(1),
            Self::Agency => Rollover::Periods(2),
            Self::Custom => Rollover::Forever,
        }
    }

    /// Its id on the wire.
    pub fn id(self) -> &'static str {
        match self {
            Self::Personal => "personal",
            Self::Business => "business",
            Self::Agency => "agency",
            Self::Custom => "custom",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Personal => "Personal",
            Self::Business => "Business",
            Self::Agency => "Agency",
            Self::Custom => "Custom",
        }
    }

    /// The plan with this id.
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.id() == id)
    }

    /// What its monthly price is called at Stripe.
    pub fn lookup_key(self) -> String {
        format!("camarad_{}_monthly", self.id())
    }

    /// Whether a person can start it by themselves.
    pub fn self_service(self) -> bool {
        self != Self::Custom
    }
}

/// The plan whose monthly price at Stripe is called so.
pub fn plan_of_price(lookup_key: &str) -> Option<Plan> {
    Plan::ALL.into_iter().find(|plan| plan.lookup_key() == lookup_key)
}

/// What Stripe must know to sell: products and prices, each with its lookup key. `infra/stripe/catalogue.json` is
/// written from it.
pub fn catalogue() -> serde_json::Value {
    let plans = Plan::ALL.into_iter().filter_map(|plan| {
        Some(serde_json::json!({
            "id": plan.id(),
            "name": format!("Camarad {}", plan.name()),
            "lookupKey": plan.lookup_key(),
            "priceCents": plan.price_cents()?,
        }))
    });
    let packs = TOP_UPS.into_iter().map(|pack| {
        serde_json::json!({
            "cbt": pack.cbt,
            "name": format!("{},000 cbT", pack.cbt / 1_000),
            "lookupKey": pack.lookup_key(),
            "priceCents": pack.price_cents,
        })
    });
    serde_json::json!({
        "currency": CURRENCY,
        "plans": plans.collect::<Vec<_>>(),
        "topUps": packs.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_found_by_its_id_and_by_its_price() {
        for plan in Plan::ALL {
            assert_eq!(Plan::parse(plan.id()), Some(plan));
            assert_eq!(plan_of_price(&plan.lookup_key()), Some(plan));
        }
        assert_eq!(Plan::parse("free"), None);
    }
}
