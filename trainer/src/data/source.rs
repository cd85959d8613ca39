//! Finds packages on the disk: dispatch to the kinds of sources, and those that need no file of their own (the cargo
//! registry, Python's standard library, a directory).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;

use super::config::{SourceConfig, SourceKind};
use super::{Language, Split, jsonl, node_modules, repository, site_packages};

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
    /// Its files, sorted.
    pub files: Vec<SourceFile>,
}

/// One file of a package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    /// Package folder and path within it, with forward slashes.
    pub shown: String,
    /// Where its text is.
    pub place: Place,
}

/// Where the text of a file is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the disk.
    Disk(PathBuf),
    /// In memory, read with the row that it is a part of.
    Memory(String),
}

impl SourceFile {
    /// Bytes of the text as stored; 0 where that cannot be told.
    pub fn stored_bytes(&self) -> usize {
        match &self.place {
            Place::Disk(path) => std::fs::metadata(path).map_or(0, |meta| meta.len() as usize),
            Place::Memory(text) => text.len(),
        }
    }

    /// The text as stored.
    pub fn bytes(&self) -> std::io::Result<Cow<'_, [u8]>> {
        match &self.place {
            Place::Disk(path) => std::fs::read(path).map(Cow::Owned),
            Place::Memory(text) => Ok(Cow::Borrowed(text.as_bytes())),
        }
    }
}

/// Lists the packages of one source, sorted by name, newest version first.
pub fn packages(source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let root = match (&source.path, source.kind) {
        (Some(path), _) => Ok(path.clone()),
        (None, SourceKind::CargoRegistry) => cargo_registry(),
        (None, SourceKind::PythonStdlib) => python_folder("stdlib"),
        (None, SourceKind::SitePackages) => python_folder("purelib"),
        (None, kind) => Err(anyhow::anyhow!("a {} source needs a path", kind.name())),
    };
    let root = match root {
        Err(_) if source.optional => return Ok(Vec::new()),
        root => root?,
    };
    let (is_there, wanted) = match source.kind {
        SourceKind::Jsonl => (root.is_file(), "file"),
        _ => (root.is_dir(), "folder"),
    };
    if !is_there {
        if source.optional {
            return Ok(Vec::new());
        }
        anyhow::bail!(
            "the data source {} is not a {wanted}: correct its path, or mark it optional = true",
            root.display()
        );
    }
    let mut packages = match source.kind {
        SourceKind::CargoRegistry => registry_packages(&root, source)?,
        SourceKind::PythonStdlib => stdlib_packages(&root, source)?,
        SourceKind::SitePackages => site_packages::packages(&root, source)?,
        SourceKind::NodeModules => node_modules::packages(&root, source)?,
        SourceKind::Git => vec![repository::package(&root, source)?],
        SourceKind::Jsonl => jsonl::packages(&root, source)?,
        SourceKind::Directory => vec![directory_package(&root, source)?],
    };
    packages.sort_by(|a, b| {
        a.name.cmp(&b.name).then_with(|| version_key(&b.version).cmp(&version_key(&a.version)))
    });
    // The same package may be installed in two places.
    packages
        .dedup_by(|a, b| source.kind.has_versions() && a.name == b.name && a.version == b.version);
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

/// One of the folders that the `python3` on PATH names in `sysconfig.get_paths()`.
fn python_folder(which: &str) -> anyhow::Result<PathBuf> {
    let program = format!("import sysconfig; print(sysconfig.get_paths()['{which}'])");
    let output = Command::new("python3")
        .args(["-c", &program])
        .output()
        .context("python3 cannot be started: set the path of the Python source")?;
    anyhow::ensure!(
        output.status.success(),
        "python3 cannot say where its packages are: set the path of the Python source"
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
    let mut by_name: BTreeMap<String, Vec<SourceFile>> = BTreeMap::new();
    for file in source_files(root, &folder, &source.languages)? {
        let relative = file.shown.strip_prefix(&format!("{folder}/")).unwrap_or(&file.shown);
        if let Some(name) = stdlib_module(relative) {
            by_name.entry(name).or_default().push(file);
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
    let name = source_name(root, source)?;
    Ok(Package {
        files: source_files(root, &name, &source.languages)?,
        name,
        version: String::new(),
        licence: source.licence.clone().unwrap_or_default(),
        split: source.split,
    })
}

/// Name of the one package of a source: the configured one, or that of its folder or file.
pub(super) fn source_name(root: &Path, source: &SourceConfig) -> anyhow::Result<String> {
    match &source.name {
        Some(name) => Ok(name.clone()),
        None => {
            let root = root.canonicalize()?;
            let name = if root.is_dir() { root.file_name() } else { root.file_stem() };
            name.map(|name| name.to_string_lossy().into_owned())
                .context("the root folder cannot be a data source without a name")
        }
    }
}

pub(super) fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
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

/// Files of the wanted languages below `root`, sorted; hidden and git-ignored ones are left out, links not followed,
/// and `node_modules` not entered, for what is in there are packages of their own.
pub(super) fn source_files(
    root: &Path,
    shown: &str,
    languages: &[Language],
) -> anyhow::Result<Vec<SourceFile>> {
    let mut files = Vec::new();
    let walk = ignore::WalkBuilder::new(root)
        .parents(false)
        .follow_links(false)
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != "node_modules")
        .build();
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot walk {}", root.display()))?;
        let is_file = entry.file_type().is_some_and(|kind| kind.is_file());
        if !is_file || !is_wanted(entry.path(), languages) {
            continue;
        }
        let relative = entry.path().strip_prefix(root)?;
        let relative: Vec<_> =
            relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        files.push(SourceFile {
            shown: format!("{shown}/{}", relative.join("/")),
            place: Place::Disk(entry.into_path()),
        });
    }
    files.sort();
    Ok(files)
}

/// Whether a file is in one of the wanted languages.
pub(super) fn is_wanted(path: &Path, languages: &[Language]) -> bool {
    Language::of_path(path).is_some_and(|found| languages.contains(&found))
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
        let shown: Vec<_> = found.iter().map(|package| package.files[0].shown.as_str()).collect();
        assert_eq!(shown, ["demo-1.10.0/src/lib.rs", "demo-1.2.0/src/lib.rs"]);
        assert!(found.iter().all(|package| package.files.len() == 1 && package.name == "demo"));
        assert_eq!(found[0].licence, "MIT OR Apache-2.0");
    }
}
