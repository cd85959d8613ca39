//! What the fuzz targets share: a client of the server in this process, a scripted model, and naive ideas of both
//! the protocol and the text to hold the server against. `cargo xtask fuzz` runs the targets.

pub mod client;
pub mod expected;
pub mod mutator;
pub mod scripted;
pub mod text;
pub mod workspace;
