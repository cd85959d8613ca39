//! One line of JSON per step, and how fast this machine multiplies matrices.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// What one step did.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct StepMetrics {
    /// Global step, from 0.
    pub step: u64,
    /// Stage, from 0.
    pub stage: usize,
    /// `ar`, `warmup` or `cpt`.
    pub kind: String,
    /// The training loss; null if it was not finite or nothing was predicted.
    pub loss: Option<f64>,
    /// Mean cross-entropy of the predicted tokens in nats, without weights.
    pub ce_per_masked: Option<f64>,
    /// Tokens that were predicted.
    pub masked: usize,
    /// Tokens of the batch.
    pub tokens: usize,
    /// Learning rate.
    pub lr: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: Option<f64>,
    /// Tokens of the batch per second.
    pub tokens_per_s: f64,
    /// FLOP of the step as a share of what the machine's f32 matrix product reaches in the same time.
    pub matmul_share: f64,
    /// Why the step made no update.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub skipped: Option<String>,
}

impl StepMetrics {
    /// What is known of a step before it is made: it is one of the stage `stage`, predicts `masked` of `tokens` tokens, and moves
    /// with the learning rate `lr`.
    pub fn before(
        step: u64,
        (stage, kind): (usize, &str),
        (masked, tokens): (usize, usize),
        lr: f64,
    ) -> Self {
        Self {
            step,
            stage,
            kind: kind.to_owned(),
            loss: None,
            ce_per_masked: None,
            masked,
            tokens,
            lr,
            grad_norm: None,
            tokens_per_s: 0.0,
            matmul_share: 0.0,
            skipped: None,
        }
    }
}

/// The metrics file of a run.
pub struct MetricsFile(File);

/// Path of the metrics file in a run folder.
pub fn path(run: &Path) -> PathBuf {
    run.join("metrics.jsonl")
}

/// All lines of a run's metrics. A last line that a kill cut short is left out; no other may be unreadable.
pub fn read(run: &Path) -> Result<Vec<StepMetrics>> {
    let path = path(run);
    let bytes = std::fs::read(&path)
        .with_context(|| format!("cannot read {}: is it a run folder?", path.display()))?;
    let mut lines = bytes.split(|&byte| byte == b'\n').enumerate().peekable();
    let mut found = Vec::new();
    while let Some((index, line)) = lines.next() {
        // What follows the last line end is a torn line, or nothing.
        let is_last = lines.peek().is_none();
        match serde_json::from_slice(line) {
            Ok(metrics) => found.push(metrics),
            Err(_) if is_last => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!("{}, line {}, is damaged: remove that line", path.display(), index + 1)
                });
            }
        }
    }
    Ok(found)
}

impl MetricsFile {
    /// Opens the file of `run` for a run that goes on at `step`: lines of steps that will be done again are dropped.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        let path = path(run);
        let kept = if path.exists() { read(run)? } else { Vec::new() };
        let mut text = String::new();
        for metrics in kept.iter().filter(|metrics| metrics.step < step) {
            text += &serde_json::to_string(metrics)?;
            text.push('\n');
        }
        let context = || format!("cannot write {}", path.display());
        replace(&path, text.as_bytes()).with_context(context)?;
        Ok(Self(OpenOptions::new().append(true).open(&path).with_context(context)?))
    }

    /// Adds one line.
    pub fn append(&mut self, metrics: &StepMetrics) -> Result<()> {
        let line = serde_json::to_string(metrics)? + "\n";
        self.0.write_all(line.as_bytes()).context("cannot write the metrics file")
    }
}

/// Puts `bytes` in the place of the file at `path`: a kill leaves the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("jsonl.new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// FLOP per second of an f32 matrix product of 768 x 768 x 768 on all threads: the best of half a second of trials.
pub fn matmul_rate() -> Result<f64> {
    const SIZE: usize = 768;
    let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 17) as f32 * 0.1 - 0.8).collect();
    let matrix = Tensor::from_vec(values, (SIZE, SIZE), &Device::Cpu)?;
    let flop = 2.0 * (SIZE as f64).powi(3);
    let start = Instant::now();
    let mut best = Duration::MAX;
    while start.elapsed() < Duration::from_millis(500) {
        let trial = Instant::now();
        matrix.matmul(&matrix)?;
        best = best.min(trial.elapsed());
    }
    Ok(flop / best.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> StepMetrics {
        StepMetrics {
            step,
            stage: 0,
            kind: "ar".to_owned(),
            loss: Some(1.5),
            ce_per_masked: Some(1.5),
            masked: 3,
            tokens: 4,
            lr: 1e-3,
            grad_norm: None,
            tokens_per_s: 10.0,
            matmul_share: 0.1,
            skipped: None,
        }
    }

    #[test]
    fn a_resumed_run_has_one_line_per_step() {
        let run = tempfile::tempdir().unwrap();
        let mut file = MetricsFile::open(run.path(), 0).unwrap();
        for step in 0..5 {
            file.append(&line(step)).unwrap();
        }
        std::fs::write(path(run.path()), {
            let mut text = std::fs::read_to_string(path(run.path())).unwrap();
            text.push_str("{\"step\":5,\"sta");
            text
        })
        .unwrap();
        let mut file = MetricsFile::open(run.path(), 3).unwrap();
        file.append(&line(3)).unwrap();
        let steps: Vec<u64> = read(run.path()).unwrap().iter().map(|line| line.step).collect();
        assert_eq!(steps, [0, 1, 2, 3]);
    }

    #[test]
    fn a_damaged_line_is_named_and_a_torn_last_one_is_left_out() {
        let run = tempfile::tempdir().unwrap();
        let good = serde_json::to_string(&line(0)).unwrap();
        std::fs::write(path(run.path()), format!("{good}\n{{\"step\":1")).unwrap();
        assert_eq!(read(run.path()).unwrap(), [line(0)]);
        let damaged = format!("{good}\n{{\"step\":1\n{good}\n");
        std::fs::write(path(run.path()), &damaged).unwrap();
        for error in [read(run.path()).err(), MetricsFile::open(run.path(), 1).err()] {
            let error = format!("{:#}", error.unwrap());
            assert!(error.contains("metrics.jsonl, line 2,"), "{error}");
        }
        assert_eq!(std::fs::read_to_string(path(run.path())).unwrap(), damaged, "nothing is lost");
    }
}
