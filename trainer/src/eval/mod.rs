//! `diffcoder-train eval`: what a model directory is worth on the validation split of a corpus.

mod bpb;
mod infill;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::data::corpus::read_split;
use crate::data::{Document, Language, Split};

/// Seed of every choice of validation texts and holes: each model is measured on the same ones.
const CHOICE_SEED: u64 = 1;

/// Measure a model directory on the validation split of a corpus.
#[derive(clap::Args, Debug)]
pub struct EvalArgs {
    /// Model directory, as `export` wrote it.
    #[arg(long)]
    model: PathBuf,
    /// Corpus folder, as `data` wrote it.
    #[arg(long)]
    data: PathBuf,
    /// What to measure.
    #[arg(long, value_enum)]
    suite: Suite,
    /// How many documents of each language (bpb) or holes in all (infill).
    #[arg(long)]
    count: Option<usize>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Suite {
    /// Bits per byte of plain text.
    Bpb,
    /// Exact matches of single-line holes, through the engine as it serves.
    Infill,
}

/// Documents of each language that `bpb` scores by default.
const BPB_DOCUMENTS: usize = 60;
/// Holes that `infill` fills by default.
const INFILL_HOLES: usize = 1000;

/// Runs `diffcoder-train eval`.
pub fn run_eval(args: &EvalArgs) -> Result<()> {
    let documents = read_split(&args.data, Split::Validation)?;
    match args.suite {
        Suite::Bpb => {
            let count = args.count.unwrap_or(BPB_DOCUMENTS);
            let report = bpb::measure(&args.model, &documents, count)?;
            print(args, &report, &report.table())
        }
        Suite::Infill => {
            let count = args.count.unwrap_or(INFILL_HOLES);
            let report = infill::measure(&args.model, &documents, count)?;
            print(args, &report, &report.table())
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
fn print(args: &EvalArgs, report: &impl Serialize, table: &str) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{table}");
    }
    Ok(())
}

fn by_language(documents: &[Document]) -> Result<BTreeMap<Language, Vec<&Document>>> {
    let mut languages: BTreeMap<Language, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        languages.entry(document.language).or_default().push(document);
    }
    languages
        .values()
        .next()
        .context("the validation split is empty: collect the corpus from more packages")?;
    Ok(languages)
}
