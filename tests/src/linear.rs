//! Whether a history of concurrent operations is linearizable: whether there is an order in which each takes effect at
//! one moment between its call and its answer, and each answer is what a sequential object would have given.
//!
//! The search is that of Wing and Gong, with the states already tried remembered (Lowe). Written here rather than taken
//! from the crate `stateright`: its tester remembers no states, so eight clients with lost answers can take it forever,
//! and it brings a model checker with an HTTP explorer.

use std::collections::HashSet;
use std::hash::Hash;

/// One operation of a history, between two moments of the same clock.
#[derive(Debug, Clone)]
pub struct Op<C> {
    /// When it was called.
    pub called: u64,
    /// When it was answered; `u64::MAX` when nobody knows whether it happened.
    pub answered: u64,
    /// What was asked and answered.
    pub what: C,
}

/// What the object would do, one operation after the other.
pub trait Sequential: Clone + Eq + Hash {
    /// What was asked and answered.
    type What;
    /// The state after it; `None` when it would have answered otherwise.
    fn after(&self, what: &Self::What) -> Option<Self>;
}

/// Whether an order of these operations explains them, beginning with `state`. At most 128.
///
/// # Panics
/// With more operations.
pub fn is_linearizable<S: Sequential>(state: &S, history: &[Op<S::What>]) -> bool {
    assert!(history.len() <= 128, "too long for the set of what is done");
    search(state, history, 0, &mut HashSet::new())
}

fn search<S: Sequential>(
    state: &S,
    history: &[Op<S::What>],
    done: u128,
    tried: &mut HashSet<(u128, S)>,
) -> bool {
    let open = || {
        history
            .iter()
            .enumerate()
            .filter(move |(n, _)| done & (1 << n) == 0)
    };
    // What was answered before another was called comes before it.
    let bound = open().map(|(_, op)| op.answered).min().unwrap_or(u64::MAX);
    if bound == u64::MAX {
        return true; // what is left may never have happened
    }
    if !tried.insert((done, state.clone())) {
        return false;
    }
    open().filter(|(_, op)| op.called <= bound).any(|(n, op)| {
        let next = state.after(&op.what);
        next.is_some_and(|next| search(&next, history, done | (1 << n), tried))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, Eq, Hash)]
    struct Register(u32);

    enum What {
        Write(u32),
        Read(u32),
    }

    impl Sequential for Register {
        type What = What;
        fn after(&self, what: &What) -> Option<Self> {
            match what {
                What::Write(n) => Some(Self(*n)),
                What::Read(n) => (*n == self.0).then(|| self.clone()),
            }
        }
    }

    fn op(called: u64, answered: u64, what: What) -> Op<What> {
        Op {
            called,
            answered,
            what,
        }
    }

    #[test]
    fn an_order_is_found_where_there_is_one() {
        let overlapping = [
            op(1, 10, What::Write(1)),
            op(2, 4, What::Read(1)),
            op(5, 6, What::Read(1)),
        ];
        assert!(is_linearizable(&Register(0), &overlapping));
        let lost = [
            op(1, u64::MAX, What::Write(1)),
            op(2, 4, What::Read(0)),
            op(5, 6, What::Read(1)),
        ];
        assert!(is_linearizable(&Register(0), &lost));
    }

    #[test]
    fn none_is_found_where_there_is_none() {
        let back = [
            op(1, 10, What::Write(1)),
            op(2, 4, What::Read(1)),
            op(5, 6, What::Read(0)),
        ];
        assert!(!is_linearizable(&Register(0), &back));
        let stale = [op(1, 2, What::Write(1)), op(3, 4, What::Read(0))];
        assert!(!is_linearizable(&Register(0), &stale));
    }
}
