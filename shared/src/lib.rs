//! Camarad's domain logic, shared by every Lambda function.
//!
//! Layers, each knowing only those to its right: functions → `http`, `lambda` → `domain` → `store`, `ports` → AWS SDK.

pub mod aead;
pub mod app;
pub mod canonical;
pub mod cbt_price;
pub mod clock;
pub mod config;
pub mod context;
pub mod domain;
pub mod error;
pub mod html;
pub mod http;
pub mod ids;
pub mod lambda;
pub mod money;
pub mod personal;
pub mod ports;
pub mod random;
pub mod reply;
pub mod store;
