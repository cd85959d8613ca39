//! The log: to stderr, since stdout belongs to the protocol and to results.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Environment variable with the level or with `tracing` directives, such as `debug` or `diffcoder_lsp=trace`.
const VARIABLE: &str = "DIFFCODER_LOG";

/// Starts the log; without the variable it holds warnings and errors.
pub(crate) fn init() {
    let filter = EnvFilter::builder()
        .with_env_var(VARIABLE)
        .with_default_directive(LevelFilter::WARN.into())
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
}
