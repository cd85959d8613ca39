//! How well held-out holes are filled.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::CHOICE_SEED;
use super::fill::{Cost, Filled, Filler};
use crate::data::Document;
use crate::data::holes::{HeldOutHole, HoleKind, held_out_holes};
use crate::data::neighbours::Neighbours;
use crate::progress::counter;

/// Lengths that differ by so many tokens count as right.
const LENGTH_TOLERANCE: usize = 4;

/// The fixed holes of some kinds.
pub(super) struct HoleSets {
    /// Holes of each kind that were asked for.
    asked: usize,
    sets: Vec<(HoleKind, Vec<HeldOutHole>)>,
    neighbours: Neighbours,
}

impl HoleSets {
    /// About `count` holes of each kind.
    pub(super) fn choose(
        documents: Vec<Document>,
        kinds: &[HoleKind],
        count: usize,
    ) -> Result<Self> {
        let choose = |&kind: &HoleKind| {
            let holes = held_out_holes(&documents, kind, count, CHOICE_SEED);
            ensure!(
                !holes.is_empty(),
                "the validation split has no place for a hole of the kind {}: collect more packages",
                kind.name()
            );
            Ok((kind, holes))
        };
        let sets = kinds.iter().map(choose).collect::<Result<_>>()?;
        let neighbours = Neighbours::new(Arc::new(documents));
        Ok(Self { asked: count, sets, neighbours })
    }
}

/// Most tokens of a fill of a kind: above what its longest middles take.
fn most_tokens(kind: HoleKind) -> usize {
    match kind {
        HoleKind::SingleLine => 64,
        HoleKind::Lines | HoleKind::Node => 128,
    }
}

