//! What Camarad's tests stand on: the local peers of the outside world, and `TestApp`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

pub mod app;
pub mod deployed;
pub mod engine;
pub mod openapi;
pub mod peers;
pub mod routes;
pub mod sse;
pub mod visitor;
pub mod watched;
