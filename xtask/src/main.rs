//! Repository chores: `cargo xtask tidy`, `cargo xtask trace-picture`.

mod picture;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

const USAGE: &str = "usage: cargo xtask tidy | trace-picture";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["tidy"] => root().and_then(tidy::run),
        ["trace-picture"] => root().and_then(picture::run),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root folder.
fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the repository")
}
