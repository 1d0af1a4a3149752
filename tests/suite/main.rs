//! The story of the product, told as tests. One binary, so that everything is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods
)]

mod access;
mod account_deletion;
mod account_deletion_faults;
mod account_deletion_races;
mod account_export;
mod agents;
mod api_keys;
mod audit;
mod audit_export;
mod audit_seal;
mod audit_verify;
mod audit_walk;
mod audit_walk_entry;
mod audit_walk_scenes;
mod auth;
mod auth_github;
mod auth_link;
mod auth_magic_link;
mod auth_openid;
mod auth_refresh;
mod auth_refused;
mod billing;
mod billing_changes;
mod billing_closed;
mod billing_down;
mod billing_drift;
mod billing_kills;
mod billing_pages;
mod billing_proof;
mod billing_queue;
mod billing_refunds;
mod billing_requests;
mod billing_webhook;
mod cost;
mod deployed;
mod desk;
mod devices;
mod edge;
mod hostile;
mod idempotency;
mod ledger;
mod ledger_api;
mod ledger_caps;
mod ledger_consume;
mod ledger_export;
mod ledger_faulty;
mod ledger_holds;
mod ledger_kills;
mod ledger_linear;
mod ledger_lots;
mod ledger_model;
mod ledger_proof;
mod ledger_refunds;
mod ledger_voids;
mod limits;
mod mailer;
mod meta;
mod notifications;
mod onboarding;
mod onboarding_left;
mod onboarding_undone;
mod openapi;
mod outbox;
mod permissions;
mod preferences;
mod quota;
mod routes;
mod runtime;
mod runtime_ends;
mod runtime_faults;
mod runtime_money;
mod runtime_once;
mod second_factor;
mod security;
mod signing_keys;
mod step_up;
mod store;
mod tidy;
mod usage;
mod usage_charts;
mod usage_export;
mod usage_proof;
mod usage_record;
mod users;
mod walk;
mod watched;
mod workspace_deletion;
mod workspace_settings;
mod workspaces;
