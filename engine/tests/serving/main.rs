//! Serving, from text around a hole to its fill: windows, prefix reuse, decode.

mod decode;
mod engine;
mod golden;
mod support;
mod windows;
