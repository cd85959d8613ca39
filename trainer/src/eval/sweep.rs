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

/// From which probability on the thresholds compute canvases ahead when they are measured a second time.
const SPECULATE: f64 = 0.05;
/// Computes nothing ahead.
const STEPWISE: f64 = 1.0;

/// Every rule of a sweep. All of them compute canvases ahead from the probability `speculate` on, where that is given; or
/// else none does, and the thresholds are there again with canvases ahead.
pub(super) fn rules(speculate: Option<f64>) -> Vec<Rule> {
    let thresholds = THRESHOLDS.map(Unmasking::Threshold);
    let steps = STEPS.map(|steps_per_block| Unmasking::Static { steps_per_block });
    let mut all = Vec::new();
    for order in DecodeOrder::ALL {
        let mut with = |unmasking: &[Unmasking], speculate: f64| {
            let rule = |&unmasking: &Unmasking| Rule {
                unmasking,
                order: Some(order),
                speculate: Some(speculate),
            };
            all.extend(unmasking.iter().map(rule));
        };
        with(&thresholds, speculate.unwrap_or(STEPWISE));
        with(&steps, speculate.unwrap_or(STEPWISE));
        if speculate.is_none() {
            with(&thresholds, SPECULATE);
        }
    }
    all
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
        let ahead = match rule.speculate {
            Some(least) if least < 1.0 => ", speculating",
            _ => "",
        };
        let order = rule.order.unwrap_or_default().name();
        Self {
            on: on.to_owned(),
            rule: rule.to_string(),
            accuracy,
            edit_similarity,
            cost,
            curve: format!("{on}, {order}, {family}{ahead}"),
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
        let points: Vec<Point> = rules(None)
            .into_iter()
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
        assert!(svg.contains("lines, left-to-right, threshold, speculating"));
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(out.join(JSON)).unwrap()).unwrap();
        assert_eq!(json["points"].as_array().unwrap().len(), count);
        assert_eq!(json["points"][0]["rule"], "surest-first, threshold 0.5");
        assert!(
            report.table().contains("| lines | left-to-right, 4 steps a block | 50.00 % | 0.750 |")
        );
        let ahead = "| lines | left-to-right, threshold 0.95, speculating from 0.05 |";
        assert!(report.table().contains(ahead));
        // Who says how far ahead gets every rule with that.
        let given = rules(Some(0.2));
        assert!(given.iter().all(|rule| rule.speculate == Some(0.2)) && given.len() < count);
        // A folder with something else in it is left alone.
        let occupied = root.path().join("occupied");
        std::fs::create_dir(&occupied).unwrap();
        std::fs::write(occupied.join("thesis.tex"), "x").unwrap();
        assert!(report.write(&occupied).is_err());
    }
}
