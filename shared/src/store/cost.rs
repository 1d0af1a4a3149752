//! What a request costs in DynamoDB: calls, serial round trips and capacity units, counted as the engine reports
//! them (ReturnConsumedCapacity). The access log carries the figures and the `cost` snapshot pins them per route.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

#[derive(Debug, Clone, Default)]
struct Meter(Arc<Mutex<Cost>>);

impl Meter {
    fn lock(&self) -> MutexGuard<'_, Cost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

tokio::task_local! {
    static COST: Meter;
}

/// Runs `work` and counts what it costs.
pub async fn metered<T>(work: impl Future<Output = T>) -> (T, Cost) {
    COST.scope(Meter::default(), async {
        let out = work.await;
        (out, so_far())
    })
    .await
}

/// Makes what `work` costs count where this is called, even if `work` becomes a task of its own.
pub fn inherit<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let meter = COST.try_with(Meter::clone).unwrap_or_default();
    COST.scope(meter, work)
}

/// What the running request has cost until now; zero outside `metered`.
pub fn so_far() -> Cost {
    COST.try_with(|c| *c.lock()).unwrap_or_default()
}

/// A call that is on its way; ends when dropped.
pub(super) struct Call(Option<Meter>);

pub(super) fn begin() -> Call {
    let meter = COST.try_with(Meter::clone).ok();
    if let Some(meter) = &meter {
        let mut cost = meter.lock();
        cost.calls += 1;
        cost.serial += u32::from(cost.in_flight == 0);
        cost.in_flight += 1;
    }
    Call(meter)
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(meter) = &self.0 {
            meter.lock().in_flight -= 1;
        }
    }
}

pub(super) fn read(units: f64) {
    let _ = COST.try_with(|c| c.lock().rcu += units);
}

pub(super) fn wrote(units: f64) {
    let _ = COST.try_with(|c| c.lock().wcu += units);
}
