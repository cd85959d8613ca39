//! The `contamination-list` subcommand, and the check of a corpus folder against the lists.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use rayon::prelude::*;

use super::Split;
use super::config::DataConfig;
use super::contamination::{GRAM_TOKENS, HashList};
use super::corpus::read_split;
use super::evaluation_sets::{self, Rows};
use crate::{atomic, output};

/// Make the list of hashed 13-grams by which `data` drops what stands in evaluation sets.
#[derive(Clone, Debug, clap::Args)]
pub struct ContaminationListArgs {
    /// Evaluation sets: JSON lines, also gzipped.
    #[arg(required = true, value_name = "FILE")]
    pub sets: Vec<PathBuf>,
    /// The list to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Take rows in languages too that no corpus can hold.
    #[arg(long)]
    pub all_languages: bool,
}

/// Runs `diffcoder-train contamination-list`.
pub fn run_contamination_list(args: &ContaminationListArgs) -> anyhow::Result<()> {
    let wanted = if args.all_languages { Rows::EveryLanguage } else { Rows::CorpusLanguages };
    let (mut sets, mut texts) = (Vec::new(), Vec::new());
    for path in &args.sets {
        let (set, of_set) = evaluation_sets::read(path, wanted)?;
        sets.push(set);
        texts.extend(of_set);
    }
    let list = HashList::of_texts(sets, texts.iter().map(String::as_str));
    ensure!(
        !list.is_empty(),
        "the sets hold no {GRAM_TOKENS}-gram that tells anything: name other files"
    );
    let bytes = list.to_bytes()?;
    atomic::write_file(&args.out, &bytes)?;
    output::line(&format!(
        "{}: {} hashes of {} rows, {} bytes",
        args.out.display(),
        list.len(),
        list.sets().iter().map(|set| set.rows).sum::<usize>(),
        bytes.len()
    ))?;
    Ok(())
}

/// Documents that the check names before it only counts.
const NAMED: usize = 20;

/// Fails if a training document of a corpus folder shares a 13-gram with a list.
pub(super) fn check(corpus: &Path, config: &DataConfig) -> anyhow::Result<()> {
    let list = HashList::of_config(config)?;
    let documents = read_split(corpus, Split::Train)?;
    let hits: Vec<(&str, String)> = documents
        .par_iter()
        .filter_map(|document| {
            list.first_shared(&document.text).map(|gram| (document.path.as_str(), gram))
        })
        .collect();
    if hits.is_empty() {
        output::line(&format!(
            "none of {} training documents shares a {GRAM_TOKENS}-gram with the evaluation sets",
            documents.len()
        ))?;
        return Ok(());
    }
    for (path, gram) in hits.iter().take(NAMED) {
        output::line(&format!("{path}: {gram}"))?;
    }
    bail!(
        "{} of {} training documents share a {GRAM_TOKENS}-gram with the evaluation sets: collect the corpus again",
        hits.len(),
        documents.len()
    )
}
