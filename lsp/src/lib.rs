//! The language server as a library: documents, positions, the protocol's methods and the thread that owns the model.
//!
//! It knows the engine only by `diffcoder_engine::infiller` and `diffcoder_engine::cancel`.

pub mod after_fill;
pub mod backend;
pub mod client_log;
pub mod config;
pub mod holes;
pub mod line_endings;
pub mod position;
pub mod server;
pub mod stats;

mod actions;
mod admission;
mod announcer;
mod capabilities;
mod completions;
mod context;
mod document;
mod edits;
mod error;
mod filling;
mod frames;
mod framing;
mod handlers;
mod model_state;
mod pace;
mod planning;
mod progress;
mod related;
mod scoring;
mod state;
mod status;
mod typed_through;
mod versioned;
mod worker;
