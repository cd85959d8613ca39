//! Loads the model that a command asks for.

use std::path::Path;

use anyhow::{Context, bail};
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::Infiller;

/// The model in `dir`, or the embedded one.
pub(crate) fn load(dir: Option<&Path>) -> anyhow::Result<Box<dyn Infiller>> {
    load_with(dir, None)
}

/// As [`load`], with another limit for text of other files.
pub(crate) fn load_with(
    dir: Option<&Path>,
    related_tokens: Option<usize>,
) -> anyhow::Result<Box<dyn Infiller>> {
    let engine = load_engine(dir)?;
    Ok(Box::new(match related_tokens {
        Some(tokens) => engine.with_related_tokens(tokens),
        None => engine,
    }))
}

/// The model, for who looks into it.
pub(crate) fn load_engine(dir: Option<&Path>) -> anyhow::Result<Engine> {
    let Some(dir) = dir else {
        return Engine::embedded().context("cannot load the embedded model");
    };
    let name = dir.display();
    if !dir.is_dir() {
        bail!("there is no model directory {name}: check --model and the setting server.model");
    }
    Engine::from_dir(dir).with_context(|| format!("cannot load the model in {name}"))
}
