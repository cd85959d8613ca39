//! Which checkpoints of a run stay on disk, and which one a resumed run starts from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::checkpoint::{self, Progress};

/// All checkpoints in `root`, oldest first. Folders that are still being written are not among them.
pub fn checkpoints(root: &Path) -> Result<Vec<(PathBuf, Progress)>> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", root.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_checkpoint =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("step-"));
        if is_checkpoint {
            let progress = checkpoint::progress(&path)?;
            found.push((path, progress));
        }
    }
    found.sort_by_key(|(_, progress)| progress.step);
    Ok(found)
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
            std::fs::remove_dir_all(path)
                .with_context(|| format!("cannot remove the old checkpoint {}", path.display()))?;
        }
    }
    Ok(())
}
