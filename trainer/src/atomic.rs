//! Folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

/// What the name of a folder that is still being filled begins with.
pub const TEMPORARY_PREFIX: &str = ".new-";

/// A folder that is filled beside its final place and then moved there, so that nobody sees half of it.
///
/// Dropping it without [`NewFolder::publish`] removes it.
pub struct NewFolder {
    temporary: tempfile::TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Starts a folder that will become `target`; its parent folders are made.
    ///
    /// Refuses a target that holds something else than an older result (a folder with the file `mark`).
    pub fn beside(target: &Path, mark: &str) -> Result<Self> {
        let occupied = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => target.exists(),
        };
        ensure!(
            !occupied || target.join(mark).is_file(),
            "{} exists and holds no {mark} of an earlier run: choose another folder, or empty it",
            target.display()
        );
        let parent = parent_of(target);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(parent)
            .with_context(|| format!("cannot write into {}", parent.display()))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    /// Where the files are until the folder is published.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes one file through to the disk; returns the hexadecimal SHA-256 of its bytes.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let write = || -> std::io::Result<()> {
            let mut file = File::create(self.path().join(name))?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| format!("cannot write {name} for {}", self.target.display()))?;
        Ok(sha256(bytes))
    }

    /// Moves the folder to its place; an older result there is removed.
    pub fn publish(self) -> Result<()> {
        let target = self.target;
        let temporary = self.temporary.keep();
        let publish = || -> std::io::Result<()> {
            make_readable(&temporary)?;
            File::open(&temporary)?.sync_all()?;
            if target.exists() {
                let older = temporary.with_extension("older");
                fs::rename(&target, &older)?;
                fs::rename(&temporary, &target)?;
                fs::remove_dir_all(older)?;
            } else {
                fs::rename(&temporary, &target)?;
            }
            File::open(parent_of(&target))?.sync_all()
        };
        publish().with_context(|| format!("cannot move the result to {}", target.display()))
    }
}

/// Temporary folders are private; what is published is as readable as anything else that the user makes.
#[cfg(unix)]
fn make_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_readable(_path: &Path) -> std::io::Result<()> {
    Ok(())
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Hexadecimal SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_appear_whole_replace_older_ones_and_vanish_when_dropped() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a/b");
        for text in ["first", "second"] {
            let folder = NewFolder::beside(&target, "file").unwrap();
            folder.write("file", text.as_bytes()).unwrap();
            folder.publish().unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
        }
        let folder = NewFolder::beside(&target, "file").unwrap();
        folder.write("file", b"third").unwrap();
        drop(folder);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "second");
        assert_eq!(fs::read_dir(root.path().join("a")).unwrap().count(), 1, "nothing is left over");
        assert_eq!(&sha256(b"")[..16], "e3b0c44298fc1c14");
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), b"x").unwrap();
        let error = NewFolder::beside(root.path(), "config.json").err().unwrap();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}
