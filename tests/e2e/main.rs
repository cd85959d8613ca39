//! The built `diffcoder-lsp` over real stdio, as an editor starts it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod by_hand;
mod client;
mod completion;
mod edits;
mod log;
mod robustness;
mod sessions;
mod slow_model;
mod text;
