//! Seeded randomness for tests, so that a failure can be played again.

use futures_util::{StreamExt, stream};

/// A source of random numbers: SplitMix64.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, which depends on this one.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in so many of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).expect("an index")]
    }
}

/// How much of the long proofs to run: 1 in `make test`, more in `make proof` (CAMARAD_PROOF).
pub fn share() -> u64 {
    std::env::var("CAMARAD_PROOF")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1)
}

/// Proves something for each of these cases, four at a time, as a proof waits more than it works.
///
/// # Panics
/// When one fails, with its name.
pub async fn each<C, F>(cases: impl IntoIterator<Item = C>, proof: impl Fn(C) -> F)
where
    C: std::fmt::Debug + Clone,
    F: Future<Output = ()> + Send + 'static,
{
    let run = |case: C| {
        let proof = tokio::spawn(proof(case.clone()));
        async move { (case, proof.await) }
    };
    let mut proofs = stream::iter(cases).map(run).buffer_unordered(4);
    while let Some((case, proved)) = proofs.next().await {
        proved.unwrap_or_else(|e| panic!("{case:?}: {e}"));
    }
}
