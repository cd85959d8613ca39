//! Breaks held-out documents in one place each, and prints how often a repair finds the place and mends it.

use std::io::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Parser;
use diffcoder_engine::cancel::CancelToken;
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::{InfillRequest, Infiller as _, ScoreRequest, Segment};
use diffcoder_lsp::holes::{Judged, suspects};
use diffcoder_train::data::corpus::read_split;
use diffcoder_train::data::{Document, Split};
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

/// Lines that are judged: the broken one and some around it, as a person would select.
const LINES_AROUND: usize = 1;

/// Measures repairs.
#[derive(Debug, Parser)]
struct Args {
    /// A corpus folder; its validation split is used.
    corpus: PathBuf,
    /// Places to break.
    #[arg(long, default_value_t = 100)]
    places: usize,
    /// Seed of the choice of places.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A model directory; without it, the embedded model.
    #[arg(long)]
    model: Option<PathBuf>,
}

/// A document with one word replaced by another word of it.
struct Broken {
    path: String,
    text: String,
    /// The wrong word.
    wrong: Range<usize>,
    right: String,
}

/// How one way of choosing holes did.
#[derive(Debug, Default)]
struct Tally {
    found: usize,
    holes: usize,
    mended: usize,
    avoided: usize,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let documents = read_split(&args.corpus, Split::Validation)?;
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let broken = break_all(&documents, args.places, &mut rng);
    ensure!(!broken.is_empty(), "{} has no place to break", args.corpus.display());
    let mut engine = match &args.model {
        Some(dir) => Engine::from_dir(dir)?,
        None => Engine::embedded().context("cannot load the embedded model")?,
    };
    // By what the model would rather have written, as the server does, and by the bare probability.
    let (mut preferred, mut bare) = (Tally::default(), Tally::default());
    for case in &broken {
        let judged = judge(&mut engine, case)?;
        let alone: Vec<Judged> = (judged.iter())
            .map(|token| Judged { best_log_probability: 0.0, ..token.clone() })
            .collect();
        for (tally, judged) in [(&mut preferred, &judged), (&mut bare, &alone)] {
            let holes: Vec<Range<usize>> =
                suspects(&case.text, judged, &[]).into_iter().map(|hole| hole.span).collect();
            tally.holes += holes.len();
            let covers =
                |hole: &&Range<usize>| hole.start <= case.wrong.start && case.wrong.end <= hole.end;
            if let Some(hole) = holes.iter().find(covers) {
                tally.found += 1;
                let (with, without) = (
                    fill(&mut engine, case, hole, Draft::Avoided)?,
                    fill(&mut engine, case, hole, Draft::Allowed)?,
                );
                let right = case.text[hole.clone()].replacen(
                    &case.text[case.wrong.clone()],
                    &case.right,
                    1,
                );
                tally.mended += usize::from(with == right);
                tally.avoided += usize::from(without == case.text[hole.clone()]);
            }
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} broken words, model {}", broken.len(), engine.model_name())?;
    writeln!(
        out,
        "| tokens chosen by | found | holes each | mended exactly | of found: would come back |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (name, tally) in [("preference", &preferred), ("probability", &bare)] {
        let n = broken.len() as f64;
        writeln!(
            out,
            "| {name} | {:.1}% ({}) | {:.2} | {:.1}% ({}) | {} |",
            100.0 * tally.found as f64 / n,
            tally.found,
            tally.holes as f64 / n,
            100.0 * tally.mended as f64 / n,
            tally.mended,
            tally.avoided
        )?;
    }
    Ok(())
}

/// One broken place in each of the documents, in turns.
fn break_all(documents: &[Document], count: usize, rng: &mut ChaCha8Rng) -> Vec<Broken> {
    let mut broken = Vec::new();
    for _ in 0..64 {
        for document in documents {
            if broken.len() == count {
                return broken;
            }
            broken.extend(break_one(document, rng));
        }
    }
    broken
}

fn break_one(document: &Document, rng: &mut ChaCha8Rng) -> Option<Broken> {
    let text = &document.text;
    let words = words(text);
    if words.len() < 40 || text.len() > 64 << 10 {
        return None;
    }
    let wrong = words[rng.random_range(20..words.len())].clone();
    let right = text[wrong.clone()].to_owned();
    let other = &text[words.choose(rng)?.clone()];
    if other == right {
        return None;
    }
    let broken = format!("{}{other}{}", &text[..wrong.start], &text[wrong.end..]);
    let wrong = wrong.start..wrong.start + other.len();
    Some(Broken { path: document.path.clone(), text: broken, wrong, right })
}

/// Words of three letters and more.
fn words(text: &str) -> Vec<Range<usize>> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = Vec::new();
    let mut start = None;
    for (at, char) in text.char_indices().chain([(text.len(), ' ')]) {
        match (start, is_word(char)) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                if at - from >= 3 {
                    found.push(from..at);
                }
                start = None;
            }
            _ => {}
        }
    }
    found
}

fn judge(engine: &mut Engine, case: &Broken) -> anyhow::Result<Vec<Judged>> {
    let text = &case.text;
    let mut start = case.wrong.start;
    let mut end = case.wrong.end;
    for _ in 0..=LINES_AROUND {
        start = text[..start.saturating_sub(1)].rfind('\n').map_or(0, |newline| newline + 1);
        end = text[end..].find('\n').map_or(text.len(), |newline| end + newline + 1);
    }
    let request = ScoreRequest {
        document_key: case.path.clone(),
        left: text[..start].into(),
        text: text[start..end].into(),
        right: text[end..].into(),
        alternatives: 1,
    };
    let score = engine.score(&request, &CancelToken::new())?;
    let judged = score.tokens.into_iter().map(|token| Judged {
        span: start + token.bytes.start..start + token.bytes.end,
        log_probability: token.log_probability,
        best_log_probability: (token.alternatives.first())
            .map_or(token.log_probability, |best| best.probability.ln()),
    });
    Ok(judged.collect())
}

/// Whether a fill may be what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draft {
    Allowed,
    Avoided,
}

/// What the model puts into one hole.
fn fill(
    engine: &mut Engine,
    case: &Broken,
    hole: &Range<usize>,
    draft: Draft,
) -> anyhow::Result<String> {
    let segments = vec![
        Segment::Text(case.text[..hole.start].into()),
        Segment::Hole { draft: case.text[hole.clone()].into() },
        Segment::Text(case.text[hole.end..].into()),
    ];
    let request = InfillRequest {
        avoid_draft: draft == Draft::Avoided,
        ..InfillRequest::new(case.path.clone(), segments)
    };
    let infill = engine.infill(&request, &CancelToken::new(), &mut |_| {})?;
    Ok(infill.holes.into_iter().next().context("a request with a hole has a fill")?.text)
}
