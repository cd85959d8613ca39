//! House rules that neither the compiler nor clippy checks. One line per finding, as `file:line: what and why`.

mod layers;
mod links;
mod rust_files;
mod words;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use ignore::WalkBuilder;

/// Cap of the files that a clone brings.
const MAX_TREE_BYTES: u64 = 40 << 20;

/// A text file of the repository.
pub(crate) struct TextFile {
    /// From the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 means the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    /// A finding on a line, counted from 1.
    pub(crate) fn at(file: &TextFile, line: usize, message: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line.max(1), self.message)
    }
}

/// Checks the repository at `root`; fails with the number of findings after printing them.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let tree = read_tree(root)?;
    let mut findings: Vec<Finding> = tree.files.iter().flat_map(check_file).collect();
    for file in &tree.files {
        findings.extend(links::check(file, |path| root.join(path).exists()));
    }
    findings.extend(check_size(tree.bytes));
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend", findings.len());
    }
    eprintln!(
        "tidy: {} text files, {:.1} MiB in all",
        tree.files.len(),
        tree.bytes as f64 / (1 << 20) as f64
    );
    Ok(())
}

fn check_file(file: &TextFile) -> Vec<Finding> {
    let mut findings = words::check(file);
    if file.path.ends_with(".rs") && !file.path.starts_with("tests/fixtures/") {
        findings.extend(rust_files::check(file));
        findings.extend(layers::check(file));
    }
    findings
}

fn check_size(bytes: u64) -> Option<Finding> {
    (bytes > MAX_TREE_BYTES).then(|| Finding {
        path: ".".to_owned(),
        line: 0,
        message: format!(
            "the tree has {} MiB, its cap is 40: keep large files out",
            bytes.div_ceil(1 << 20)
        ),
    })
}

struct Tree {
    files: Vec<TextFile>,
    bytes: u64,
}

/// All files that git tracks or would track.
fn read_tree(root: &Path) -> anyhow::Result<Tree> {
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .git_global(false)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp)
        .build();
    let mut tree = Tree { files: Vec::new(), bytes: 0 };
    for entry in walk {
        let entry = entry.context("walk the repository")?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let bytes =
            fs::read(entry.path()).with_context(|| format!("read {}", entry.path().display()))?;
        tree.bytes += bytes.len() as u64;
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let path = path.to_string_lossy().replace('\\', "/");
        if let Ok(text) = String::from_utf8(bytes)
            && !text.contains('\0')
        {
            tree.files.push(TextFile { path, text });
        }
    }
    Ok(tree)
}

#[cfg(test)]
pub(crate) mod test_support {
    use super::{Finding, TextFile};

    /// A made-up file.
    pub(crate) fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines and messages of findings.
    pub(crate) fn lines(findings: Vec<Finding>) -> Vec<(usize, String)> {
        findings.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::test_support::file;
    use super::*;

    #[test]
    fn findings_name_file_and_line() {
        let finding = Finding::at(&file("a/b.rs", ""), 7, "wrong");
        assert_eq!(finding.to_string(), "a/b.rs:7: wrong");
    }

    #[test]
    fn the_tree_has_a_cap() {
        assert_eq!(check_size(MAX_TREE_BYTES), None);
        assert!(check_size(MAX_TREE_BYTES + 1).unwrap().message.contains("41 MiB"));
    }

    #[test]
    fn fixture_projects_follow_their_own_style() {
        assert!(
            check_file(&file("tests/fixtures/projects/a/src/lib.rs", "fn f() {}\n")).is_empty()
        );
        assert!(!check_file(&file("engine/src/a.rs", "fn f() {}\n")).is_empty());
    }
}
