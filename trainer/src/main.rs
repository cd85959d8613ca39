//! `diffcoder-train`: parses the command line, runs it, maps failures to one sentence and an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use diffcoder_train::cli::Cli;
use diffcoder_train::{memory, output};

fn main() -> ExitCode {
    memory::keep_freed_pages();
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
