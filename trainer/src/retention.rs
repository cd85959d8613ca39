//! Which checkpoints of a run stay on disk, and which one a resumed run starts from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::atomic::{REMOVED_PREFIX, TEMPORARY_PREFIX};
use crate::checkpoint::{self, Progress};

/// What the name of a checkpoint folder begins with.
const PREFIX: &str = "step-";

/// All checkpoints in `root`, oldest first. Folders that are still being written or half removed are not among them.
pub fn checkpoints(root: &Path) -> Result<Vec<(PathBuf, Progress)>> {
    let mut found = Vec::new();
    for (path, name) in entries(root)? {
        if name.starts_with(PREFIX) && checkpoint::has_manifest(&path) {
            let progress = checkpoint::progress(&path)?;
            found.push((path, progress));
        }
    }
    found.sort_by_key(|(_, progress)| progress.step);
    Ok(found)
}

/// Paths and names of what is in `root`; nothing if it does not exist.
fn entries(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let context = || format!("cannot list {}", root.display());
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(context),
    };
    entries
        .map(|entry| {
            let entry = entry.with_context(context)?;
            Ok((entry.path(), entry.file_name().to_string_lossy().into_owned()))
        })
        .collect()
}

/// The newest checkpoint in `root`.
pub fn newest(root: &Path) -> Result<Option<PathBuf>> {
    Ok(checkpoints(root)?.pop().map(|(path, _)| path))
}

/// Removes all but the newest `keep` checkpoints and the one at the end of each stage.
pub fn prune(root: &Path, keep: usize) -> Result<()> {
    let all = checkpoints(root)?;
    let old = all.len().saturating_sub(keep);
    for (path, progress) in &all[..old] {
        if !progress.stage_end {
            remove(path)
                .with_context(|| format!("cannot remove the old checkpoint {}", path.display()))?;
        }
    }
    Ok(())
}

/// Removes what a killed run left half written or half removed in `root`. Only the run that owns `root` may call this.
pub fn sweep(root: &Path) -> Result<()> {
    for (path, name) in entries(root)? {
        let is_left_over = name.starts_with(TEMPORARY_PREFIX) || name.starts_with(REMOVED_PREFIX);
        if is_left_over && path.is_dir() {
            std::fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove the left-over {}", path.display()))?;
        }
    }
    Ok(())
}

/// Renames first, so that a kill in between leaves no folder that looks like a checkpoint and lacks files.
fn remove(checkpoint: &Path) -> std::io::Result<()> {
    let name = checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let renamed = checkpoint.with_file_name(format!("{REMOVED_PREFIX}{name}"));
    std::fs::rename(checkpoint, &renamed)?;
    std::fs::remove_dir_all(renamed)
}
