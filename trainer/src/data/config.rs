//! The configuration of a corpus: which sources, which limits.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::{Language, Split, notice};

/// A corpus configuration, as written in TOML.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Where packages come from.
    #[serde(rename = "source")]
    pub sources: Vec<SourceConfig>,
    /// Most bytes kept of one package; files past it (in a fixed random order) are dropped.
    #[serde(default = "default_max_package_bytes")]
    pub max_package_bytes: usize,
    /// Largest file, bytes.
    #[serde(default = "default_max_file_bytes")]
    pub max_file_bytes: usize,
    /// Smallest file, bytes.
    #[serde(default = "default_min_file_bytes")]
    pub min_file_bytes: usize,
    /// Share of the bytes of each language that goes to validation, in whole packages.
    #[serde(default = "default_validation_share")]
    pub validation_share: f64,
    /// Validation bytes of each language, at least (where there is that much).
    #[serde(default = "default_validation_min_bytes")]
    pub validation_min_bytes: usize,
    /// Estimated Jaccard similarity of token 5-grams from which a file counts as a copy.
    #[serde(default = "default_duplicate_similarity")]
    pub duplicate_similarity: f64,
    /// Hash lists of further evaluation sets (see `diffcoder-train contamination-list`), besides the built-in one. Relative
    /// paths are relative to the configuration file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contamination_lists: Vec<PathBuf>,
    /// NOTICE files of models that a run on this corpus goes on from (`train --from`): the packages that they name stay in
    /// training, since such a model has seen them. Relative paths are relative to the configuration file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trained_before: Vec<PathBuf>,
    /// The packages that those files name.
    #[serde(skip)]
    pub seen_packages: BTreeSet<String>,
}

/// One source of packages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// How packages are laid out there.
    pub kind: SourceKind,
    /// Where; the default depends on `kind`. Relative paths are relative to the configuration file.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Name of the package that a directory holds; its folder name if absent.
    #[serde(default)]
    pub name: Option<String>,
    /// SPDX expression; required for directories and git checkouts, and for rows of a `jsonl` file that name none. The
    /// other kinds read each package's manifest.
    #[serde(default)]
    pub licence: Option<String>,
    /// Names of packages that are left out, such as bindings of system libraries.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Languages taken from it.
    #[serde(default = "all_languages")]
    pub languages: Vec<Language>,
    /// Puts the whole source into one split.
    #[serde(default)]
    pub split: Option<Split>,
    /// Whether a missing path is skipped instead of being an error.
    #[serde(default)]
    pub optional: bool,
}

/// How the packages of a source are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// `$CARGO_HOME/registry/src/*/<package>-<version>`, each with a `Cargo.toml`.
    CargoRegistry,
    /// The standard library of a Python; top-level modules count as packages.
    PythonStdlib,
    /// Installed Python packages: a folder with a `*.dist-info` for each.
    SitePackages,
    /// Installed Node packages, nested ones included: a folder with a `package.json` in each of its folders.
    NodeModules,
    /// The tracked files of a git checkout, one package.
    Git,
    /// A file with an object on each line: `path`, `text`, and optionally `package` and `licence`. A corpus file is one.
    Jsonl,
    /// One folder, one package.
    Directory,
}

impl SourceKind {
    /// Name, as in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::CargoRegistry => "cargo-registry",
            Self::PythonStdlib => "python-stdlib",
            Self::SitePackages => "site-packages",
            Self::NodeModules => "node-modules",
            Self::Git => "git",
            Self::Jsonl => "jsonl",
            Self::Directory => "directory",
        }
    }

    /// Whether name and version of a package of this source tell what is in it.
    pub fn has_versions(self) -> bool {
        matches!(self, Self::CargoRegistry | Self::SitePackages | Self::NodeModules)
    }

    /// Whether nothing in such a source says what its licence is.
    fn needs_licence(self) -> bool {
        matches!(self, Self::Git | Self::Directory)
    }
}

