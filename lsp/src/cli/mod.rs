//! The commands of the binary, and how their results become exit codes.

pub(crate) mod bench;
pub(crate) mod doctor;
pub(crate) mod infill;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod settings;
pub(crate) mod stats;

mod apply;
mod interrupt;
mod json;
mod model;
mod paint;
mod progress;
mod render_diff;
mod render_trace;
mod source;
#[cfg(test)]
mod test_support;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use diffcoder_engine::infiller::InfillError;

/// What a shell expects of a program that Ctrl-C ended: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Says on stderr why a command failed, and maps its result to the process's exit code.
pub(crate) fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    let error = match result {
        Ok(code) => return code,
        Err(error) => error,
    };
    if matches!(error.downcast_ref(), Some(InfillError::Cancelled)) {
        return ExitCode::from(INTERRUPTED);
    }
    // Whoever closed the pipe has seen enough; `head` is no failure.
    let reader_left = |error: &io::Error| error.kind() == ErrorKind::BrokenPipe;
    if error.downcast_ref().is_some_and(reader_left) {
        return ExitCode::SUCCESS;
    }
    eprintln!("diffcoder-lsp: {}", one_sentence(&error));
    ExitCode::FAILURE
}

/// The error and its causes, those left out that the message before them already quotes.
pub(crate) fn one_sentence(error: &anyhow::Error) -> String {
    let mut sentence = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    fn code_of(error: anyhow::Error) -> String {
        format!("{:?}", exit_code(Err(error)))
    }

    #[test]
    fn every_end_has_its_code() {
        let debug = |code: u8| format!("{:?}", ExitCode::from(code));
        assert_eq!(format!("{:?}", exit_code(Ok(ExitCode::SUCCESS))), debug(0));
        assert_eq!(code_of(anyhow!("the disk is full")), debug(1));
        assert_eq!(code_of(InfillError::Cancelled.into()), debug(130));
        assert_eq!(code_of(io::Error::from(ErrorKind::BrokenPipe).into()), debug(0));
        assert_eq!(code_of(io::Error::from(ErrorKind::StorageFull).into()), debug(1));
    }

    #[test]
    fn causes_are_not_said_twice() {
        let error = anyhow!("no such file").context("cannot read a.rs: no such file");
        assert_eq!(one_sentence(&error), "cannot read a.rs: no such file");
        let error = Err::<(), _>(anyhow!("no space")).context("cannot write a.rs").unwrap_err();
        assert_eq!(one_sentence(&error), "cannot write a.rs: no space");
    }
}
