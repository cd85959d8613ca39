//! `bench`: measures a server the way an editor uses it.

mod connection;
mod replay;
mod report;
mod typing;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::args::{CommandLine, ReplayArgs};
use connection::Connection;
use replay::{Pace, Replay, Typist};

/// Replays the typing of files against a server of its own, and prints what an editor would have felt.
pub(crate) fn run(args: &ReplayArgs, line: &CommandLine) -> anyhow::Result<ExitCode> {
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
    let mut connection = Connection::start(&binary, &server_arguments(line))?;
    // Without a number of typists, the files are typed in one after the other.
    let at_once = args.at_once.map_or(1, std::num::NonZeroUsize::get);
    let n_documents = files.len().max(at_once);
    let mut total: Option<report::Report> = None;
    for first in (0..n_documents).step_by(at_once) {
        let mut typists = Vec::new();
        for index in first..(first + at_once).min(n_documents) {
            let (path, text) = &files[index % files.len()];
            let uri = uri(path, (index >= files.len()).then_some(index));
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

/// What the server is told of this command's own options.
fn server_arguments(line: &CommandLine) -> Vec<OsString> {
    let model = line.model.iter().flat_map(|dir| ["--model".into(), dir.into()]);
    let tokens = line.related_tokens.iter();
    let tokens = tokens.flat_map(|tokens| ["--related-tokens".into(), tokens.to_string().into()]);
    let set = line.set.iter().flat_map(|assignment| ["--set".into(), assignment.into()]);
    model.chain(tokens).chain(set).collect()
}

/// What a file, or a copy of it with a number, is called: a copy lies in the same folder and is in the same language.
fn uri(path: &Path, copy: Option<usize>) -> String {
    let path = match (copy, path.file_stem(), path.extension()) {
        (None, ..) | (_, None, _) => path.to_owned(),
        (Some(number), Some(stem), extension) => {
            let mut name = stem.to_owned();
            name.push(format!(".{number}"));
            if let Some(extension) = extension {
                name.push(".");
                name.push(extension);
            }
            path.with_file_name(name)
        }
    };
    format!("file://{}", path.display())
}

fn read(path: &Path) -> anyhow::Result<(PathBuf, String)> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
    Ok((path, text))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use diffcoder_lsp::after_fill::Language;

    use super::*;

    #[test]
    fn the_server_has_the_options_of_the_command() {
        let line = "diffcoder-lsp bench replay a.rs --model m --set completion.maxTokens=8 \
                    --set enable=false --related-tokens 7";
        let line = CommandLine::parse_from(line.split_whitespace());
        let server = [OsString::from("diffcoder-lsp")].into_iter().chain(server_arguments(&line));
        let server = CommandLine::parse_from(server);
        assert!(server.command.is_none());
        assert_eq!(server.model, Some("m".into()));
        assert_eq!(server.set, ["completion.maxTokens=8", "enable=false"]);
        assert_eq!(server.related_tokens, Some(7));
        let bare = CommandLine::parse_from(["diffcoder-lsp", "bench", "replay", "a.rs"]);
        assert!(server_arguments(&bare).is_empty());
    }

    #[test]
    fn copies_have_names_of_their_own_in_the_same_language() {
        let path = Path::new("/p/a.b.rs");
        assert_eq!(uri(path, None), "file:///p/a.b.rs");
        assert_eq!(uri(path, Some(4)), "file:///p/a.b.4.rs");
        assert_eq!(uri(Path::new("/p/Makefile"), Some(4)), "file:///p/Makefile.4");
        let id = |uri: &str| Language::of("", uri).map(Language::id);
        assert_eq!(id(&uri(path, Some(4))), Some("rust"));
    }
}
