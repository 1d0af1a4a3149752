//! What the outside offers, as traits with their real clients. Domain code sees the traits alone.

pub mod ai;
pub mod mail;
pub mod oidc;
pub mod queue;
pub mod secrets;
pub mod stripe;
pub mod vault;
pub mod web;
pub mod workflow;
