//! Language models behind one call: OpenAI-compatible endpoints and scripted rules.
//!
//! [`Models::turn`] takes a chain of references (`provider/model` or an alias) and tries each in turn: one retry
//! within a model where the fault may pass, then the next of the chain. Cancelling the token ends the turn at
//! whatever it waits for; no task is spawned, so nothing outlives the future.
//!
//! Providers are reached lazily: nothing is opened, read or built before the first turn that needs it. Keys and
//! headers never appear in errors or logs.
//!
//! Knows neither sessions nor tools beyond what a request carries: transcripts belong to the gateway.
#![warn(missing_docs)]

mod error;
mod message;
mod models;
mod openai;
mod reference;
mod scripted;
mod usage;

pub use error::{ModelError, ModelFault, TurnFailure};
pub use message::{
    BadArguments, Message, StopReason, ToolCall, ToolSpec, TurnReply, TurnRequest, Usage,
};
pub use models::{ModelView, Models, TestReport};
