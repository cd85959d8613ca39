//! Writes a result folder so that nobody ever sees half of it.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that is filled beside its final place and then moved there, so that nobody sees half of it.
pub(crate) struct NewFolder {
    temporary: tempfile::TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Refuses a target that holds something else than an older result (a folder with the file `mark`).
    pub(crate) fn beside(target: &Path, mark: &str) -> anyhow::Result<Self> {
        let occupied = match std::fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => target.exists(),
        };
        anyhow::ensure!(
            !occupied || target.join(mark).is_file(),
            "{} exists and holds no {mark} of an earlier run: choose another folder, or empty it",
            target.display()
        );
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(".diffcoder-")
            .tempdir_in(parent)
            .with_context(|| format!("cannot write into {}", parent.display()))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    /// The folder to fill.
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Moves the folder to its place; an older result there is removed.
    pub(crate) fn publish(self) -> anyhow::Result<()> {
        let moving = || format!("cannot move the result to {}", self.target.display());
        let temporary = self.temporary.keep();
        if self.target.exists() {
            let older = temporary.with_extension("older");
            std::fs::rename(&self.target, &older).with_context(moving)?;
            std::fs::rename(&temporary, &self.target).with_context(moving)?;
            std::fs::remove_dir_all(&older)
                .with_context(|| format!("cannot remove {}", older.display()))?;
            return Ok(());
        }
        std::fs::rename(&temporary, &self.target).with_context(moving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn write(target: &Path, text: &str) {
        let folder = NewFolder::beside(target, "mark").unwrap();
        std::fs::write(folder.path().join("mark"), text).unwrap();
        folder.publish().unwrap();
    }

    #[test]
    fn a_result_appears_at_once_and_replaces_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("nested/out");
        write(&target, "one");
        write(&target, "two");
        assert_eq!(std::fs::read_to_string(target.join("mark")).unwrap(), "two");
        assert_eq!(entries(&dir.path().join("nested")), ["out"]);
    }

    #[test]
    fn what_is_not_published_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let folder = NewFolder::beside(&dir.path().join("out"), "mark").unwrap();
        std::fs::write(folder.path().join("half"), "").unwrap();
        drop(folder);
        assert!(entries(dir.path()).is_empty());
    }

    #[test]
    fn a_folder_of_somebody_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("letter.txt"), "").unwrap();
        let error = NewFolder::beside(dir.path(), "mark").err().unwrap().to_string();
        assert!(error.contains("mark") && error.contains("another folder"), "{error}");
        assert_eq!(entries(dir.path()), ["letter.txt"]);
    }
}
