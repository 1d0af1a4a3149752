//! What a request costs in DynamoDB: calls, serial round trips and capacity units, counted as the engine reports
//! them (ReturnConsumedCapacity). The access log carries the figures and the `cost` snapshot pins them per route.

use std::cell::RefCell;
use std::future::Future;

/// Figures of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Requests sent to DynamoDB.
    pub calls: u32,
    /// Round trips that had to wait for an earlier one: calls that ran side by side count once.
    pub serial: u32,
    /// Read capacity units.
    pub rcu: f64,
    /// Write capacity units.
    pub wcu: f64,
    in_flight: u32,
}

tokio::task_local! {
    static COST: RefCell<Cost>;
}

/// Runs `work` and counts what it costs.
pub async fn metered<T>(work: impl Future<Output = T>) -> (T, Cost) {
    COST.scope(RefCell::new(Cost::default()), async {
        let out = work.await;
        (out, so_far())
    })
    .await
}

/// What the running request has cost until now; zero outside `metered`.
pub fn so_far() -> Cost {
    COST.try_with(|c| *c.borrow()).unwrap_or_default()
}

/// A call that is on its way; ends when dropped.
pub(super) struct Call(());

pub(super) fn begin() -> Call {
    let _ = COST.try_with(|c| {
        let mut c = c.borrow_mut();
        c.calls += 1;
        c.serial += u32::from(c.in_flight == 0);
        c.in_flight += 1;
    });
    Call(())
}

impl Drop for Call {
    fn drop(&mut self) {
        let _ = COST.try_with(|c| c.borrow_mut().in_flight -= 1);
    }
}

pub(super) fn read(units: f64) {
    let _ = COST.try_with(|c| c.borrow_mut().rcu += units);
}

pub(super) fn wrote(units: f64) {
    let _ = COST.try_with(|c| c.borrow_mut().wcu += units);
}
