//! Takes the tracked files of a git checkout as one package.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::config::SourceConfig;
use super::source::{Package, Place, SourceFile, is_wanted, source_name};

/// The checkout's tracked files as they stand on the disk; its version is the commit.
pub(super) fn package(root: &Path, source: &SourceConfig) -> anyhow::Result<Package> {
    let name = source_name(root, source)?;
    let listing = git(root, &["ls-files", "-z"])?;
    let mut files: Vec<SourceFile> = listing
        .split('\0')
        .filter(|path| is_wanted(Path::new(path), &source.languages))
        .map(|path| (path, root.join(path)))
        // Links, and files that the checkout lacks, are none of its own text.
        .filter(|(_, place)| place.symlink_metadata().is_ok_and(|meta| meta.is_file()))
        .map(|(path, place)| SourceFile {
            shown: format!("{name}/{path}"),
            place: Place::Disk(place),
        })
        .collect();
    files.sort();
    Ok(Package {
        name,
        version: git(root, &["rev-parse", "HEAD"])?.trim().to_owned(),
        licence: source.licence.clone().unwrap_or_default(),
        split: source.split,
        files,
    })
}

fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        // A checkout's own configuration may name a program to run.
        .args(["-c", "core.fsmonitor=false"])
        .args(arguments)
        .output()
        .context("git cannot be started: install it, or make the source kind = \"directory\"")?;
    ensure!(
        output.status.success(),
        "git cannot read the checkout {}: {}",
        root.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::config::DataConfig;
    use crate::data::source;

    fn source_at(root: &Path) -> SourceConfig {
        let text = format!(
            "[[source]]\nkind = \"git\"\nname = \"demo\"\nlicence = \"MIT\"\npath = {:?}\n",
            root.display()
        );
        toml::from_str::<DataConfig>(&text).unwrap().sources.remove(0)
    }

    #[test]
    fn only_tracked_files_are_taken_and_the_commit_is_the_version() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        for path in ["src/lib.rs", "untracked.rs", "notes.txt"] {
            std::fs::write(dir.path().join(path), "fn main() {}\n").unwrap();
        }
        git(dir.path(), &["init", "--quiet"]).unwrap();
        git(dir.path(), &["add", "src/lib.rs", "notes.txt"]).unwrap();
        let who = ["-c", "user.name=a", "-c", "user.email=user@example.com"];
        git(dir.path(), &[&who[..], &["commit", "--quiet", "-m", "x"]].concat()).unwrap();
        let found = source::packages(&source_at(dir.path())).unwrap();
        let shown: Vec<&str> = found[0].files.iter().map(|file| file.shown.as_str()).collect();
        assert_eq!(shown, ["demo/src/lib.rs"]);
        assert_eq!(found[0].version.len(), 40);
    }

    #[test]
    fn a_folder_that_is_no_checkout_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = source::packages(&source_at(dir.path())).unwrap_err().to_string();
        assert!(error.contains("git cannot read the checkout"), "{error}");
    }
}
