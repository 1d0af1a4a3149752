//! What Camarad's tests stand on: the local peers of the outside world, and `TestApp`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs
)]

pub mod app;
pub mod bank;
pub mod billing;
pub mod chain;
pub mod corpora;
pub mod deployed;
pub mod dice;
pub mod engine;
pub mod faults;
pub mod gateway;
pub mod linear;
pub mod lives;
pub mod openapi;
pub mod parent;
pub mod peers;
pub mod redrive;
pub mod routes;
pub mod sse;
pub mod visitor;
pub mod watched;
