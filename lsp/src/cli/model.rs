//! Loads the model that a command asks for.

use std::path::Path;

use diffcoder_engine::infiller::Infiller;

/// The model in `dir`, or the embedded one.
pub(crate) fn load(dir: Option<&Path>) -> anyhow::Result<Box<dyn Infiller>> {
    match dir {
        Some(dir) => anyhow::bail!("cannot load {}: this build has no engine", dir.display()),
        None => anyhow::bail!("this build has no engine: name a model directory with --model"),
    }
}
