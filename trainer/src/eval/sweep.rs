//! Accuracy against speed: one measurement for each unmasking rule, as a table, JSON and a chart.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use diffcoder_engine::infiller::{DecodeOrder, Unmasking};
use serde::Serialize;

use super::fill::{Cost, Rule};
use crate::atomic::NewFolder;
use crate::chart::{Labels, Series, Style, render};

/// Lowest confidences at which a mask becomes a token.
const THRESHOLDS: [f64; 8] = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.97, 0.99];
/// Denoising steps of a block, for the rule that splits its masks evenly.
const STEPS: [usize; 3] = [1, 2, 4];

/// The file that marks a folder as the result of a sweep.
const JSON: &str = "sweep.json";
const SVG: &str = "sweep.svg";

/// Every rule of a sweep.
pub(super) fn rules() -> impl Iterator<Item = Rule> {
    let thresholds = THRESHOLDS.into_iter().map(Unmasking::Threshold);
    let steps = STEPS.into_iter().map(|steps_per_block| Unmasking::Static { steps_per_block });
    let all: Vec<Unmasking> = thresholds.chain(steps).collect();
    DecodeOrder::ALL.into_iter().flat_map(move |order| {
        all.clone().into_iter().map(move |unmasking| Rule { unmasking, order: Some(order) })
    })
}

/// What one rule gives.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    /// What was measured: the kind of the holes, or the benchmark file.
    pub on: String,
    /// The rule in words.
    pub rule: String,
    /// Share of right fills.
    pub accuracy: f64,
    /// Mean edit similarity, where it is measured.
    pub edit_similarity: Option<f64>,
    /// What the fills cost.
    pub cost: Cost,
    /// Curve that the point belongs to.
    #[serde(skip)]
    pub curve: String,
}

impl Point {
    /// A point of the curve of its family of rules.
    pub(super) fn new(
        on: &str,
        rule: Rule,
        (accuracy, edit_similarity): (f64, Option<f64>),
        cost: Cost,
    ) -> Self {
        let family = match rule.unmasking {
            Unmasking::Threshold(_) => "threshold",
            Unmasking::Static { .. } => "steps a block",
        };
        let order = rule.order.unwrap_or_default().name();
        Self {
            on: on.to_owned(),
            rule: rule.to_string(),
            accuracy,
            edit_similarity,
            cost,
            curve: format!("{on}, {order}, {family}"),
        }
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    /// What `accuracy` is.
    accuracy_is: &'static str,
    points: Vec<Point>,
}

impl Report {
    pub(super) fn new(accuracy_is: &'static str, points: Vec<Point>) -> Self {
        Self { suite: "sweep", accuracy_is, points }
    }

    /// Writes the chart and the numbers as a folder.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        let folder = NewFolder::beside(out, JSON)?;
        let json = serde_json::to_string_pretty(self).context("cannot write the sweep as JSON")?;
        folder.write(JSON, json.as_bytes())?;
        folder.write(SVG, self.svg()?.as_bytes())?;
        folder.publish()
    }

    fn svg(&self) -> Result<String> {
        let mut series: Vec<Series> = Vec::new();
        for point in &self.points {
            let at = (point.cost.tokens_per_denoising_forward, 100.0 * point.accuracy);
            match series.iter_mut().find(|series| series.name == point.curve) {
                Some(series) => series.points.push(at),
                None => series.push(Series { name: point.curve.clone(), points: vec![at] }),
            }
        }
        let y = format!("{}, %", self.accuracy_is);
        let labels = Labels {
            title: "Accuracy and speed over the unmasking rules",
            x: "tokens per denoising forward",
            y: &y,
            x_decimals: 2,
        };
        render(labels, &series, Style::Marked)
    }

    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "| on | rule | {} | edit similarity | tokens per denoising forward | tokens per forward | forwards per token | tokens/s |\n|---|---|---|---|---|---|---|---|\n",
            self.accuracy_is
        );
        for Point { on, rule, accuracy, edit_similarity, cost, .. } in &self.points {
            let similarity =
                edit_similarity.map_or_else(|| "-".to_owned(), |it| format!("{it:.3}"));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "| {on} | {rule} | {:.2} % | {similarity} | {:.2} | {:.2} | {:.2} | {:.0} |",
                100.0 * accuracy,
                cost.tokens_per_denoising_forward,
                cost.tokens_per_forward,
                cost.forwards_per_token,
                cost.tokens_per_s
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_a_point_of_its_curve() {
        let points: Vec<Point> = rules()
            .enumerate()
            .map(|(index, rule)| {
                let tokens_per_denoising_forward = 1.0 + index as f64;
                let cost = Cost { tokens_per_denoising_forward, ..Cost::default() };
                Point::new("lines", rule, (0.5, Some(0.75)), cost)
            })
            .collect();
        let count = points.len();
        let report = Report::new("exact match", points);
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("sweep");
        report.write(&out).unwrap();
        let svg = std::fs::read_to_string(out.join(SVG)).unwrap();
        assert_eq!(svg.matches("<circle").count(), count);
        assert!(svg.contains("lines, surest-first, threshold"));
        assert!(svg.contains("lines, left-to-right, steps a block"));
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(out.join(JSON)).unwrap()).unwrap();
        assert_eq!(json["points"].as_array().unwrap().len(), count);
        assert_eq!(json["points"][0]["rule"], "surest-first, threshold 0.5");
        assert!(
            report.table().contains("| lines | left-to-right, 4 steps a block | 50.00 % | 0.750 |")
        );
        // A folder with something else in it is left alone.
        let occupied = root.path().join("occupied");
        std::fs::create_dir(&occupied).unwrap();
        std::fs::write(occupied.join("thesis.tex"), "x").unwrap();
        assert!(report.write(&occupied).is_err());
    }
}
