//! Builds a corpus: every file of every source is kept, or dropped for a named reason.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::config::DataConfig;
use super::contamination::{HashList, SetRecord};
use super::dedup::{Fingerprint, Index};
use super::filter::{self, Reason};
use super::source::{self, Package, SourceFile};
use super::split::{self, PackageBytes};
use super::{Document, Language, Split, licence, scrub};

/// Files and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Number of files.
    pub files: usize,
    /// Bytes: as read for dropped files, as kept for kept ones.
    pub bytes: usize,
}

impl Tally {
    fn add(&mut self, bytes: usize) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// A package that the corpus has files of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageRecord {
    /// Name without version.
    pub name: String,
    /// Version; empty where there is none.
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    /// Where its files went.
    pub split: Split,
    /// What was kept of it.
    #[serde(flatten)]
    pub kept: Tally,
}

/// A corpus and the account of how it came about.
#[derive(Debug, Default)]
pub struct Corpus {
    /// Kept files by split, sorted by package and path.
    pub documents: BTreeMap<Split, Vec<Document>>,
    /// Packages with kept files, sorted.
    pub packages: Vec<PackageRecord>,
    /// What was dropped, by reason and language.
    pub dropped: BTreeMap<Reason, BTreeMap<Language, Tally>>,
    /// Every dropped file with its reason, in the order in which files were looked at.
    pub dropped_paths: Vec<(Reason, String)>,
    /// What was found, by language.
    pub found: BTreeMap<Language, Tally>,
    /// The evaluation sets that no kept file shares a 13-gram with.
    pub evaluation_sets: Vec<SetRecord>,
}

/// Where the work reports to.
pub struct Watch<'a> {
    /// Called with the number of files to be read.
    pub on_start: &'a dyn Fn(u64),
    /// Called after each file.
    pub on_file: &'a (dyn Fn() + Sync),
}

/// One file to be looked at.
struct Candidate<'a> {
    package: &'a Package,
    permissive: bool,
    file: &'a SourceFile,
    language: Language,
}

/// A file that passed all checks that need no other file.
struct Clean {
    text: String,
    fingerprint: Fingerprint,
}

/// Runs the whole pipeline in memory.
pub fn collect(config: &DataConfig, watch: &Watch<'_>) -> anyhow::Result<Corpus> {
    let mut packages = Vec::new();
    for source in &config.sources {
        packages.extend(source::packages(source)?);
    }
    // Of two copies the first is kept: text that must not be trained on comes before all else.
    packages.sort_by_key(|package| package.split != Some(Split::Validation));
    let contamination = HashList::of_config(config)?;
    let candidates = candidates(&packages);
    (watch.on_start)(candidates.len() as u64);
    let read: Vec<(usize, Result<Clean, Reason>)> = candidates
        .par_iter()
        .map(|candidate| {
            let result = read(candidate, config, &contamination);
            (watch.on_file)();
            result
        })
        .collect();
    let mut corpus = assemble(&candidates, read, config);
    corpus.evaluation_sets = contamination.sets().to_vec();
    let kept = corpus.packages.iter().map(|package| package.kept.files).sum::<usize>();
    anyhow::ensure!(
        kept > 0,
        "the data sources hold no usable source file: check their paths and licences"
    );
    Ok(corpus)
}

fn candidates(packages: &[Package]) -> Vec<Candidate<'_>> {
    let mut candidates = Vec::new();
    for package in packages {
        let permissive = licence::is_permissive(&package.licence);
        let mut files: Vec<&SourceFile> = package.files.iter().collect();
        // A fixed random order, so that a package's limit takes files from all over it.
        files.sort_by_cached_key(|file| Sha256::digest(file.shown.as_bytes()));
        for file in files {
            if let Some(language) = Language::of_path(Path::new(&file.shown)) {
                candidates.push(Candidate { package, permissive, file, language });
            }
        }
    }
    candidates
}

