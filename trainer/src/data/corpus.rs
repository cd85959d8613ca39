//! Reads a corpus folder back: documents in the order in which they were written.

use std::path::Path;

use anyhow::Context;

use super::collect::MANIFEST;
use super::{Document, Split};

/// The documents of one split of a corpus folder, sorted by package and path.
pub fn read_split(folder: &Path, split: Split) -> anyhow::Result<Vec<Document>> {
    anyhow::ensure!(
        folder.join(MANIFEST).is_file(),
        "{} is no corpus folder (it has no {MANIFEST}): make one with `diffcoder-train data --out {}`",
        folder.display(),
        folder.display()
    );
    let path = folder.join(split.file_name());
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the corpus file {}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    "line {} of {} is damaged: collect the corpus again",
                    index + 1,
                    path.display()
                )
            })
        })
        .collect()
}
