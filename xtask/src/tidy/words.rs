//! Words that belong to somebody's machine or workplace, not to the product.

use super::{Finding, TextFile};

/// Folders of one machine. `/home/you` and `/Users/you` are how documents speak of the reader's.
const MACHINE_FOLDERS: [&str; 5] = ["/home/", "/Users/", "/root/", "/work/", "/mnt/"];
const READER: &str = "you/";

const WORKPLACE_WORDS: [&str; 6] =
    ["subagent", "sub-agent", "co-authored-by", "next session", "this session's", "generated with"];

/// Where Cargo.lock may get packages from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Checks one text file of any kind.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    // This file must spell the words; a vocabulary holds whatever it was trained on.
    if file.path == "xtask/src/tidy/words.rs" || file.path.ends_with("tokenizer.json") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        if let Some(folder) = machine_folder(line) {
            let message =
                format!("`{folder}` is a place on one machine: use a path from the repository");
            findings.push(Finding::at(file, index + 1, message));
        }
        let lower = line.to_lowercase();
        for word in WORKPLACE_WORDS.iter().filter(|word| lower.contains(**word)) {
            let message = format!("`{word}` speaks of how this was made: speak of the product");
            findings.push(Finding::at(file, index + 1, message));
        }
        if file.path == "Cargo.lock" && line.starts_with("source = ") && !line.contains(REGISTRY) {
            findings.push(Finding::at(file, index + 1, "packages come from crates.io alone"));
        }
    }
    findings
}

/// A machine's folder at the start of a path in `line`.
fn machine_folder(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        line.match_indices(folder).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            let starts_path =
                before.is_none_or(|char| !char.is_alphanumeric() && !"_.-}/>".contains(char));
            starts_path && !line[start + folder.len()..].starts_with(READER)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::test_support::{file, lines};

    fn n_found(path: &str, text: &str) -> usize {
        lines(check(&file(path, text))).len()
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        for line in ["cd /root/x", "path = \"/home/ann/src\"", "(/work/a)", "/Users/ann/x"] {
            assert_eq!(n_found("README.md", line), 1, "{line}");
        }
        for line in ["/home/you/src", "https://example.org/work/a", "a/work/b", "$HOME/work/"] {
            assert_eq!(n_found("README.md", line), 0, "{line}");
        }
    }

    #[test]
    fn workplace_words_are_found_in_any_case() {
        assert_eq!(n_found("docs/a.md", "fine\nCo-Authored-By: x\n"), 1);
        assert_eq!(n_found("docs/a.md", "The client ends its session.\n"), 0);
    }

    #[test]
    fn packages_come_from_one_registry() {
        assert_eq!(n_found("Cargo.lock", &format!("source = \"{REGISTRY}\"\n")), 0);
        assert_eq!(
            n_found("Cargo.lock", "source = \"registry+https://mirror.example/index\"\n"),
            1
        );
    }
}
