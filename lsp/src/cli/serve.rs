//! The language server over stdin and stdout, with the model in this process.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use super::model;

/// Serves until the client is done; the exit code is the one that the protocol asks for.
pub(crate) fn run(
    model_dir: Option<&Path>,
    related_tokens: Option<usize>,
) -> anyhow::Result<ExitCode> {
    let infiller = model::load_with(model_dir, related_tokens)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    let end = runtime.block_on(diffcoder_lsp::server::serve_stdio(infiller));
    Ok(end.into())
}
