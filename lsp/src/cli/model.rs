//! Loads the model that a command asks for.

use std::path::Path;

use anyhow::{Context, bail};
use diffcoder_engine::engine::Engine;
use diffcoder_engine::infiller::Infiller;

/// The model in `dir`, or the embedded one.
pub(crate) fn load(dir: Option<&Path>) -> anyhow::Result<Box<dyn Infiller>> {
    Ok(Box::new(load_engine(dir)?))
}

/// The same, for who looks into it.
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
