//! Prints decoded training rows of a corpus, to be looked at by people.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use diffcoder_engine::tokenizer::Tokenizer;
use diffcoder_train::data::loader::{Loader, LoaderOptions};
use diffcoder_train::data::sample::{SampleOptions, Sampler};
use diffcoder_train::data::{Split, corpus};

#[derive(Parser)]
struct Args {
    /// Corpus folder.
    #[arg(long)]
    data: PathBuf,
    /// Tokenizer folder.
    #[arg(long)]
    tokenizer: PathBuf,
    /// Step whose batch is shown.
    #[arg(long, default_value_t = 0)]
    step: u64,
    /// Rows of the batch.
    #[arg(long, default_value_t = 2)]
    rows: usize,
    /// Tokens of a row.
    #[arg(long, default_value_t = 1024)]
    len: usize,
    /// Share of the infilling samples with one hole that are shown text of other files.
    #[arg(long, default_value_t = 0.5)]
    related: f64,
    /// Share of the infilling samples whose middle is one whole line.
    #[arg(long, default_value_t = 0.0)]
    whole_line: f64,
}

fn main() -> anyhow::Result<()> {
    let Args { data, tokenizer, step, rows, len, related, whole_line } = Args::parse();
    let documents = Arc::new(corpus::read_split(&data, Split::Train)?);
    let names = tokenizers::Tokenizer::from_file(tokenizer.join("tokenizer.json"))
        .map_err(anyhow::Error::msg)?;
    let options = SampleOptions {
        infill_rate: 0.65,
        multi_hole_rate: 0.6,
        related_rate: related,
        whole_line_rate: whole_line,
        block_length: 4,
    };
    let sampler = Sampler::new(Tokenizer::from_dir(&tokenizer)?, options)?;
    let loader = Loader::new(documents, sampler, LoaderOptions { rows, len, seed: 0 })?;
    let start = std::time::Instant::now();
    let batch = loader.batch(step)?;
    eprintln!(
        "{:.1} ms, {:.0} steps per epoch",
        start.elapsed().as_secs_f64() * 1e3,
        loader.steps_per_epoch()
    );
    for row in batch.tokens.chunks(len) {
        let text = names.decode(row, false).map_err(anyhow::Error::msg)?;
        eprintln!("{}\n{}", "=".repeat(100), text);
    }
    Ok(())
}
