//! Fills holes of held-out documents and prints what the step after the fill is good for.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{Finish, InfillRequest, Infiller as _, Segment};
use diffcoder_lsp::after_fill::{Drop, Fill, Health, Language, Shape, Site, finish_within};
use diffcoder_train::data::corpus::read_split;
use diffcoder_train::data::{Document, Split, middle};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// Longest missing text, in bytes: fills have 64 tokens.
const LONGEST_MIDDLE: usize = 400;

/// Measures fills as the model gives them and as an editor gets them.
#[derive(Debug, Parser)]
struct Args {
    /// A corpus folder; its validation split is used.
    corpus: PathBuf,
    /// Holes to fill.
    #[arg(long, default_value_t = 300)]
    holes: usize,
    /// Seed of the choice of holes.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A model directory; without it, the embedded model.
    #[arg(long)]
    model: Option<PathBuf>,
}

/// A document with a piece missing.
struct Hole<'a> {
    document: &'a Document,
    language: &'static Language,
    span: Range<usize>,
    /// What the whole document has too much of.
    health: Health,
}

/// Counts over the fills of one kind.
#[derive(Debug, Default)]
struct Tally {
    shown: usize,
    parse: usize,
    duplicate_closer: usize,
    suffix_overlap: usize,
    exact: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let documents = read_split(&args.corpus, Split::Validation)?;
    let holes = choose(&documents, args.holes, args.seed);
    ensure!(!holes.is_empty(), "{} has no place for a hole", args.corpus.display());
    let mut engine = load(args.model.as_deref())?;
    let (mut raw, mut finished, mut truth) = (Tally::default(), Tally::default(), Tally::default());
    let (mut by_hand, mut truth_by_hand) = (Tally::default(), Tally::default());
    let mut drops = [0_usize; 3];
    let mut times = Vec::new();
    for hole in &holes {
        let (text, end) = ask(&mut engine, hole)?;
        if !text.trim().is_empty() {
            raw.add(hole, &text, 0);
        }
        let started = Instant::now();
        let outcome = hole.finish(&text, end);
        times.push(started.elapsed());
        match outcome {
            Ok((text, reach)) => finished.add(hole, &text, reach),
            Err(Drop::Empty) => drops[0] += 1,
            Err(Drop::Repetition) => drops[1] += 1,
            Err(Drop::Error) => drops[2] += 1,
        }
        let text = hole.finish_by_hand(&text, end);
        if !text.trim().is_empty() {
            by_hand.add(hole, &text, 0);
        }
        truth_by_hand.add(hole, &hole.finish_by_hand(hole.middle(), Finish::EndOfText), 0);
        if let Ok((text, reach)) = hole.finish(hole.middle(), Finish::EndOfText) {
            truth.add(hole, &text, reach);
        }
    }
    times.sort();
    let mut report = String::new();
    writeln!(report, "{} holes, model {}", holes.len(), engine.model_name())?;
    writeln!(report, "| fills | shown | parse | duplicate closer | suffix overlap | exact |")?;
    writeln!(report, "|---|---|---|---|---|---|")?;
    let rows = [
        ("as the model gives them", &raw),
        ("after the step", &finished),
        ("the missing text, after the step", &truth),
        ("within the hole, as for ranges named by hand", &by_hand),
        ("the missing text, within the hole", &truth_by_hand),
    ];
    for (name, tally) in rows {
        writeln!(report, "{}", tally.row(name))?;
    }
    let [empty, repetition, error] = drops;
    writeln!(report, "not shown: {empty} empty, {repetition} repetitions, {error} errors")?;
    writeln!(
        report,
        "time of the step: median {:?}, 95% {:?}, longest {:?}",
        quantile(&times, 50),
        quantile(&times, 95),
        quantile(&times, 100)
    )?;
    std::io::stdout().write_all(report.as_bytes())?;
    Ok(())
}

fn load(model: Option<&Path>) -> anyhow::Result<Engine> {
    Ok(match model {
        Some(dir) => Engine::from_dir(dir)
            .with_context(|| format!("cannot load the model in {}", dir.display()))?,
        None => Engine::embedded().context("cannot load the embedded model")?,
    })
}

