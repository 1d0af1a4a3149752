//! The edge: what turns a request into a permitted, validated call of the domain, and its result into an answer.

mod answer;
pub mod body;
pub mod bounds;
pub mod caller;
mod claimed;
mod client;
pub mod cookies;
pub mod edge;
pub mod events;
pub mod file;
pub mod form;
mod json;
pub mod limit;
pub mod member;
pub mod once;
mod origin;
pub mod pairs;
pub mod precondition;
pub mod problem;
pub mod query;
mod scopes;
mod service;

pub use body::{Body, OptionalBody, Raw};
pub use caller::{Caller, Credential, Fresh, Operator};
pub use client::Deadline;
pub use events::Events;
pub use form::FormOrBody;
pub use member::{AgentMember, Member, OneOrOwned};
pub use once::{Once, OnceRequired};
pub use pairs::Pairs;
pub use precondition::{IfMatch, IfNoneMatch};
pub use query::{Execution, Id, Paging, Query};
pub use service::Service;
