//! Writes the changed file in one step, so that nobody ever sees half of it.

use std::fs;
use std::io::Write as _;

use anyhow::{Context, bail};
use tempfile::NamedTempFile;

use super::source::Source;

/// Replaces the contents of `source`'s file by `contents`.
///
/// A temporary file in the same folder takes its permissions and then its name; symbolic links are followed, so the link
/// stays one. Refused if the file is read-only or was changed since it was read.
pub(crate) fn write(source: &Source, contents: &str) -> anyhow::Result<()> {
    let name = source.path().display();
    let failed = || format!("cannot write {name}, it is unchanged");
    let target = fs::canonicalize(source.path()).with_context(failed)?;
    let permissions = fs::metadata(&target).with_context(failed)?.permissions();
    if permissions.readonly() {
        bail!("{name} is read-only: make it writable, or leave out --write");
    }
    let folder = target.parent().context("a file has a folder")?;
    let mut temporary = NamedTempFile::new_in(folder).with_context(failed)?;
    temporary.write_all(contents.as_bytes()).with_context(failed)?;
    temporary.as_file().set_permissions(permissions).with_context(failed)?;
    temporary.as_file().sync_all().with_context(failed)?;
    if fs::read(&target).with_context(failed)? != source.contents().as_bytes() {
        bail!("{name} was changed by someone else in the meantime: run the command again");
    }
    temporary.persist(&target).with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::test_support::write_file;

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn the_file_is_replaced_and_nothing_is_left_behind() {
        let (folder, path) = write_file("old");
        write(&Source::read(&path).unwrap(), "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone() {
        let (folder, path) = write_file("old");
        let source = Source::read(&path).unwrap();
        fs::write(&path, "typed by hand").unwrap();
        let message = write(&source, "new").unwrap_err().to_string();
        assert!(message.contains("changed by someone else"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "typed by hand");
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn read_only_files_are_refused() {
        let (_folder, path) = write_file("old");
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        let message = write(&Source::read(&path).unwrap(), "new").unwrap_err().to_string();
        assert!(message.contains("is read-only: make it writable"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_survive() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (folder, path) = write_file("old");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o751)).unwrap();
        let link = folder.path().join("link.rs");
        symlink("source.rs", &link).unwrap();
        write(&Source::read(&link).unwrap(), "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o751);
    }
}