/// Holes of the kinds that models are trained on, the documents taking turns.
fn choose(documents: &[Document], count: usize, seed: u64) -> Vec<Hole<'_>> {
    const ROUNDS: usize = 64;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut holes = Vec::new();
    for _ in 0..ROUNDS {
        for document in documents {
            if holes.len() == count {
                return holes;
            }
            let text = &document.text;
            let Some(language) = Language::of("", &document.path) else { continue };
            let Some(middle) = middle::choose(text, document.language, 0..text.len(), &mut rng)
            else {
                continue;
            };
            let span = middle.span;
            if text[span.clone()].trim().is_empty() || span.len() > LONGEST_MIDDLE {
                continue;
            }
            let Some(health) = Health::of(text, language) else { continue };
            holes.push(Hole { document, language, span, health });
        }
    }
    holes
}

/// The model's fill, and why it ended.
fn ask(engine: &mut Engine, hole: &Hole<'_>) -> anyhow::Result<(String, Finish)> {
    let (before, after) = hole.sides();
    let segments = vec![
        Segment::Text(before.into()),
        Segment::Hole { draft: "".into() },
        Segment::Text(after.into()),
    ];
    let request = InfillRequest::new(hole.document.path.clone(), segments);
    let infill = engine.infill(&request, &CancelToken::new(), &mut |_| {})?;
    let fill = infill.holes.into_iter().next().context("a request with a hole has a fill")?;
    Ok((fill.text, fill.finish))
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

impl Hole<'_> {
    fn sides(&self) -> (&str, &str) {
        let text = &self.document.text;
        (&text[..self.span.start], &text[self.span.end..])
    }

    fn middle(&self) -> &str {
        &self.document.text[self.span.clone()]
    }

    /// What a person gets who has named the hole: nothing outside of it changes.
    fn finish_by_hand(&self, text: &str, end: Finish) -> String {
        let (before, after) = self.sides();
        let at = before.len();
        let fill = Fill { text, is_cut: end != Finish::EndOfText, shape: Shape::Free };
        finish_within(
            &format!("{before}{after}"),
            std::slice::from_ref(&(at..at)),
            &[fill],
            Some(self.language),
        )
        .concat()
    }

    /// What an editor gets: the text and how far it reaches beyond the hole.
    fn finish(&self, text: &str, end: Finish) -> Result<(String, usize), Drop> {
        let (before, after) = self.sides();
        let at = before.len();
        let mut site = Site::new(&format!("{before}{after}"), at..at, Some(self.language));
        let finished =
            site.finish(&Fill { text, is_cut: end != Finish::EndOfText, shape: Shape::Free });
        finished.edit.map(|edit| (edit.text, edit.range.len()))
    }
}

impl Tally {
    fn add(&mut self, hole: &Hole<'_>, text: &str, reach: usize) {
        let (before, after) = hole.sides();
        let rest = &after[reach..];
        let health = Health::of(&format!("{before}{text}{rest}"), hole.language);
        let next = rest.trim_start().chars().next();
        let last = text.trim_end().chars().next_back();
        self.shown += 1;
        if let Some(health) = health {
            self.parse += usize::from(health.errors <= hole.health.errors);
            let is_twice = last == next && last.is_some_and(|char| ")]}".contains(char));
            let is_surplus = health.lonely_brackets > hole.health.lonely_brackets;
            self.duplicate_closer += usize::from(is_twice && is_surplus);
        }
        self.suffix_overlap += usize::from(overlaps(text, rest));
        self.exact += usize::from(text == hole.middle() && reach == 0);
    }

    fn row(&self, name: &str) -> String {
        let share = |count: usize| {
            format!("{:.1}% ({count})", 100.0 * count as f64 / self.shown.max(1) as f64)
        };
        format!(
            "| {name} | {} | {} | {} | {} | {} |",
            self.shown,
            share(self.parse),
            share(self.duplicate_closer),
            share(self.suffix_overlap),
            share(self.exact)
        )
    }
}

/// Whether the end of `text` is the beginning of `rest`, with at least three letters or digits in it.
fn overlaps(text: &str, rest: &str) -> bool {
    let (text, rest) = (text.trim_end(), rest.trim_start());
    let starts = text.char_indices().map(|(at, _)| &text[at..]);
    starts
        .filter(|end| rest.starts_with(end))
        .any(|end| end.chars().filter(|char| char.is_alphanumeric()).count() >= 3)
}
