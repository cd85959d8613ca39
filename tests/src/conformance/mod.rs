//! Runs the reference cases of a directory in the format of `tests/golden` and reports the largest error of each.

mod decode;
mod forward;
mod reference;
mod train;

use std::fmt;
use std::path::Path;

use anyhow::ensure;
use candle_core::Device;
use diffcoder_engine::model::ops::Ops;

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

/// What computes.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Op set.
    pub ops: Ops,
    /// Where the weights lie, as f32.
    pub device: Device,
}

impl Setup {
    /// Everything that a CPU must get right. Serving runs on the first.
    pub fn cpu() -> Vec<Self> {
        Ops::exact().into_iter().map(|ops| Self { ops, device: Device::Cpu }).collect()
    }

    /// Our CUDA kernels. Decoding and the optimizer's steps are compared on the CPU alone.
    pub fn on_device(device: Device) -> Vec<Self> {
        vec![Self { ops: Ops::Device, device }]
    }
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
pub fn run(
    directory: &Path,
    setups: &[Setup],
    report: &mut dyn FnMut(&Case),
) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    let mut add = |case: Case| {
        report(&case);
        cases.push(case);
    };
    ensure!(!setups.is_empty(), "there is nothing to compare");
    forward::run(directory, setups, &mut add)?;
    train::run(directory, setups, &mut add)?;
    let on_cpu = setups.iter().all(|setup| setup.ops != Ops::Device);
    if on_cpu {
        decode::run(directory, &mut add)?;
    }
    for kind in REQUIRED.into_iter().filter(|kind| on_cpu || !kind.starts_with("decode/")) {
        ensure!(
            cases.iter().any(|case| case.name.starts_with(kind)),
            "{} has no case of {kind}*: copy the whole directory",
            directory.display()
        );
    }
    Ok(cases)
}
