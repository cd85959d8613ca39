//! The log: to stderr or to a file, since stdout belongs to the protocol and to results.

use std::fs;
use std::io::{IsTerminal, stderr};
use std::path::Path;

use anyhow::Context;
use diffcoder_lsp::client_log::{ClientLog, client_log};
use diffcoder_lsp::config::Settings;
use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

/// Environment variable with the level or with `tracing` directives, such as `debug` or `diffcoder_lsp=trace`. It goes
/// over the setting `server.logLevel`.
const VARIABLE: &str = "DIFFCODER_LOG";

/// Files that are kept, one for each day.
const KEPT_FILES: usize = 7;

/// The running log.
pub(crate) struct Log(reload::Handle<EnvFilter, Registry>);

/// Starts the log, and that of the client beside it.
pub(crate) fn init(settings: &Settings) -> (Log, ClientLog) {
    let (for_client, client_log) = client_log();
    let (filter, handle) = reload::Layer::new(filter(settings));
    let opened = settings.log_file().as_deref().map(open).transpose();
    let (writer, has_colour, failure) = match opened {
        Ok(Some(appender)) => (BoxMakeWriter::new(appender), false, None),
        Ok(None) => (BoxMakeWriter::new(stderr), stderr().is_terminal(), None),
        Err(error) => (BoxMakeWriter::new(stderr), stderr().is_terminal(), Some(error)),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(has_colour);
    tracing_subscriber::registry().with(layer.with_filter(filter)).with(for_client).init();
    if let Some(error) = failure {
        tracing::warn!("server.logFile cannot be written, so the log goes to stderr: {error:#}");
    }
    (Log(handle), client_log)
}

impl Log {
    /// Changes the level to what the settings say now.
    pub(crate) fn follow(&self, settings: &Settings) {
        // Only a log that is gone refuses; then there is nobody to tell.
        _ = self.0.reload(filter(settings));
    }
}

fn filter(settings: &Settings) -> EnvFilter {
    let level = settings.server.log_level.name();
    match std::env::var(VARIABLE).unwrap_or_default() {
        unset if unset.is_empty() => EnvFilter::new(ours(level)),
        level if level.parse::<LevelFilter>().is_ok() => EnvFilter::new(ours(&level)),
        directives => EnvFilter::new(directives),
    }
}

/// A level for what we log. At `trace` the transport logs whole messages, and so the user's documents: it is kept to
/// warnings unless somebody names it in directives.
fn ours(level: &str) -> String {
    match level.parse() {
        Ok(LevelFilter::OFF | LevelFilter::ERROR | LevelFilter::WARN) => level.to_owned(),
        _ => format!("warn,diffcoder_lsp={level},diffcoder_engine={level}"),
    }
}

/// `diffcoder.log` is written as `diffcoder.2026-01-31.log` beside it.
fn open(file: &Path) -> anyhow::Result<RollingFileAppender> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let part = |part: Option<&std::ffi::OsStr>, or: &str| {
        part.map_or_else(|| or.to_owned(), |part| part.to_string_lossy().into_owned())
    };
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(part(file.file_stem(), "diffcoder"))
        .filename_suffix(part(file.extension(), "log"))
        .max_log_files(KEPT_FILES)
        .build(folder)
        .with_context(|| format!("cannot write to {}", folder.display()))
}
