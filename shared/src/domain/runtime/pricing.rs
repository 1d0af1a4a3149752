//! What tokens cost: list price by kind, in cbT at the price that the deployment gives them. All sums are exact; a call's
//! cost is rounded up once.

use super::catalogue::Price;
use crate::cbt_price::CbtPrice;
use crate::error::{Error, Result};
use crate::money::{Amount, Cbt, Positive};

/// Pico-USD in one micro-USD.
const PICO_PER_MICRO: u128 = 1_000_000;

/// The largest amount that `Amount` takes, in micro-cbT. More than that is beyond every hold anyway.
const MAX_MICRO: u128 = 1_000_000_000_000_000_000;

/// Tokens of one call by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Read, the cached ones among them.
    pub input: u64,
    /// Of these, read from the provider's prompt cache.
    pub cached: u64,
    /// Written.
    pub output: u64,
}

impl Tokens {
    /// At list price, in pico-USD.
    fn pico_usd(self, price: &Price) -> u128 {
        let cached = self.cached.min(self.input);
        let kinds = [
            (self.input - cached, price.input()),
            (cached, price.cached()),
            (self.output, price.output()),
        ];
        kinds
            .into_iter()
            .map(|(tokens, each)| u128::from(tokens) * u128::from(each))
            .sum()
    }

    /// What the caller pays, rounded up to a micro-cbT.
    ///
    /// # Errors
    /// None in practice: the sum is kept in the bounds of `Amount`.
    pub fn cost(self, price: &Price, cbt: &CbtPrice) -> Result<Amount> {
        let micro = self.pico_usd(price).div_ceil(cbt.pico_usd()).min(MAX_MICRO);
        let micro = i64::try_from(micro).map_err(Error::internal)?;
        Amount::new(Cbt::micro(micro)).map_err(Error::internal)
    }

    /// What the provider charges at list price, rounded up to a micro-USD.
    pub fn micro_usd(self, price: &Price) -> u64 {
        u64::try_from(self.pico_usd(price).div_ceil(PICO_PER_MICRO)).unwrap_or(u64::MAX)
    }
}

/// What is set aside for a prompt of so many tokens and an answer of at most so many.
///
/// # Errors
/// `Internal` for a call of no tokens at all, which there is none of.
pub fn hold(price: &Price, cbt: &CbtPrice, input: u64, max_tokens: u32) -> Result<Positive> {
    let most = Tokens {
        input,
        cached: 0,
        output: max_tokens.into(),
    };
    Positive::new(most.cost(price, cbt)?.cbt()).map_err(Error::internal)
}

/// The longest answer that `available` covers besides the prompt.
pub fn affordable(price: &Price, cbt: &CbtPrice, input: u64, available: Cbt) -> u32 {
    let micro = u128::try_from(available.as_micro()).unwrap_or(0);
    let prompt = u128::from(input) * u128::from(price.input());
    let left = (micro * cbt.pico_usd()).saturating_sub(prompt);
    u32::try_from(left / u128::from(price.output())).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::catalogue::{self, MODELS};
    use super::*;

    fn mini() -> &'static Price {
        &catalogue::find("gpt-4o-mini").unwrap().price
    }

    fn usual() -> CbtPrice {
        CbtPrice::default()
    }

    /// So many pico-dollars a micro-cbT.
    fn at(pico: u32) -> CbtPrice {
        CbtPrice::parse(Some(&Cbt::micro(pico.into()).to_string()), Some("own")).unwrap()
    }

    #[test]
    fn a_dearer_cbt_pays_for_more_tokens() {
        let tokens = Tokens {
            input: 1_000,
            cached: 0,
            output: 0,
        };
        let cost = |pico| tokens.cost(mini(), &at(pico)).unwrap().cbt().as_micro();
        assert_eq!((cost(500), cost(1_000), cost(7)), (300_000, 150_000, 21_428_572));
    }

    #[test]
    fn a_thousand_cbt_is_half_a_dollar_of_list_price() {
        // 1,000,000 tokens read at USD 0.15 and 583,333⅓ written at USD 0.60 make USD 0.50.
        let tokens = Tokens {
            input: 1_000_000,
            cached: 0,
            output: 583_334,
        };
        assert_eq!(
            tokens.cost(mini(), &usual()).unwrap().cbt().to_string(),
            "1000.0008"
        );
        assert_eq!(tokens.micro_usd(mini()), 500_001);
    }

    #[test]
    fn each_kind_has_its_price_and_the_sum_is_rounded_up_once() {
        let cost = |input, cached, output| {
            Tokens {
                input,
                cached,
                output,
            }
            .cost(mini(), &usual())
            .unwrap()
            .cbt()
            .as_micro()
        };
        assert_eq!(cost(1, 0, 0), 300);
        assert_eq!(cost(1, 1, 0), 150);
        assert_eq!(cost(0, 0, 1), 1200);
        assert_eq!(cost(20, 5, 3), 15 * 300 + 5 * 150 + 3 * 1200);
        assert_eq!(cost(0, 0, 0), 0);
        let nano = &catalogue::find("gpt-4.1-nano").unwrap().price;
        // 25,000 pico-USD are 50 micro-cbT, without a rest; 3 × 1 + … stays exact.
        assert_eq!(
            Tokens {
                input: 3,
                cached: 3,
                output: 0
            }
            .cost(nano, &usual())
            .unwrap()
            .cbt()
            .as_micro(),
            150
        );
    }

    #[test]
    fn more_cached_than_read_is_all_cached() {
        let tokens = Tokens {
            input: 2,
            cached: 9,
            output: 0,
        };
        assert_eq!(tokens.cost(mini(), &usual()).unwrap().cbt().as_micro(), 300);
    }

    #[test]
    fn absurd_figures_do_not_overflow() {
        let most = Tokens {
            input: u64::MAX,
            cached: 0,
            output: u64::MAX,
        };
        for model in &MODELS {
            assert_eq!(
                most.cost(&model.price, &usual()).unwrap().cbt().as_micro(),
                1_000_000_000_000_000_000,
                "{}",
                model.id
            );
            assert!(most.micro_usd(&model.price) > 0);
        }
    }

    proptest! {
        #[test]
        fn what_is_affordable_is_covered_and_one_token_more_is_not(
            model in 0..MODELS.len(), input in 1_u64..2_000_000, available in 0_i64..10_000_000_000_000,
            pico in 1_u32..1_000_000,
        ) {
            let (price, cbt) = (&MODELS[model].price, at(pico));
            let available = Cbt::micro(available);
            let most = affordable(price, &cbt, input, available);
            if most > 0 {
                prop_assert!(hold(price, &cbt, input, most).unwrap().cbt() <= available);
            }
            if most < u32::MAX {
                prop_assert!(hold(price, &cbt, input, most + 1).unwrap().cbt() > available);
            }
        }

        #[test]
        fn no_call_within_its_estimate_costs_more_than_its_hold(
            model in 0..MODELS.len(), input in 1_u64..1_000_000, cached in 0_u64..1_000_000, max in 1_u32..64_000, part in 0.0..=1.0,
            pico in 1_u32..1_000_000,
        ) {
            let (price, cbt) = (&MODELS[model].price, at(pico));
            let output = (f64::from(max) * part) as u64;
            let cost = Tokens { input, cached, output }.cost(price, &cbt).unwrap();
            prop_assert!(cost <= hold(price, &cbt, input, max).unwrap().amount());
        }
    }
}
