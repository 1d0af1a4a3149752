//! The AI call: from a person's message to an answer that streams, is stored, and is charged for exactly what came.
//!
//! - *Admission* (`admission`): one batch read with rate counters, the conversation's tail and the Idempotency-Key's claim
//!   beside it, then one reserve: two serial round trips before the request goes upstream. A third comes only when the
//!   balance is nearly empty (a second, smaller reserve) or the key is known already.
//! - *The driver* (`driver`): a task that owns the call upstream, the checkpoints and the settlement. Whoever listens only
//!   holds the other end of a bounded channel; that nobody listens changes nothing. The channel closes after the
//!   settlement, as a function is frozen when its answer ends.
//! - *Settlement* (`settlement`): turn, conversation and bill in one transaction, then the end of the hold.
//!
//! What a running call costs the table: one checkpoint when it starts and every five seconds (a write of the hold's row and
//! its place in the index), and one consistent read of that row (one capacity unit at most) in each other second, by which
//! `stop` is heard.

mod admission;
pub mod catalogue;
mod claim;
mod driver;
mod history;
mod meter;
pub mod pricing;
mod prompt;
mod receipt;
mod settlement;

pub use admission::{Ask, AskRequest, Begun, Found, Items, begin, messages_per_hour};
pub use claim::{Claim, Taken, take};
pub use driver::{Out, Running};
pub use history::{Conversation, ConversationView, Turn, TurnView, conversations, tail, turns};
pub use prompt::estimate;
pub use receipt::{Answer, CallState, Receipt, Stopping, receipt, stop};
