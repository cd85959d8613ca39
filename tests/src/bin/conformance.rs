//! `conformance DIR`: runs every reference case of a directory, one line each; exit code 1 if one fails.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use diffcoder_tests::conformance::{self, Outcome, Setup};

/// Compares the engine and the trainer with reference numbers, case by case.
#[derive(Parser)]
struct Args {
    /// Directory in the format of tests/golden.
    directory: PathBuf,
}

#[expect(clippy::print_stdout, reason = "the report is this program's result")]
fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let cases = conformance::run(&args.directory, &Setup::cpu(), &mut |case| println!("{case}"))?;
    let count =
        |wanted: fn(&Outcome) -> bool| cases.iter().filter(|case| wanted(&case.outcome)).count();
    let fatal = cases.iter().filter(|case| case.is_fatal()).count();
    println!(
        "{} passed, {} failed, {} skipped; {fatal} of them fatal",
        count(|outcome| matches!(outcome, Outcome::Passed(_))),
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Skipped(_))),
    );
    Ok(if fatal == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
