//! What Camarad does, one module per concern. Nothing here knows HTTP or the AWS SDK.

pub mod agents;
pub mod audit;
pub mod auth;
pub mod billing;
pub mod cloud_event;
mod csv;
pub mod current;
pub mod ledger;
pub mod mail;
pub mod manner;
pub mod merge;
pub mod name;
pub mod notifications;
pub mod onboarding;
pub mod outbox;
pub mod permissions;
pub mod plans;
pub mod runtime;
pub mod usage;
pub mod users;
pub mod workspaces;
