//! Files and folders that appear whole or not at all, and what becomes of them when a command is stopped half way.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

/// What the name of a folder that is still being filled begins with.
pub const TEMPORARY_PREFIX: &str = ".new-";
/// What stands before the name of a folder that is being removed or replaced.
pub const REMOVED_PREFIX: &str = ".old-";
/// What the shell sees after Ctrl-C: 128 plus the number of the signal.
pub const INTERRUPTED: u8 = 130;
/// The file by whose lock a folder that is being filled is told from one that a killed program left.
const LOCK: &str = ".lock";
/// From this age on a folder without a lock file is a left-over: its maker locks it at once.
const UNLOCKED_FOR: Duration = Duration::from_secs(60);

/// The folders that this process is filling.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    // A list of paths is whole after every single operation on it.
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C removes the folders that are being filled and ends the process with [`INTERRUPTED`].
#[expect(clippy::disallowed_methods, reason = "the thread of the handler cannot return from main")]
pub fn clean_up_on_interrupt() -> Result<()> {
    ctrlc::set_handler(|| {
        // Held to the end: nothing is published after this.
        let unfinished = unfinished();
        for folder in unfinished.iter() {
            // A file may be written into it meanwhile; the second time there is nobody left to do so.
            let _ = fs::remove_dir_all(folder).or_else(|_| fs::remove_dir_all(folder));
        }
        let _ = writeln!(std::io::stderr(), "interrupted: nothing was written");
        std::process::exit(i32::from(INTERRUPTED));
    })
    .context("cannot listen for Ctrl-C")
}

/// A folder that is filled beside its final place and then moved there, so that nobody sees half of it.
///
/// Dropping it without [`NewFolder::publish`] removes it, and so does Ctrl-C after [`clean_up_on_interrupt`]. What a
/// killed program left is removed by the next one that writes to the same place.
pub struct NewFolder {
    temporary: tempfile::TempDir,
    /// Closed, and so unlocked, before the folder goes.
    lock: Option<File>,
    target: PathBuf,
}

impl NewFolder {
    /// Starts a folder that will become `target`; its parent folders are made.
    ///
    /// Refuses a target that holds something else than an older result (a folder with the file `mark`).
    pub fn beside(target: &Path, mark: &str) -> Result<Self> {
        let parent = parent_of(target);
        sweep(parent);
        restore(target).with_context(|| format!("cannot restore {}", target.display()))?;
        let occupied = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => target.exists(),
        };
        ensure!(
            !occupied || target.join(mark).is_file(),
            "{} exists and holds no {mark} of an earlier run: choose another folder, or empty it",
            target.display()
        );
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let mut unfinished = unfinished();
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(parent)
            .with_context(|| format!("cannot write into {}", parent.display()))?;
        unfinished.push(temporary.path().to_owned());
        let lock = File::create(temporary.path().join(LOCK))
            .with_context(|| format!("cannot write into {}", parent.display()))?;
        // On a file system without locks nobody can take it, and the folder counts as one in use.
        let _ = lock.try_lock();
        Ok(Self { temporary, lock: Some(lock), target: target.to_owned() })
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
    pub fn publish(mut self) -> Result<()> {
        // Held over the renames, so that Ctrl-C comes before them or after.
        let mut unfinished = unfinished();
        let temporary = self.path().to_owned();
        let target = self.target.clone();
        let replaced = replaced(&target);
        self.lock = None;
        let publish = || -> std::io::Result<()> {
            fs::remove_file(temporary.join(LOCK))?;
            make_readable(&temporary)?;
            File::open(&temporary)?.sync_all()?;
            if target.exists() {
                fs::rename(&target, &replaced)?;
                fs::rename(&temporary, &target)?;
                fs::remove_dir_all(&replaced)?;
            } else {
                fs::rename(&temporary, &target)?;
            }
            File::open(parent_of(&target))?.sync_all()
        };
        let published = publish();
        unfinished.retain(|path| *path != temporary);
        drop(unfinished);
        published.with_context(|| format!("cannot move the result to {}", target.display()))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        self.lock = None;
        unfinished().retain(|path| path != self.temporary.path());
    }
}

/// Where an older result waits while the newer one takes its place.
fn replaced(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!("{REMOVED_PREFIX}{name}"))
}

/// Ends a replacement of `target` that was cut off: the older result goes, or comes back if it is the only one.
fn restore(target: &Path) -> std::io::Result<()> {
    let replaced = replaced(target);
    match (replaced.is_dir(), target.exists()) {
        (true, true) => fs::remove_dir_all(replaced),
        (true, false) => fs::rename(replaced, target),
        (false, _) => Ok(()),
    }
}

/// Removes the folders in `parent` that a killed program was filling. What cannot be removed does no harm.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_new = entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX);
        if is_new && path.is_dir() && is_left_over(&path) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn is_left_over(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => {
            !matches!(lock.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)))
        }
        Err(_) => fs::metadata(folder)
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age >= UNLOCKED_FOR)),
    }
}

/// Writes a file through to the disk and moves it to its place; its parent folders are made.
pub fn write_file(target: &Path, bytes: &[u8]) -> Result<()> {
    let parent = parent_of(target);
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(parent)?;
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        make_readable(file.path())?;
        file.persist(target)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", target.display()))
}

/// Temporary folders and files are private; what is published is as readable as anything else that the user makes.
#[cfg(unix)]
fn make_readable(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
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
    fn left_overs_of_killed_programs_go_and_folders_in_use_stay() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        let dead = root.path().join(".new-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join(LOCK), b"").unwrap();
        let young = root.path().join(".new-young");
        fs::create_dir(&young).unwrap();
        let first = NewFolder::beside(&target, "file").unwrap();
        assert!(!dead.exists(), "nobody holds its lock");
        assert!(young.exists(), "its maker may be about to lock it");
        let second = NewFolder::beside(&target, "file").unwrap();
        assert!(first.path().exists() && second.path().exists());
        first.write("file", b"first").unwrap();
        first.publish().unwrap();
        let names: Vec<_> =
            fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "the lock is no part of the result");
    }

    #[test]
    fn a_replacement_that_was_cut_off_is_ended() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        let replaced = root.path().join(".old-model");
        for is_there in [false, true] {
            fs::create_dir(&replaced).unwrap();
            fs::write(replaced.join("file"), b"older").unwrap();
            drop(NewFolder::beside(&target, "file").unwrap());
            assert!(!replaced.exists());
            assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "older", "{is_there}");
        }
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), b"x").unwrap();
        let error = NewFolder::beside(root.path(), "config.json").err().unwrap();
        assert!(error.to_string().contains("config.json"), "{error}");
    }
}