/// Size as stored, and the cleaned text or the reason against it.
fn read(
    candidate: &Candidate<'_>,
    config: &DataConfig,
    contamination: &HashList,
) -> (usize, Result<Clean, Reason>) {
    let size = candidate.file.stored_bytes();
    if !candidate.permissive {
        return (size, Err(Reason::Licence));
    }
    let shown = candidate.file.shown.as_str();
    let within = shown.split_once('/').map_or(shown, |(_, within)| within);
    if let Some(reason) = filter::check_path(within, candidate.language) {
        return (size, Err(reason));
    }
    if size > config.max_file_bytes {
        return (size, Err(Reason::Huge));
    }
    let Ok(bytes) = candidate.file.bytes() else {
        return (size, Err(Reason::Unreadable));
    };
    let clean = filter::decode(&bytes, config).and_then(|raw| {
        if let Some(reason) = filter::check_generated(raw, candidate.language) {
            return Err(reason);
        }
        let text = scrub::scrub(raw);
        match filter::check_text(&text, candidate.language, config) {
            Some(reason) => Err(reason),
            None if contamination.first_shared(&text).is_some() => Err(Reason::Contaminated),
            None => Ok(Clean { fingerprint: Fingerprint::of(&text), text }),
        }
    });
    (size, clean)
}

/// Drops copies and what is past a package's limit, then splits.
fn assemble(
    candidates: &[Candidate<'_>],
    read: Vec<(usize, Result<Clean, Reason>)>,
    config: &DataConfig,
) -> Corpus {
    let mut index = Index::new(config.duplicate_similarity);
    let mut corpus = Corpus::default();
    let mut package_bytes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for (candidate, (size, clean)) in candidates.iter().zip(read) {
        corpus.found.entry(candidate.language).or_default().add(size);
        let bytes = package_bytes.entry(&candidate.package.name).or_default();
        let verdict = clean.and_then(|clean| {
            if *bytes + clean.text.len() > config.max_package_bytes {
                return Err(Reason::PackageLimit);
            }
            index.insert(clean.fingerprint).map(|()| clean.text)
        });
        match verdict {
            Ok(text) => {
                *bytes += text.len();
                kept.push((candidate, text));
            }
            Err(reason) => {
                let by_language = corpus.dropped.entry(reason).or_default();
                by_language.entry(candidate.language).or_default().add(size);
                corpus.dropped_paths.push((reason, candidate.file.shown.clone()));
            }
        }
    }
    corpus.add_kept(kept, config);
    corpus
}

/// What `manifest.json` says about a corpus; the model's NOTICE is made from it.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    format: &'static str,
    version: u32,
    config: &'a DataConfig,
    found: &'a BTreeMap<Language, Tally>,
    dropped: &'a BTreeMap<Reason, BTreeMap<Language, Tally>>,
    kept: BTreeMap<Split, BTreeMap<Language, Tally>>,
    sha256: BTreeMap<&'static str, String>,
    evaluation_sets: &'a [SetRecord],
    packages: &'a [PackageRecord],
}

/// Name of the file that makes a folder a corpus.
pub const MANIFEST: &str = "manifest.json";
/// Name of the table of dropped files.
const DROPPED: &str = "dropped.tsv";

