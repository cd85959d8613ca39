//! `bench`: measures a server the way an editor uses it.

mod connection;
mod replay;
mod report;
mod typing;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::args::ReplayArgs;
use connection::Connection;
use replay::{Pace, Replay, Typist};

/// Replays the typing of files against a server of its own, and prints what an editor would have felt.
pub(crate) fn run(
    args: &ReplayArgs,
    model: Option<&Path>,
    related_tokens: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let binary = match &args.server {
        Some(binary) => binary.clone(),
        None => std::env::current_exe().context("cannot find this program's own file")?,
    };
    let files: Vec<(PathBuf, String)> =
        args.files.iter().map(|path| read(path)).collect::<Result<_, _>>()?;
    let pace = match args.interval {
        0 => Pace::Answers,
        interval => Pace::Every(Duration::from_millis(interval)),
    };
    let mut connection = Connection::start(&binary, model, related_tokens)?;
    // Without a number of typists, the files are typed in one after the other.
    let at_once = args.at_once.map_or(1, std::num::NonZeroUsize::get);
    let n_documents = files.len().max(at_once);
    let mut total: Option<report::Report> = None;
    for first in (0..n_documents).step_by(at_once) {
        let mut typists = Vec::new();
        for index in first..(first + at_once).min(n_documents) {
            let (path, text) = &files[index % files.len()];
            let copy = if index < files.len() { String::new() } else { format!("#{index}") };
            let uri = format!("file://{}{copy}", path.display());
            let keys = typing::keys(text, args.hunks.get());
            if keys.is_empty() {
                bail!("{} has no lines to type: name a file with code in it", path.display());
            }
            typists.push(Typist::open(&mut connection, uri, text, keys)?);
        }
        let spent = total.as_ref().map(|total| total.total).unwrap_or_default();
        let report = Replay::new(&mut connection, typists, pace, spent).run()?;
        match &mut total {
            Some(total) => total.merge(report),
            None => total = Some(report),
        }
    }
    connection.finish()?;
    let Some(report) = total else { bail!("name at least one file") };
    #[expect(clippy::print_stdout, reason = "the result of the command")]
    if args.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<(PathBuf, String)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    Ok((path, text))
}
