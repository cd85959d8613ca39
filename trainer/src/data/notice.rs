//! The NOTICE of a model: the packages that it was trained on, with their licences.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::Split;
use super::collect::{MANIFEST, PackageRecord};

#[derive(Deserialize)]
struct Manifest {
    packages: Vec<PackageRecord>,
}

/// Lists the training packages of a corpus folder, grouped by licence.
pub fn notice(corpus: &Path) -> anyhow::Result<String> {
    let path = corpus.join(MANIFEST);
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "{} is no corpus folder: name the one that the model was trained on",
            corpus.display()
        )
    })?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let mut by_licence: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut n_packages = 0;
    for package in manifest.packages.iter().filter(|package| package.split == Split::Train) {
        let entry = format!("{} {}", package.name, package.version).trim_end().to_owned();
        by_licence.entry(&package.licence).or_default().push(entry);
        n_packages += 1;
    }
    let mut notice = format!(
        "The weights beside this file were trained on source code of these {n_packages} packages, each under the licence\n\
         that its own manifest declares. Their authors had no part in this model.\n"
    );
    for (licence, mut packages) in by_licence {
        packages.sort_unstable();
        let _ = write!(notice, "\n{licence}\n");
        for package in packages {
            let _ = writeln!(notice, "  {package}");
        }
    }
    Ok(notice)
}

/// The names of the packages that a NOTICE lists, without their versions.
pub fn packages(notice: &str) -> impl Iterator<Item = &str> {
    notice.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_packages_stand_under_their_licence_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = r#"{"format":"diffcoder-corpus","packages":[
            {"name":"b","version":"2.0.0","licence":"MIT","split":"train","files":1,"bytes":2},
            {"name":"a","version":"","licence":"MIT","split":"train","files":1,"bytes":2},
            {"name":"z","version":"1.0.0","licence":"ISC","split":"validation","files":1,"bytes":2}]}"#;
        std::fs::write(dir.path().join(MANIFEST), manifest).unwrap();
        let text = notice(dir.path()).unwrap();
        assert!(
            text.contains("these 2 packages") && text.ends_with("\nMIT\n  a\n  b 2.0.0\n"),
            "{text}"
        );
        assert_eq!(packages(&text).collect::<Vec<_>>(), ["a", "b"]);
        let error = notice(&dir.path().join("nowhere")).unwrap_err().to_string();
        assert!(error.contains("is no corpus folder"), "{error}");
    }
}
