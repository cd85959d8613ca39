//! Whether several holes of a document are filled better together than one by one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use diffcoder_engine::infiller::FillMode;
use diffcoder_engine::model::config::{Family, ModelConfig};

use super::CHOICE_SEED;
use super::fill::{Cost, Filler};
use crate::data::Document;
use crate::data::hole_groups::{GROUP_HOLES, held_out_groups};
use crate::progress::counter;

/// Most tokens of a fill by default.
const MOST_TOKENS: usize = 64;

const MODES: [(&str, FillMode); 3] = [
    ("joint", FillMode::Joint),
    ("in turn", FillMode::InTurn),
    ("independent", FillMode::Independent),
];

/// Results of one mode.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Tally {
    pub groups: usize,
    pub holes: usize,
    /// Fills that are the missing text, to the byte.
    pub exact: usize,
    /// Groups in which every fill is.
    pub exact_groups: usize,
    /// Fills whose first line is that of the missing text.
    pub exact_first_line: usize,
    /// Share of `exact`.
    pub exact_match: f64,
    /// Share of `exact_first_line`.
    pub first_line_match: f64,
    /// Mean of 1 - Levenshtein distance / characters of the longer one.
    pub edit_similarity: f64,
    /// What it cost; a fill is one group.
    pub cost: Cost,
    #[serde(skip)]
    similarity: f64,
}

impl Tally {
    fn add(&mut self, pairs: &[(&str, &str)]) {
        let first_line = |text: &str| text.split('\n').next().unwrap_or_default().to_owned();
        self.groups += 1;
        for (fill, expected) in pairs {
            self.holes += 1;
            self.exact += usize::from(fill == expected);
            self.exact_first_line += usize::from(first_line(fill) == first_line(expected));
            self.similarity += strsim::normalized_levenshtein(fill, expected);
        }
        self.exact_groups += usize::from(pairs.iter().all(|(fill, expected)| fill == expected));
        let holes = self.holes as f64;
        self.exact_match = self.exact as f64 / holes;
        self.first_line_match = self.exact_first_line as f64 / holes;
        self.edit_similarity = self.similarity / holes;
    }
}

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    rule: String,
    /// Groups that were asked for.
    groups_asked: usize,
    /// Why not every mode was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
    /// By mode.
    results: BTreeMap<&'static str, Tally>,
}

/// A model that knows one hole alone is asked hole by hole whatever the mode: `joint` would be `in turn` once more.
const ONE_HOLE: &str = "the model lacks the capability multi-hole, so joint is in turn";

type Modes = &'static [(&'static str, FillMode)];

/// The modes that differ for the model in `model`, and why they are not all.
fn modes_of(model: &Path) -> Result<(Modes, Option<&'static str>)> {
    let path = model.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let config = ModelConfig::from_json(&text).with_context(|| path.display().to_string())?;
    let fills_jointly = matches!(config.family, Family::Diffcoder(own) if own.can("multi-hole"));
    Ok(if fills_jointly { (&MODES, None) } else { (&MODES[1..], Some(ONE_HOLE)) })
}

/// Fills the same groups in every mode, each with an engine of its own: no mode profits from the prompts of another.
pub(super) fn measure(
    (model, open): (&Path, &dyn Fn() -> Result<Filler>),
    documents: &[Document],
    count: usize,
    max_tokens: Option<usize>,
) -> Result<Report> {
    let groups = held_out_groups(documents, count, CHOICE_SEED);
    ensure!(
        !groups.is_empty(),
        "no document of the validation split has {GROUP_HOLES} places for holes near each other: collect more packages"
    );
    let max_tokens = max_tokens.unwrap_or(MOST_TOKENS);
    let (modes, note) = modes_of(model)?;
    let bar = counter(modes.len() * groups.len(), "filling")?;
    let (mut results, mut rule) = (BTreeMap::new(), String::new());
    for &(name, mode) in modes {
        let mut filler = open()?;
        rule = filler.rule();
        let mut tally = Tally::default();
        for group in &groups {
            let infill = filler.fill_group((&group.text, &group.holes), mode, max_tokens)?;
            let expected = group.holes.iter().map(|hole| &group.text[hole.clone()]);
            let fills = infill.holes.iter().map(|fill| fill.text.as_str());
            tally.add(&fills.zip(expected).collect::<Vec<_>>());
            tally.cost.add(&infill.stats);
            bar.inc(1);
        }
        results.insert(name, tally);
    }
    bar.finish_and_clear();
    Ok(Report { suite: "multi-hole", rule, groups_asked: count, note, results })
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = format!(
            "unmasking rule: {}\n{:<12} {:>6} {:>6} {:>7} {:>10} {:>13} {:>13}\n",
            self.rule, "", "groups", "holes", "exact", "similarity", "1st line", "exact groups"
        );
        if let Some(note) = self.note {
            text.push_str(&format!("{note}\n"));
        }
        for (name, _) in MODES {
            let Some(tally) = self.results.get(name) else { continue };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{name:<12} {:>6} {:>6} {:>5.1} % {:>10.3} {:>11.1} % {:>13}\n{:<12} {}",
                tally.groups,
                tally.holes,
                100.0 * tally.exact_match,
                tally.edit_similarity,
                100.0 * tally.first_line_match,
                tally.exact_groups,
                "",
                tally.cost.words()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_whole_groups_are_counted() {
        let mut tally = Tally::default();
        tally.add(&[("a", "a"), ("b\nc", "b"), ("x", "y")]);
        tally.add(&[("a", "a"), ("b", "b"), ("c", "c")]);
        assert_eq!((tally.groups, tally.holes, tally.exact, tally.exact_groups), (2, 6, 4, 1));
        assert_eq!(tally.exact_first_line, 5);
        assert!((tally.exact_match - 4.0 / 6.0).abs() < 1e-9);
        // "b\nc" shares one of three characters, "x" none.
        assert!((tally.edit_similarity - (4.0 + 1.0 / 3.0) / 6.0).abs() < 1e-9);
    }
}
