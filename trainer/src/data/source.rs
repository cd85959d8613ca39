//! Finds packages on the disk: in the cargo registry, in Python's standard library, in a directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;

use super::config::{SourceConfig, SourceKind};
use super::{Language, Split};

/// A package with the files that may be taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Name without version; the unit of the train/validation split.
    pub name: String,
    /// Version; empty where there is none.
    pub version: String,
    /// SPDX expression as its manifest says; empty where it says nothing.
    pub licence: String,
    /// Split that the configuration forces.
    pub split: Option<Split>,
    /// Shown path and place on disk of its files, sorted.
    pub files: Vec<(String, PathBuf)>,
}

/// Lists the packages of one source, sorted by name, newest version first.
pub fn packages(source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let root = match (&source.path, source.kind) {
        (Some(path), _) => path.clone(),
        (None, SourceKind::CargoRegistry) => cargo_registry()?,
        (None, SourceKind::PythonStdlib) => match python_stdlib() {
            Err(_) if source.optional => return Ok(Vec::new()),
            found => found?,
        },
        (None, SourceKind::Directory) => anyhow::bail!("a directory source needs a path"),
    };
    if !root.is_dir() {
        if source.optional {
            return Ok(Vec::new());
        }
        anyhow::bail!(
            "the data source {} is not a folder: correct its path, or mark it optional = true",
            root.display()
        );
    }
    let mut packages = match source.kind {
        SourceKind::CargoRegistry => registry_packages(&root, source)?,
        SourceKind::PythonStdlib => stdlib_packages(&root, source)?,
        SourceKind::Directory => vec![directory_package(&root, source)?],
    };
    packages.retain(|package| !package.files.is_empty() && !source.exclude.contains(&package.name));
    Ok(packages)
}

fn cargo_registry() -> anyhow::Result<PathBuf> {
    let home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir()
            .context("there is no home folder: set CARGO_HOME or the source's path")?
            .join(".cargo"),
    };
    Ok(home.join("registry/src"))
}