/// Fills every hole with at most `max_tokens` tokens (by default what its kind needs); tells `heard` of each.
pub(super) fn fill_all(
    filler: &mut Filler,
    holes: &HoleSets,
    max_tokens: Option<usize>,
    mut heard: impl FnMut(&Filler, HoleKind, &HeldOutHole, Filled) -> Result<()>,
) -> Result<()> {
    let bar = counter(holes.sets.iter().map(|(_, holes)| holes.len()).sum(), "filling")?;
    for (kind, of_kind) in &holes.sets {
        let max_tokens = max_tokens.unwrap_or_else(|| most_tokens(*kind));
        for hole in of_kind {
            let right = format!("{}\n{}", hole.rest, hole.suffix);
            let related = holes.neighbours.beside_hole(hole, &right, filler.related_tokens());
            let filled = filler.fill((&hole.prefix, &right), related, max_tokens)?;
            heard(filler, *kind, hole, filled)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Results of one kind and language.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Tally {
    pub holes: usize,
    /// The fill is the missing text, to the byte.
    pub exact: usize,
    /// The first line of the fill is that of the missing text.
    pub exact_first_line: usize,
    /// The number of tokens is right, within four.
    pub right_length: usize,
    /// The model closed the hole itself.
    pub closed: usize,
    /// Share of `exact`.
    pub exact_match: f64,
    /// Mean of 1 - Levenshtein distance / characters of the longer one.
    pub edit_similarity: f64,
    /// Share of `exact_first_line`.
    pub first_line_match: f64,
    /// Share of `right_length`.
    pub right_length_share: f64,
    /// Share of `closed`.
    pub closed_share: f64,
    /// What the fills cost.
    pub cost: Cost,
    /// Summed similarity.
    #[serde(skip)]
    similarity: f64,
}

impl Tally {
    /// Adds a fill of `tokens` tokens where `expected` with `expected_tokens` was missing.
    fn add(&mut self, filled: &Filled, expected: &str, (tokens, expected_tokens): (usize, usize)) {
        let first_line = |text: &str| text.split('\n').next().unwrap_or_default().to_owned();
        self.holes += 1;
        self.exact += usize::from(filled.text == expected);
        self.exact_first_line += usize::from(first_line(&filled.text) == first_line(expected));
        self.right_length += usize::from(tokens.abs_diff(expected_tokens) <= LENGTH_TOLERANCE);
        self.closed += usize::from(filled.closed);
        self.similarity += strsim::normalized_levenshtein(&filled.text, expected);
        self.cost.add(&filled.stats);
        let share = |count: usize| count as f64 / self.holes as f64;
        self.exact_match = share(self.exact);
        self.first_line_match = share(self.exact_first_line);
        self.right_length_share = share(self.right_length);
        self.closed_share = share(self.closed);
        self.edit_similarity = self.similarity / self.holes as f64;
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    /// The unmasking rule.
    rule: String,
    /// Holes of each kind that were asked for.
    holes_asked: usize,
    /// By kind, then by language, and `all`.
    pub results: BTreeMap<HoleKind, BTreeMap<String, Tally>>,
}

/// Fills the holes.
pub(super) fn measure(
    filler: &mut Filler,
    sets: &HoleSets,
    max_tokens: Option<usize>,
) -> Result<Report> {
    let mut results: BTreeMap<HoleKind, BTreeMap<String, Tally>> = BTreeMap::new();
    fill_all(filler, sets, max_tokens, |filler, kind, hole, filled| {
        let tokens = (filler.tokens(&filled.text)?, filler.tokens(&hole.middle)?);
        for key in [hole.language.name(), "all"] {
            let tally = results.entry(kind).or_default().entry(key.to_owned()).or_default();
            tally.add(&filled, &hole.middle, tokens);
        }
        Ok(())
    })?;
    Ok(Report { suite: "infill", rule: filler.rule(), holes_asked: sets.asked, results })
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = format!("unmasking rule: {}\n", self.rule);
        for (kind, results) in &self.results {
            let found = results.get("all").map_or(0, |all| all.holes);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{}", kind.name());
            if found < self.holes_asked {
                let asked = self.holes_asked;
                let _ = write!(
                    text,
                    ": only {found} of {asked} holes, the validation split has no more places"
                );
            }
            let _ = writeln!(
                text,
                "\n{:<8} {:>6} {:>7} {:>10} {:>12} {:>13} {:>7}",
                "", "holes", "exact", "similarity", "right length", "1st line", "closed"
            );
            for (language, tally) in results {
                let _ = writeln!(
                    text,
                    "{language:<8} {:>6} {:>5.1} % {:>10.3} {:>10.1} % {:>11.1} % {:>5.1} %",
                    tally.holes,
                    100.0 * tally.exact_match,
                    tally.edit_similarity,
                    100.0 * tally.right_length_share,
                    100.0 * tally.first_line_match,
                    100.0 * tally.closed_share,
                );
            }
            if let Some(all) = results.get("all") {
                let _ = writeln!(text, "{}", all.cost.words());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use diffcoder_engine::infiller::InfillStats;

    use super::*;

    #[test]
    fn fills_are_scored_by_text_length_and_cost() {
        let filled = |text: &str, closed| Filled {
            text: text.into(),
            confidence: 0.5,
            closed,
            stats: InfillStats {
                tokens: 6,
                forwards: 3,
                prefill_forwards: 1,
                canvases_ahead: 0,
                wall: Duration::from_millis(30),
                ..InfillStats::default()
            },
        };
        let mut tally = Tally::default();
        tally.add(&filled("a + b", true), "a + b", (3, 3));
        tally.add(&filled("a - b\n    c", false), "a - é", (8, 3));
        assert_eq!((tally.holes, tally.exact, tally.closed), (2, 1, 1));
        assert_eq!(tally.right_length, 1, "five tokens more are too many");
        // "a - b\n    c" has 11 characters, 7 of which are other or more.
        assert!((tally.edit_similarity - (1.0 + 4.0 / 11.0) / 2.0).abs() < 1e-9, "{tally:?}");
        assert_eq!(tally.exact_first_line, 1);
        tally.add(&filled("x\nz", false), "x\ny", (7, 3));
        assert_eq!((tally.exact_first_line, tally.right_length), (2, 2));
        assert_eq!((tally.cost.tokens, tally.cost.forwards), (18, 9));
        assert_eq!((tally.cost.tokens_per_forward, tally.cost.forwards_per_token), (2.0, 0.5));
        assert_eq!(
            (tally.cost.prefill_forwards, tally.cost.tokens_per_denoising_forward),
            (3, 3.0)
        );
        assert!((tally.cost.tokens_per_s - 200.0).abs() < 1e-6);
    }
}
