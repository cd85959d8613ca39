//! The `diffcoder-lsp` binary: parses the command line and runs what it asks for.

mod args;
mod cli;
mod logging;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{BenchCommand, Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::parse();
    logging::init();
    let model = line.model.as_deref();
    let result = match &line.command {
        None => cli::serve::run(model, line.related_tokens),
        Some(Command::Infill(args)) => cli::infill::run(args, model),
        Some(Command::Bench(BenchCommand::Replay(args))) => {
            cli::bench::run(args, model, line.related_tokens)
        }
    };
    cli::exit_code(result)
}