fn python_stdlib() -> anyhow::Result<PathBuf> {
    let program = "import sysconfig; print(sysconfig.get_paths()['stdlib'])";
    let output = Command::new("python3")
        .args(["-c", program])
        .output()
        .context("python3 cannot be started: set the path of the python-stdlib source")?;
    anyhow::ensure!(
        output.status.success(),
        "python3 cannot say where its library is: set the path of the python-stdlib source"
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

#[derive(Deserialize)]
struct Manifest {
    package: Option<ManifestPackage>,
}

#[derive(Deserialize)]
struct ManifestPackage {
    name: String,
    version: String,
    license: Option<String>,
}

/// A registry holds one folder for each index, and in it one for each package and version.
fn registry_packages(root: &Path, source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let mut packages = Vec::new();
    for index in folders(root)? {
        for folder in folders(&index)? {
            let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else {
                continue;
            };
            let Ok(Manifest { package: Some(manifest) }) = toml::from_str(&manifest) else {
                continue;
            };
            let shown = format!("{}-{}", manifest.name, manifest.version);
            packages.push(Package {
                files: source_files(&folder, &shown, &source.languages)?,
                name: manifest.name,
                version: manifest.version,
                licence: manifest.license.unwrap_or_default(),
                split: source.split,
            });
        }
    }
    packages.sort_by(|a, b| {
        a.name.cmp(&b.name).then_with(|| version_key(&b.version).cmp(&version_key(&a.version)))
    });
    // The same package may be cached from two indexes.
    packages.dedup_by(|a, b| a.name == b.name && a.version == b.version);
    Ok(packages)
}

/// Orders versions by their numbers; what follows a `-` or `+` only breaks ties.
fn version_key(version: &str) -> (Vec<u64>, String) {
    let (numbers, rest) = version.find(['-', '+']).map_or((version, ""), |at| version.split_at(at));
    (numbers.split('.').map(|part| part.parse().unwrap_or(0)).collect(), rest.to_owned())
}

/// Folders of the standard library that are not part of it, or are copies of other packages.
const NOT_STDLIB: [&str; 3] = ["site-packages", "dist-packages", "ensurepip"];

fn stdlib_packages(root: &Path, source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let folder = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut by_name: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    for (shown, path) in source_files(root, &folder, &source.languages)? {
        let relative = shown.strip_prefix(&format!("{folder}/")).unwrap_or(&shown);
        if let Some(name) = stdlib_module(relative) {
            by_name.entry(name).or_default().push((shown, path));
        }
    }
    let version = folder.strip_prefix("python").unwrap_or_default();
    Ok(by_name
        .into_iter()
        .map(|(name, files)| Package {
            name: format!("python-stdlib/{name}"),
            version: version.to_owned(),
            licence: source.licence.clone().unwrap_or_else(|| "PSF-2.0".to_owned()),
            split: source.split,
            files,
        })
        .collect())
}

/// The module that a file of the standard library belongs to. Tests go with what they test (`test/test_json/x.py`
/// belongs to `json`), and private implementations with their public face (`_pydecimal` is `decimal`), so that both
/// land in one split. `None` for what is not the library's own.
fn stdlib_module(relative: &str) -> Option<String> {
    let mut parts = relative.split('/');
    let mut first = parts.next()?;
    if NOT_STDLIB.contains(&first) || first.starts_with("config-") {
        return None;
    }
    if first == "test" {
        first = parts.next()?;
        first = first.strip_prefix("test_").unwrap_or(first);
    }
    let name = first.strip_suffix(".py").unwrap_or(first);
    let name = name.strip_prefix("_py").or_else(|| name.strip_prefix('_')).unwrap_or(name);
    Some(name.to_owned())
}

fn directory_package(root: &Path, source: &SourceConfig) -> anyhow::Result<Package> {
    let name = match &source.name {
        Some(name) => name.clone(),
        None => root
            .canonicalize()?
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .context("the root folder cannot be a data source without a name")?,
    };
    Ok(Package {
        files: source_files(root, &name, &source.languages)?,
        name,
        version: String::new(),
        licence: source.licence.clone().unwrap_or_default(),
        split: source.split,
    })
}

fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(root).with_context(|| format!("cannot list {}", root.display()))?;
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", root.display()))?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

/// Files of the wanted languages below `root`, sorted; hidden and git-ignored ones are left out, links not followed.
fn source_files(
    root: &Path,
    shown: &str,
    languages: &[Language],
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in ignore::WalkBuilder::new(root).parents(false).follow_links(false).build() {
        let entry = entry.with_context(|| format!("cannot walk {}", root.display()))?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if !is_file
            || !Language::of_path(entry.path()).is_some_and(|found| languages.contains(&found))
        {
            continue;
        }
        let relative = entry.path().strip_prefix(root)?;
        let relative: Vec<_> =
            relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        files.push((format!("{shown}/{}", relative.join("/")), entry.into_path()));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdlib_files_go_to_the_module_they_are_about() {
        let table = [
            ("json/decoder.py", Some("json")),
            ("test/test_json/test_dump.py", Some("json")),
            ("bisect.py", Some("bisect")),
            ("test/test_bisect.py", Some("bisect")),
            ("_pydecimal.py", Some("decimal")),
            ("_strptime.py", Some("strptime")),
            ("site-packages/pip/main.py", None),
            ("ensurepip/__init__.py", None),
        ];
        for (path, module) in table {
            assert_eq!(stdlib_module(path).as_deref(), module, "{path}");
        }
    }

    #[test]
    fn newer_versions_come_first() {
        assert!(version_key("1.10.0") > version_key("1.9.3"));
        assert!(version_key("0.12.1+wasi-0.2") > version_key("0.12.0"));
    }

    #[test]
    fn a_registry_is_read_with_names_versions_and_licences() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["1.2.0", "1.10.0"] {
            let package = dir.path().join(format!("index/demo-{version}"));
            std::fs::create_dir_all(package.join("src")).unwrap();
            let manifest = format!(
                "[package]\nname = \"demo\"\nversion = \"{version}\"\nlicense = \"MIT OR Apache-2.0\"\n"
            );
            std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
            std::fs::write(package.join("src/lib.rs"), "fn main() {}").unwrap();
            std::fs::write(package.join("src/notes.txt"), "no code").unwrap();
        }
        let left_out = dir.path().join("index/left-out-1.0.0");
        std::fs::create_dir_all(&left_out).unwrap();
        let manifest = "[package]\nname = \"left-out\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n";
        std::fs::write(left_out.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(left_out.join("lib.rs"), "fn main() {}").unwrap();
        let source = SourceConfig {
            kind: SourceKind::CargoRegistry,
            path: Some(dir.path().to_owned()),
            name: None,
            licence: None,
            exclude: vec!["left-out".to_owned()],
            languages: vec![Language::Rust],
            split: None,
            optional: false,
        };
        let found = packages(&source).unwrap();
        let shown: Vec<_> = found.iter().map(|package| package.files[0].0.as_str()).collect();
        assert_eq!(shown, ["demo-1.10.0/src/lib.rs", "demo-1.2.0/src/lib.rs"]);
        assert!(found.iter().all(|package| package.files.len() == 1 && package.name == "demo"));
        assert_eq!(found[0].licence, "MIT OR Apache-2.0");
    }
}
