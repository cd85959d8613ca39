//! Runs the reference cases of a directory in the format of `tests/golden` and reports the largest error of each.

mod decode;
mod forward;
mod reference;
mod train;

use std::fmt;
use std::path::Path;

use anyhow::ensure;

/// What became of one case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Within tolerance; what was compared and the largest error.
    Passed(String),
    /// Outside; what differs.
    Failed(String),
    /// Not run, and why.
    Skipped(String),
}

/// One case of the directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// `forward/llama/block4`, `decode/stable_canvas`, `train/grads`.
    pub name: String,
    /// What became of it.
    pub outcome: Outcome,
}

impl Case {
    /// Whether the run as a whole fails because of this case: it failed, or it must not be skipped and was.
    pub fn is_fatal(&self) -> bool {
        match self.outcome {
            Outcome::Passed(_) => false,
            Outcome::Failed(_) => true,
            Outcome::Skipped(_) => is_required(&self.name),
        }
    }

    /// A case that compares one number with a tolerance.
    pub(crate) fn compared(name: String, error: f64, tolerance: f64) -> Self {
        let text = format!("largest error {error:.2e}, tolerance {tolerance:.0e}");
        // A NaN is no pass.
        let outcome =
            if error <= tolerance { Outcome::Passed(text) } else { Outcome::Failed(text) };
        Self { name, outcome }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.outcome {
            Outcome::Passed(text) => ("ok  ", text),
            Outcome::Failed(text) => ("FAIL", text),
            Outcome::Skipped(text) => ("skip", text),
        };
        write!(f, "{word} {:<44} {text}", self.name)
    }
}

/// Cases that every build must run: all forwards, the Stable-DiffCoder decodes, all of training that has a recipe here.
const REQUIRED: [&str; 3] = ["forward/", "decode/stable_", "train/"];

/// Whether a case must not be skipped.
pub fn is_required(name: &str) -> bool {
    REQUIRED.iter().any(|kind| name.starts_with(kind))
}

/// Runs every case below `directory`, calling `report` with each as it ends.
///
/// # Errors
/// A file of the directory cannot be read or does not have the documented form.
pub fn run(directory: &Path, report: &mut dyn FnMut(&Case)) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut add = |case: Case| {
        report(&case);
        cases.push(case);
    };
    forward::run(directory, &mut add)?;
    decode::run(directory, &mut add)?;
    train::run(directory, &mut add)?;
    for kind in REQUIRED {
        ensure!(
            cases.iter().any(|case| case.name.starts_with(kind)),
            "{} has no case of {kind}*: copy the whole directory",
            directory.display()
        );
    }
    Ok(cases)
}
