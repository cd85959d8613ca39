//! The show threshold: how sure the model must be for its fill to be worth showing.
//!
//! A fill is shown if its confidence reaches the threshold. Precision: of the characters shown, those that the author
//! wrote there (the longest common prefix of fill and missing text). Coverage: the holes at which something is shown.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use super::fill::{Cost, Filler};
use super::infill::{HoleSets, fill_all};

/// Least share of the shown characters that must be right.
const TARGET_PRECISION: f64 = 0.35;
/// Least share of the holes at which something must be shown.
const TARGET_COVERAGE: f64 = 0.15;
/// Thresholds are hundredths; every so many of them get a line in the table.
const TABLE_EVERY: usize = 5;

/// One fill.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Offer {
    confidence: f64,
    /// Characters of the fill.
    chars: usize,
    /// Of these, the first ones that are what the author wrote.
    right: usize,
}

impl Offer {
    fn new(confidence: f32, fill: &str, expected: &str) -> Self {
        let right = fill.chars().zip(expected.chars()).take_while(|(a, b)| a == b).count();
        Self { confidence: f64::from(confidence), chars: fill.chars().count(), right }
    }
}

/// What one threshold does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Point {
    threshold: f64,
    /// Fills shown.
    shown: usize,
    /// Share of the holes.
    coverage: f64,
    /// Share of the shown characters that are right; none where nothing is shown.
    precision: Option<f64>,
}

impl Point {
    fn of(offers: &[Offer], threshold: f64) -> Self {
        let shown = || offers.iter().filter(|it| it.chars > 0 && it.confidence >= threshold);
        let count = shown().count();
        let chars: usize = shown().map(|offer| offer.chars).sum();
        let right: usize = shown().map(|offer| offer.right).sum();
        Self {
            threshold,
            shown: count,
            coverage: count as f64 / offers.len().max(1) as f64,
            precision: (chars > 0).then(|| right as f64 / chars as f64),
        }
    }
}

/// What every threshold does.
fn curve(offers: &[Offer]) -> Vec<Point> {
    (0..100).map(|hundredth| Point::of(offers, f64::from(hundredth) / 100.0)).collect()
}

/// The threshold that shows most among those that are precise enough.
fn choose(offers: &[Offer]) -> Option<Point> {
    // Coverage only falls from left to right.
    curve(offers).into_iter().find(|point| point.precision.is_some_and(|it| it >= TARGET_PRECISION))
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    /// The unmasking rule.
    rule: String,
    holes: usize,
    target_precision: f64,
    target_coverage: f64,
    /// One for each hundredth.
    points: Vec<Point>,
    /// The threshold to serve with; none if no threshold is precise enough.
    chosen: Option<Point>,
    /// Whether `chosen` also shows often enough.
    meets_target: bool,
    /// The threshold that every other hole would choose, measured on the holes that did not choose.
    cross_check: Option<Point>,
    cost: Cost,
}

/// Fills the holes and looks for the threshold; `max_tokens` is that of the kind by default.
pub(super) fn measure(
    filler: &mut Filler,
    sets: &HoleSets,
    max_tokens: Option<usize>,
) -> Result<Report> {
    let (mut offers, mut cost) = (Vec::new(), Cost::default());
    fill_all(filler, sets, max_tokens, |_, _, hole, filled| {
        offers.push(Offer::new(filled.confidence, &filled.text, &hole.middle));
        cost.add(&filled.stats);
        Ok(())
    })?;
    Ok(report(&offers, filler.rule(), cost))
}

fn report(offers: &[Offer], rule: String, cost: Cost) -> Report {
    let half = |first| offers.iter().copied().skip(first).step_by(2).collect::<Vec<Offer>>();
    let chosen = choose(offers);
    Report {
        suite: "calibration",
        rule,
        holes: offers.len(),
        target_precision: TARGET_PRECISION,
        target_coverage: TARGET_COVERAGE,
        points: curve(offers),
        chosen,
        meets_target: chosen.is_some_and(|point| point.coverage >= TARGET_COVERAGE),
        cross_check: choose(&half(0)).map(|point| Point::of(&half(1), point.threshold)),
        cost,
    }
}

impl Report {
    /// Markdown, as a model card takes it.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "| show threshold | holes with a fill shown | shown characters that are right |\n|---|---|---|\n",
        );
        let row = |point: &Point| {
            let precision =
                point.precision.map_or_else(|| "-".to_owned(), |it| format!("{:.1} %", 100.0 * it));
            format!("{:.2} | {:.1} % | {precision}", point.threshold, 100.0 * point.coverage)
        };
        for point in self.points.iter().step_by(TABLE_EVERY) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} |", row(point));
        }
        let targets = format!(
            "at least {:.0} % of the shown characters right at {:.0} % of the holes or more",
            100.0 * TARGET_PRECISION,
            100.0 * TARGET_COVERAGE
        );
        let _ = match &self.chosen {
            Some(point) if self.meets_target => {
                writeln!(text, "\nchosen: {} (meets {targets})", row(point))
            }
            Some(point) => writeln!(text, "\nbest: {} (misses {targets})", row(point)),
            None => writeln!(text, "\nno threshold gives {targets}"),
        };
        if let Some(point) = &self.cross_check {
            let row = row(point);
            let _ = writeln!(text, "chosen on every other hole, measured on the rest: {row}");
        }
        let _ = writeln!(text, "{} holes, {}; {}", self.holes, self.rule, self.cost.words());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(confidence: f64, chars: usize, right: usize) -> Offer {
        Offer { confidence, chars, right }
    }

    #[test]
    fn right_characters_are_those_before_the_first_wrong_one() {
        assert_eq!(Offer::new(0.5, "naïve(b)", "naïve(a)"), offer(0.5, 8, 6));
        assert_eq!(Offer::new(0.5, "ab", "abc"), offer(0.5, 2, 2));
        assert_eq!(Offer::new(0.5, "", "abc"), offer(0.5, 0, 0));
    }

    #[test]
    fn the_lowest_threshold_that_is_precise_enough_is_chosen() {
        let offers = [
            offer(0.9, 10, 10),
            offer(0.6, 10, 2),
            offer(0.6, 0, 0),
            offer(0.3, 10, 0),
            offer(0.2, 10, 0),
        ];
        // All: 12 of 40. Without the last: 12 of 30.
        let chosen = choose(&offers).unwrap();
        assert_eq!((chosen.threshold, chosen.shown), (0.21, 3));
        assert_eq!(chosen.precision, Some(0.4));
        assert!((chosen.coverage - 0.6).abs() < 1e-12, "an empty fill is not shown");
        let report = report(&offers, "rule".into(), Cost::default());
        assert!(report.meets_target);
        assert_eq!(report.points.len(), 100);
        assert_eq!(report.points[95].precision, None);
        // Every other hole (0.9, 0.6 and empty, 0.2) chooses 0; the others are 2 of 20 right.
        assert_eq!(report.cross_check.unwrap().precision, Some(0.1));
        assert!(report.table().contains("chosen: 0.21 | 60.0 % | 40.0 %"), "{}", report.table());
    }

    #[test]
    fn a_model_that_is_never_right_has_no_threshold() {
        let report = report(&[offer(0.9, 10, 1)], "rule".into(), Cost::default());
        assert!(report.chosen.is_none() && !report.meets_target && report.cross_check.is_none());
        assert!(report.table().contains("no threshold gives"));
    }
}
