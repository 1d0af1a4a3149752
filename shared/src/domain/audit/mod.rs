//! The audit log: reading it, and what makes it tamper-evident.
//!
//! Records are written by `Tx` with their effect, in no order and by many writers at once. A sealer per chain (each
//! workspace, each account, the platform) then gives each record its number and hash. What is sealed, checked by
//! infra/verify-audit.mjs without any part of this service:
//!
//! - `recordHash` = SHA-256 of the record's canonical JSON (RFC 8785), base64url.
//! - `hash` = SHA-256 of the lines `camarad/audit/v1`, scope, number, hash of the one before, `recordHash` and the
//!   record's end of life, joined by line feeds. Before number 1 comes SHA-256 of `camarad/audit/v1`, scope and 0.
//! - A statement is scope, number, hash and time, signed with Ed25519. The head statement says where a chain ends; it is
//!   kept in the table, and outside of it in the sealer's log, which nobody may delete from. A checkpoint says where a
//!   chain begins once the records before have lived to their end.
//!
//! The order of a chain is that of sealing: a record whose commit came late gets a later number. Seals stay until a
//! checkpoint has passed them, so that records of a shorter life in the middle leave no gap.

pub mod chain;
mod csv;
pub mod export;
pub mod filter;
pub mod person;
pub mod read;
pub mod refusal;
pub mod seal;
pub mod sweep;
pub mod view;