impl Corpus {
    /// Splits the kept files by package and lists the packages.
    fn add_kept(&mut self, kept: Vec<(&Candidate<'_>, String)>, config: &DataConfig) {
        let mut free = PackageBytes::new();
        for (candidate, text) in &kept {
            if candidate.package.split.is_none() {
                let bytes = free.entry(candidate.package.name.clone()).or_default();
                *bytes.entry(candidate.language).or_default() += text.len();
            }
        }
        let validation = split::validation_packages(&free, config);
        let mut documents: BTreeMap<Split, Vec<Document>> =
            Split::ALL.into_iter().map(|split| (split, Vec::new())).collect();
        let mut packages: BTreeMap<(&str, &str, &str), PackageRecord> = BTreeMap::new();
        for (candidate, text) in kept {
            let package = candidate.package;
            let split = package.split.unwrap_or(if validation.contains(&package.name) {
                Split::Validation
            } else {
                Split::Train
            });
            let key = (package.name.as_str(), package.version.as_str(), package.licence.as_str());
            let record = packages.entry(key).or_insert_with(|| PackageRecord {
                name: package.name.clone(),
                version: package.version.clone(),
                licence: package.licence.clone(),
                split,
                kept: Tally::default(),
            });
            record.kept.add(text.len());
            documents.entry(split).or_default().push(Document {
                path: candidate.file.shown.clone(),
                package: package.name.clone(),
                language: candidate.language,
                text,
            });
        }
        for documents in documents.values_mut() {
            documents.sort_by(|a, b| (&a.package, &a.path).cmp(&(&b.package, &b.path)));
        }
        self.documents = documents;
        self.packages = packages.into_values().collect();
    }

    /// Kept files by split and language.
    pub fn kept(&self) -> BTreeMap<Split, BTreeMap<Language, Tally>> {
        let mut kept: BTreeMap<Split, BTreeMap<Language, Tally>> = BTreeMap::new();
        for (split, documents) in &self.documents {
            for document in documents {
                let tally = kept.entry(*split).or_default().entry(document.language).or_default();
                tally.add(document.text.len());
            }
        }
        kept
    }

    /// Writes one file for each split, the table of dropped files and the manifest into an existing folder.
    pub fn write(&self, folder: &Path, config: &DataConfig) -> anyhow::Result<()> {
        let mut sha256 = BTreeMap::new();
        for (split, documents) in &self.documents {
            let mut lines = Vec::new();
            for document in documents {
                serde_json::to_writer(&mut lines, document)?;
                lines.push(b'\n');
            }
            let hash: String =
                Sha256::digest(&lines).iter().map(|byte| format!("{byte:02x}")).collect();
            sha256.insert(split.file_name(), hash);
            let path = folder.join(split.file_name());
            std::fs::write(&path, lines)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let mut dropped: String = self
            .dropped_paths
            .iter()
            .map(|(reason, path)| format!("{}\t{path}\n", reason.label()))
            .collect();
        dropped.insert_str(0, "reason\tpath\n");
        let path = folder.join(DROPPED);
        std::fs::write(&path, dropped)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let manifest = Manifest {
            format: "diffcoder-corpus",
            version: 1,
            config,
            found: &self.found,
            dropped: &self.dropped,
            kept: self.kept(),
            sha256,
            evaluation_sets: &self.evaluation_sets,
            packages: &self.packages,
        };
        let path = folder.join(MANIFEST);
        std::fs::write(&path, serde_json::to_vec_pretty(&manifest)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::data::corpus;

    /// A registry with permissive packages, one that is not, copies, and a fixture project.
    fn sources(root: &Path) -> DataConfig {
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let texts = [
            include_str!("source.rs"),
            include_str!("filter.rs"),
            include_str!("loader.rs"),
            include_str!("dedup.rs"),
        ];
        for (index, text) in texts.iter().enumerate() {
            let folder = format!("registry/index/p{index}-1.0.0");
            let manifest =
                format!("[package]\nname = \"p{index}\"\nversion = \"1.0.0\"\nlicense = \"MIT\"\n");
            write(&format!("{folder}/Cargo.toml"), &manifest);
            write(&format!("{folder}/src/lib.rs"), text);
        }
        let shared = include_str!("split.rs");
        write("registry/index/p0-1.0.0/src/shared.rs", shared);
        write("registry/index/p1-1.0.0/src/copy.rs", &shared.replace("bytes", "octets"));
        write("registry/index/p2-1.0.0/tests/fixtures/a.rs", include_str!("config.rs"));
        let copyleft = "[package]\nname = \"c\"\nversion = \"1.0.0\"\nlicense = \"GPL-3.0-only\"\n";
        write("registry/index/c-1.0.0/Cargo.toml", copyleft);
        write("registry/index/c-1.0.0/src/lib.rs", include_str!("config.rs"));
        write("projects/demo/src/lib.rs", include_str!("holes.rs"));
        // A registry package that holds a fixture file must not bring it into training.
        write("registry/index/p3-1.0.0/src/holes.rs", include_str!("holes.rs"));
        let config = format!(
            "validation_min_bytes = 0\nvalidation_share = 0.0\n[[source]]\nkind = \"cargo-registry\"\npath = '{0}/registry'\n[[source]]\nkind = \"directory\"\npath = '{0}/projects'\nlicence = \"MIT\"\nsplit = \"validation\"\n",
            root.display()
        );
        toml::from_str(&config).unwrap()
    }

    fn collected(config: &DataConfig) -> anyhow::Result<Corpus> {
        let watch = Watch { on_start: &|_| {}, on_file: &|| {} };
        collect(config, &watch)
    }

    #[test]
    fn every_file_is_kept_or_dropped_for_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let corpus = collected(&sources(dir.path())).unwrap();
        let dropped: BTreeMap<&str, Reason> =
            corpus.dropped_paths.iter().map(|(reason, path)| (path.as_str(), *reason)).collect();
        assert_eq!(dropped["c-1.0.0/src/lib.rs"], Reason::Licence);
        assert_eq!(dropped["p2-1.0.0/tests/fixtures/a.rs"], Reason::Fixture);
        assert_eq!(dropped["p3-1.0.0/src/holes.rs"], Reason::Duplicate);
        assert_eq!(dropped["p1-1.0.0/src/copy.rs"], Reason::NearDuplicate);
        assert_eq!(dropped.len(), 4, "{dropped:?}");
        let paths = |split: Split| -> Vec<&str> {
            corpus.documents[&split].iter().map(|document| document.path.as_str()).collect()
        };
        assert_eq!(paths(Split::Validation), ["projects/demo/src/lib.rs"]);
        assert_eq!(paths(Split::Train).len(), 5);
        assert_eq!(corpus.found[&Language::Rust].files, 10);
    }

    #[test]
    fn a_written_corpus_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = sources(dir.path());
        config.validation_share = 0.3;
        let corpus = collected(&config).unwrap();
        let out = dir.path().join("out");
        std::fs::create_dir(&out).unwrap();
        corpus.write(&out, &config).unwrap();
        let packages = |split: Split| -> BTreeSet<String> {
            let documents = corpus::read_split(&out, split).unwrap();
            assert_eq!(documents, corpus.documents[&split]);
            documents.into_iter().map(|document| document.package).collect()
        };
        assert!(packages(Split::Train).is_disjoint(&packages(Split::Validation)));
        let manifest = std::fs::read_to_string(out.join(MANIFEST)).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        let listed = manifest["packages"].as_array().unwrap();
        assert_eq!(listed.len(), corpus.packages.len());
        assert!(listed.iter().all(|package| package["licence"] == "MIT"));
        assert!(corpus::read_split(dir.path(), Split::Train).is_err());
    }

    #[test]
    fn a_file_with_a_task_of_an_evaluation_set_is_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = sources(dir.path());
        let task = "fn shared_words(left: &str, right: &str) -> usize {\n    left.split(' ').filter(|word| right.contains(word)).count()\n}\n";
        let code = format!("{}\n{task}", include_str!("notice.rs"));
        std::fs::write(dir.path().join("registry/index/p2-1.0.0/src/task.rs"), code).unwrap();
        let reason = |config: &DataConfig| {
            let corpus = collected(config).unwrap();
            let found =
                corpus.dropped_paths.into_iter().find(|(_, path)| path.ends_with("task.rs"));
            (found.map(|(reason, _)| reason), corpus.evaluation_sets.len())
        };
        let (before, sets) = reason(&config);
        assert_eq!(before, None);
        let set = SetRecord { name: "tasks".into(), sha256: String::new(), rows: 1 };
        let list = HashList::of_texts(vec![set], [task].into_iter());
        let path = dir.path().join("tasks.bin");
        std::fs::write(&path, list.to_bytes().unwrap()).unwrap();
        config.contamination_lists = vec![path];
        assert_eq!(reason(&config), (Some(Reason::Contaminated), sets + 1));
    }

    #[test]
    fn empty_sources_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let mut missing = sources(dir.path());
        missing.sources.truncate(1);
        missing.sources[0].path = Some(dir.path().join("nowhere"));
        assert!(collected(&missing).unwrap_err().to_string().contains("nowhere"));
        missing.sources[0].optional = true;
        assert!(collected(&missing).unwrap_err().to_string().contains("no usable source file"));
    }
}
