//! Curves of loss and gradient norm over the steps of a run, as SVG.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::chart::{Labels, Series, Style, render};
use crate::metrics::{self, StepMetrics};

/// Points of a curve. Each is the mean of the steps it stands for, so that the file stays small.
const POINTS: usize = 400;

/// A picture: title, label of the y axis, what is drawn.
struct Figure {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    value: fn(&StepMetrics) -> Option<f64>,
}

const FIGURES: [Figure; 3] = [
    Figure {
        file: "loss.svg",
        title: "Training loss",
        unit: "loss",
        value: |metrics| metrics.loss,
    },
    Figure {
        file: "cross_entropy.svg",
        title: "Cross-entropy of the predicted tokens",
        unit: "nats per token",
        value: |metrics| metrics.ce_per_masked,
    },
    Figure {
        file: "grad_norm.svg",
        title: "Gradient norm before clipping",
        unit: "norm",
        value: |metrics| metrics.grad_norm,
    },
];

/// Draws the curves of the run folder `run` into `out`; returns the files.
pub fn draw(run: &Path, out: &Path) -> Result<Vec<PathBuf>> {
    let lines = metrics::read(run)?;
    ensure!(!lines.is_empty(), "{} holds no step yet", metrics::path(run).display());
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    FIGURES
        .iter()
        .map(|figure| {
            let path = out.join(figure.file);
            let labels = Labels { title: figure.title, x: "step", y: figure.unit, x_decimals: 0 };
            let svg = render(labels, &series(&lines, figure.value), Style::Plain)?;
            std::fs::write(&path, svg)
                .with_context(|| format!("cannot write {}", path.display()))?;
            Ok(path)
        })
        .collect()
}

/// The values of each stage, thinned to means over equal stretches of steps.
fn series(lines: &[StepMetrics], value: fn(&StepMetrics) -> Option<f64>) -> Vec<Series> {
    let per_point = lines.len().div_ceil(POINTS);
    lines
        .chunk_by(|a, b| a.stage == b.stage)
        .map(|stage| {
            let points = stage
                .chunks(per_point)
                .filter_map(|chunk| {
                    let values: Vec<f64> = chunk.iter().filter_map(value).collect();
                    let mean = values.iter().sum::<f64>() / values.len() as f64;
                    (!values.is_empty()).then_some((chunk[0].step as f64, mean))
                })
                .collect();
            Series { name: format!("{} {}", stage[0].stage + 1, stage[0].kind), points }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(step: u64, stage: usize, loss: Option<f64>) -> StepMetrics {
        serde_json::from_value(serde_json::json!({
            "step": step, "stage": stage, "kind": if stage == 0 { "ar" } else { "cpt" }, "loss": loss,
            "ce_per_masked": loss, "masked": 1, "tokens": 1, "lr": 0.1, "grad_norm": loss,
            "tokens_per_s": 1.0, "matmul_share": 0.1
        }))
        .unwrap()
    }

    #[test]
    fn curves_are_thinned_by_means_and_drawn_per_stage() {
        let lines: Vec<StepMetrics> = (0..1000)
            .map(|step| metrics(step, usize::from(step >= 700), (step != 0).then_some(2.0)))
            .collect();
        let found = series(&lines, |metrics| metrics.loss);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].points[0], (0.0, 2.0), "a skipped step does not count");
        assert_eq!(found[0].points.len(), 234);
        assert_eq!(found[1].points[0].0, 700.0);

        let run = tempfile::tempdir().unwrap();
        let mut file = metrics::MetricsFile::open(run.path(), 0).unwrap();
        for line in &lines {
            file.append(line).unwrap();
        }
        let files = draw(run.path(), &run.path().join("svg")).unwrap();
        assert_eq!(files.len(), 3);
        for path in files {
            let svg = std::fs::read_to_string(path).unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.contains("2 cpt"));
        }
    }
}
