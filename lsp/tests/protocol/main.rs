//! The server over an in-memory connection, with a scripted model: one file per concern.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod actions;
mod cancel;
mod commands;
mod completion;
mod encodings;
mod harness;
mod holes;
mod infill;
mod inline_completion;
mod lifecycle;
mod malformed;
mod ordering;
mod outside;
mod related;
mod score;
mod script;
mod settings;
mod status;
mod supersede;
mod sync;
#[path = "../../../tests/e2e/text.rs"]
#[expect(dead_code, reason = "the end-to-end tests change texts as well")]
mod text;
mod typed_through;
mod untouched;
