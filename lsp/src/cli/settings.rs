//! The settings of a command: `config.toml`, the environment, and the command line itself.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::anyhow;
use diffcoder_lsp::after_fill::Language;
use diffcoder_lsp::config::{Config, Machine, Problem, Settings, manual};

use crate::args::CommandLine;

/// What the machine's user has set, and what is wrong with it.
///
/// # Errors
/// What is wrong with the command line: that, nobody could have meant for another program.
pub(crate) fn of(line: &CommandLine) -> anyhow::Result<(Machine, Vec<Problem>)> {
    let (mut machine, problems) = Machine::of_process();
    for assignment in &line.set {
        machine.set(assignment).map_err(|problem| anyhow!("{problem}"))?;
    }
    if let Some(dir) = &line.model {
        machine.set_model(dir);
    }
    Ok((machine, problems))
}

/// What holds for a file.
pub(crate) fn for_file(config: &mut Config, file: &Path) -> Arc<Settings> {
    let uri = file.display().to_string();
    let language = Language::of("", &uri);
    config.settings(&uri, language.map_or("", |language| language.id()))
}

/// Prints everything that is generated from the settings.
#[expect(clippy::print_stdout, reason = "it is the command's result")]
pub(crate) fn print_generated() -> anyhow::Result<ExitCode> {
    println!("{}", manual::generated());
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}
