//! The language server as a library: documents, positions, the protocol's methods and the thread that owns the model.
//!
//! It knows the engine only by `diffcoder_engine::infiller` and `diffcoder_engine::cancel`.

pub mod after_fill;
pub mod line_endings;
pub mod position;
pub mod server;

mod admission;
mod capabilities;
mod completions;
mod context;
mod document;
mod error;
mod frames;
mod framing;
mod handlers;
mod pace;
mod related;
mod state;
mod typed_through;
mod worker;
