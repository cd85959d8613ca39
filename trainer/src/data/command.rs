//! The `data` subcommand: collects a corpus, prints what was kept and why not, writes it in one move.

use std::path::PathBuf;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::atomic::{self, NewFolder};
use crate::output;

use super::collect::{self, Corpus, MANIFEST, Tally, Watch};
use super::config::DataConfig;
use super::filter::Reason;
use super::{Language, Split, contamination_command};

/// Collect source code from this machine into a training corpus.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// Folder to write the corpus into; an older corpus there is replaced.
    #[arg(long, value_name = "DIR", required_unless_present = "check", conflicts_with = "check")]
    pub out: Option<PathBuf>,
    /// Instead: fail if a training document of this corpus shares a 13-gram with the evaluation sets.
    #[arg(long, value_name = "DIR")]
    pub check: Option<PathBuf>,
    /// Sources and limits (TOML); by default the cargo registry and the Python standard library.
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
}

/// Runs `diffcoder-train data`.
pub fn run_data(args: DataArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(path) => DataConfig::read(path)?,
        None => DataConfig::default(),
    };
    if let Some(corpus) = &args.check {
        return contamination_command::check(corpus, &config);
    }
    let out = args.out.context("name the folder of the corpus with --out")?;
    atomic::clean_up_on_interrupt()?;
    let folder = NewFolder::beside(&out, MANIFEST)?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{msg} [{bar:32}] {pos}/{len} files, {per_sec}, {eta} left",
    )?);
    bar.set_message("reading");
    let corpus = collect::collect(
        &config,
        &Watch { on_start: &|files| bar.set_length(files), on_file: &|| bar.inc(1) },
    )?;
    bar.finish_and_clear();
    corpus.write(folder.path(), &config)?;
    folder.publish()?;
    output::write(&table(&corpus))
}

/// What was found, kept and dropped, for people.
pub fn table(corpus: &Corpus) -> String {
    let mut text = format!("{:<30}{:>10}{:>12}\n", "", "files", "MB");
    let mut row = |label: String, tally: Tally| {
        let megabytes = tally.bytes as f64 / 1e6;
        text.push_str(&format!("{label:<30}{:>10}{megabytes:>12.2}\n", tally.files));
    };
    for (language, tally) in &corpus.found {
        row(format!("found, {}", language.name()), *tally);
    }
    for reason in Reason::ALL {
        for language in Language::ALL {
            if let Some(tally) = corpus.dropped.get(&reason).and_then(|by| by.get(&language)) {
                row(format!("- {}, {}", reason.label(), language.name()), *tally);
            }
        }
    }
    for (split, by_language) in corpus.kept() {
        for (language, tally) in by_language {
            let split = match split {
                Split::Train => "train",
                Split::Validation => "validation",
            };
            row(format!("= {split}, {}", language.name()), tally);
        }
    }
    for (split, label) in [(Split::Train, "train"), (Split::Validation, "validation")] {
        let packages = corpus.packages.iter().filter(|package| package.split == split).count();
        text.push_str(&format!("packages, {label:<20}{packages:>10}\n"));
    }
    text
}