fn default_max_package_bytes() -> usize {
    8_000_000
}
fn default_max_file_bytes() -> usize {
    200_000
}
fn default_min_file_bytes() -> usize {
    100
}
fn default_validation_share() -> f64 {
    0.025
}
fn default_validation_min_bytes() -> usize {
    500_000
}
fn default_duplicate_similarity() -> f64 {
    0.7
}
fn all_languages() -> Vec<Language> {
    Language::ALL.to_vec()
}

impl Default for DataConfig {
    /// The cargo registry and the Python standard library of this machine.
    fn default() -> Self {
        let source = |kind, languages: &[Language]| SourceConfig {
            kind,
            path: None,
            name: None,
            licence: None,
            exclude: Vec::new(),
            languages: languages.to_vec(),
            split: None,
            optional: true,
        };
        Self {
            sources: vec![
                source(SourceKind::CargoRegistry, &[Language::Rust]),
                source(SourceKind::PythonStdlib, &[Language::Python]),
            ],
            max_package_bytes: default_max_package_bytes(),
            max_file_bytes: default_max_file_bytes(),
            min_file_bytes: default_min_file_bytes(),
            validation_share: default_validation_share(),
            validation_min_bytes: default_validation_min_bytes(),
            duplicate_similarity: default_duplicate_similarity(),
            contamination_lists: Vec::new(),
            trained_before: Vec::new(),
            seen_packages: BTreeSet::new(),
        }
    }
}

impl DataConfig {
    /// Reads and checks a configuration file; relative source paths are resolved against its folder.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the data configuration {}", path.display()))?;
        let mut config: Self = toml::from_str(&text)
            .with_context(|| format!("the data configuration {} is wrong", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for source in &mut config.sources {
            if let Some(path) = &mut source.path {
                *path = folder.join(&path);
            }
        }
        for path in &mut config.contamination_lists {
            *path = folder.join(&path);
        }
        for path in &mut config.trained_before {
            *path = folder.join(&path);
            let notice = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the NOTICE {}", path.display()))?;
            config.seen_packages.extend(notice::packages(&notice).map(str::to_owned));
        }
        config.check().with_context(|| format!("the data configuration {}", path.display()))?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.sources.is_empty(), "lists no [[source]]");
        anyhow::ensure!(
            (0.0..=0.5).contains(&self.validation_share),
            "validation_share is {}, it must lie between 0 and 0.5",
            self.validation_share
        );
        anyhow::ensure!(
            (0.3..=1.0).contains(&self.duplicate_similarity),
            "duplicate_similarity is {}, it must lie between 0.3 and 1",
            self.duplicate_similarity
        );
        for source in &self.sources {
            if source.kind.needs_licence() {
                anyhow::ensure!(
                    source.path.is_some(),
                    "a {} source needs a path",
                    source.kind.name()
                );
                anyhow::ensure!(
                    source.licence.is_some(),
                    "the {} source {:?} needs its licence (an SPDX expression)",
                    source.kind.name(),
                    source.path.as_deref().unwrap_or(Path::new(""))
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nano_configuration_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/nano-data.toml");
        let config = DataConfig::read(&path).unwrap();
        let fixtures =
            config.sources.iter().find(|source| source.kind == SourceKind::Directory).unwrap();
        assert_eq!(fixtures.split, Some(Split::Validation));
        assert!(fixtures.path.as_ref().unwrap().ends_with("tests/fixtures/projects"));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = toml::from_str::<DataConfig>("[[source]]\nkind = \"directory\"\nlicense = 1")
            .unwrap_err();
        assert!(error.to_string().contains("license"), "{error}");
    }

    #[test]
    fn a_directory_without_licence_is_refused() {
        let config: DataConfig =
            toml::from_str("[[source]]\nkind = \"directory\"\npath = \"x\"").unwrap();
        assert!(config.check().unwrap_err().to_string().contains("licence"));
    }
}
