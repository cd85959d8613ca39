//! The `diffcoder-lsp` binary: parses the command line and runs what it asks for.

mod args;
mod cli;
mod logging;

use std::process::ExitCode;

use diffcoder_lsp::config::Config;

use crate::args::{BenchCommand, Command, CommandLine};

fn main() -> ExitCode {
    let line = CommandLine::of_process();
    let (machine, problems) = match cli::settings::of(&line) {
        Ok(found) => found,
        Err(error) => return cli::exit_code(Err(error)),
    };
    let mut config = Config::new(machine, problems);
    let settings = config.settings("", "");
    let (log, client_log) = logging::init(&settings);
    let result = match &line.command {
        None => cli::serve::run(config, (log, client_log), line.related_tokens),
        Some(Command::Infill(args)) => cli::infill::run(args, &mut config),
        Some(Command::Score(args)) => cli::score::run(args, &mut config),
        Some(Command::Doctor(args)) => cli::doctor::run(args, &mut config),
        Some(Command::Stats(args)) => cli::stats::run(args),
        Some(Command::Generated) => cli::settings::print_generated(),
        Some(Command::Bench(BenchCommand::Replay(args))) => cli::bench::run(args, &line),
    };
    cli::exit_code(result)
}
