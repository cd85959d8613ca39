//! Serving, from text around a hole to its fill: windows, prefix reuse, decode.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod chat;
mod decode;
mod engine;
mod golden;
mod healing;
mod score;
mod several;
mod support;
mod windows;
