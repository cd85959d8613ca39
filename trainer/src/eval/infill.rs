//! Exact matches of held-out single-line holes, decoded by the engine as it serves them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;

use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{Finish, InfillLimits, InfillRequest, Infiller as _, Segment};

use super::CHOICE_SEED;
use crate::data::Document;
use crate::data::holes::held_out_holes;
use crate::progress::counter;

/// Longest fill; the holes have at most 100 characters.
const MAX_TOKENS: usize = 64;

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    suite: &'static str,
    /// Holes that were asked for.
    holes_asked: usize,
    /// Holes that the documents gave.
    holes_found: usize,
    /// By language, and `all`.
    results: BTreeMap<String, Tally>,
    /// Mean time of a fill.
    mean_ms: f64,
    /// Tokens committed for each forward.
    tokens_per_forward: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Tally {
    holes: usize,
    /// The fill is the missing text, to the byte.
    exact: usize,
    /// The first line of the fill is.
    exact_first_line: usize,
    /// The model closed the hole itself.
    closed: usize,
    exact_match: f64,
}

/// Fills about `count` fixed holes.
pub(super) fn measure(model: &Path, documents: &[Document], count: usize) -> Result<Report> {
    let mut engine = Engine::from_dir(model)?;
    let holes = held_out_holes(documents, count, CHOICE_SEED);
    ensure!(
        !holes.is_empty(),
        "the validation split has no place for a hole: collect more packages"
    );
    let bar = counter(holes.len(), "filling")?;
    let mut results: BTreeMap<String, Tally> = BTreeMap::new();
    let (mut tokens, mut forwards) = (0, 0);
    let started = Instant::now();
    for (index, hole) in holes.iter().enumerate() {
        let segments = vec![
            Segment::Text(hole.prefix.as_str().into()),
            Segment::Hole { draft: Arc::from("") },
            Segment::Text(format!("{}\n{}", hole.rest, hole.suffix).into()),
        ];
        let request = InfillRequest {
            limits: InfillLimits { max_tokens: MAX_TOKENS, ..InfillLimits::default() },
            // A name of its own for each hole: no window is carried over from the one before.
            ..InfillRequest::new(format!("hole {index}"), segments)
        };
        let infill = engine.infill(&request, &CancelToken::new(), &mut |_| ())?;
        tokens += infill.stats.tokens;
        forwards += infill.stats.forwards;
        let fill = &infill.holes[0];
        for key in [format!("{:?}", hole.language).to_lowercase(), "all".to_owned()] {
            let tally = results.entry(key).or_default();
            tally.holes += 1;
            tally.exact += usize::from(fill.text == hole.middle);
            let first_line = fill.text.split('\n').next().unwrap_or_default();
            tally.exact_first_line += usize::from(first_line == hole.middle);
            tally.closed += usize::from(fill.finish == Finish::EndOfText);
            tally.exact_match = tally.exact as f64 / tally.holes as f64;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(Report {
        suite: "infill",
        holes_asked: count,
        holes_found: holes.len(),
        results,
        mean_ms: started.elapsed().as_secs_f64() * 1e3 / holes.len() as f64,
        tokens_per_forward: tokens as f64 / forwards.max(1) as f64,
    })
}

impl Report {
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        if self.holes_found < self.holes_asked {
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "only {} of {} holes: the validation split has no more places, collect more packages",
                self.holes_found, self.holes_asked
            );
        }
        for (language, tally) in &self.results {
            let _ = writeln!(
                text,
                "{language:<8} {:>5} holes  {:>5.1} % exact  {:>5.1} % exact first line  {:>5.1} % closed",
                tally.holes,
                100.0 * tally.exact_match,
                100.0 * tally.exact_first_line as f64 / tally.holes as f64,
                100.0 * tally.closed as f64 / tally.holes as f64,
            );
        }
        let _ = writeln!(
            text,
            "{:.1} ms a fill, {:.2} tokens per forward",
            self.mean_ms, self.tokens_per_forward
        );
        text
    }
}
