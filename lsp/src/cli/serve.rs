//! The language server over stdin and stdout, with the model in this process.

use std::process::ExitCode;

use anyhow::Context;
use diffcoder_lsp::backend::Backend;
use diffcoder_lsp::client_log::ClientLog;
use diffcoder_lsp::config::Config;

use super::{model, one_sentence};
use crate::logging::Log;

/// Serves until the client is done; the exit code is the one that the protocol asks for.
pub(crate) fn run(
    config: Config,
    (log, client_log): (Log, ClientLog),
    related_tokens: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let load = move |dir: Option<&_>| {
        model::load_with(dir, related_tokens).map_err(|error| one_sentence(&error))
    };
    let on_settings = Box::new(move |settings: &_| log.follow(settings));
    let stats = diffcoder_lsp::stats::file();
    let backend = Backend {
        loader: Box::new(load),
        config,
        stats,
        on_settings,
        client_log: Some(client_log),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    let end = runtime.block_on(diffcoder_lsp::server::serve_stdio(backend));
    Ok(end.into())
}
