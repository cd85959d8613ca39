//! The `data` subcommand: collects a corpus, prints what was kept and why not, writes it in one move.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use super::collect::{self, Corpus, MANIFEST, Tally, Watch};
use super::config::DataConfig;
use super::filter::Reason;
use super::{Language, Split};

/// Collect source code from this machine into a training corpus.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// Folder to write the corpus into; an older corpus there is replaced.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
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
    let folder = NewFolder::beside(&args.out, MANIFEST)?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("cannot listen for Ctrl-C")?;
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(
        "{msg} [{bar:32}] {pos}/{len} files, {per_sec}, {eta} left",
    )?);
    bar.set_message("reading");
    let corpus = collect::collect(
        &config,
        &Watch {
            on_start: &|files| bar.set_length(files),
            on_file: &|| bar.inc(1),
            interrupted: &interrupted,
        },
    )?;
    bar.finish_and_clear();
    corpus.write(folder.path(), &config)?;
    anyhow::ensure!(
        !interrupted.load(Ordering::Relaxed),
        "interrupted: nothing was written; start again to collect the corpus"
    );
    folder.publish()?;
    print_table(&corpus);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is the result of the command")]
fn print_table(corpus: &Corpus) {
    print!("{}", table(corpus));
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

/// A folder that is filled beside its final place and then moved there, so that nobody sees half of it.
pub(crate) struct NewFolder {
    temporary: tempfile::TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Refuses a target that holds something else than an older result (a folder with the file `mark`).
    pub(crate) fn beside(target: &Path, mark: &str) -> anyhow::Result<Self> {
        let occupied = match std::fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => target.exists(),
        };
        anyhow::ensure!(
            !occupied || target.join(mark).is_file(),
            "{} exists and holds no {mark} of an earlier run: choose another folder, or empty it",
            target.display()
        );
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(".diffcoder-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot write into {}", parent.display()))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    /// The folder to fill.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Moves the folder to its place; an older result there is removed.
    pub(crate) fn publish(self) -> anyhow::Result<()> {
        let moving = || format!("cannot move the result to {}", self.target.display());
        let temporary = self.temporary.keep();
        if self.target.exists() {
            let older = temporary.with_extension("older");
            std::fs::rename(&self.target, &older).with_context(moving)?;
            std::fs::rename(&temporary, &self.target).with_context(moving)?;
            std::fs::remove_dir_all(&older)
                .with_context(|| format!("cannot remove {}", older.display()))?;
            return Ok(());
        }
        std::fs::rename(&temporary, &self.target).with_context(moving)
    }
}
