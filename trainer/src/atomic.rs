//! Folders that appear whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A folder being written next to its final place; dropping it without [`NewFolder::publish`] removes it.
pub struct NewFolder {
    temporary: tempfile::TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Starts a folder that will become `target`. Its parent folders are made.
    pub fn create(target: &Path) -> io::Result<Self> {
        let parent = parent_of(target);
        fs::create_dir_all(parent)?;
        let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    /// Where the files are until the folder is published.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Writes one file through to the disk; returns the hexadecimal SHA-256 of its bytes.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<String> {
        let mut file = File::create(self.path().join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(sha256(bytes))
    }

    /// Puts the folder in its place, in one step; an older one there is replaced.
    pub fn publish(self) -> io::Result<()> {
        File::open(self.path())?.sync_all()?;
        set_readable(self.path())?;
        let finished = self.temporary.keep();
        if self.target.exists() {
            let old = finished.with_extension("old");
            fs::rename(&self.target, &old)?;
            fs::rename(&finished, &self.target)?;
            fs::remove_dir_all(old)?;
        } else {
            fs::rename(&finished, &self.target)?;
        }
        File::open(parent_of(&self.target))?.sync_all()
    }
}

/// Temporary folders are private; what is published is as readable as anything else that the user makes.
#[cfg(unix)]
fn set_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn set_readable(_path: &Path) -> io::Result<()> {
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
            let folder = NewFolder::create(&target).unwrap();
            folder.write("file", text.as_bytes()).unwrap();
            folder.publish().unwrap();
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), text);
        }
        let folder = NewFolder::create(&target).unwrap();
        folder.write("file", b"third").unwrap();
        drop(folder);
        assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "second");
        assert_eq!(fs::read_dir(root.path().join("a")).unwrap().count(), 1, "nothing is left over");
        assert_eq!(&sha256(b"")[..16], "e3b0c44298fc1c14");
    }
}
