//! Links between documents lead to files that exist.

use super::{Finding, TextFile};

/// Checks the relative links of a Markdown file; `exists` answers for paths from the root.
pub(crate) fn check(file: &TextFile, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    if !file.path.ends_with(".md") {
        return Vec::new();
    }
    let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                continue;
            }
            match resolve(folder, path) {
                Some(path) if exists(&path) => {}
                _ => findings.push(Finding::at(
                    file,
                    index + 1,
                    format!("{target} leads to no file"),
                )),
            }
        }
    }
    findings
}

/// The targets of `[text](target)` and `![text](target)` in a line, and of `src="target"`.
fn targets(line: &str) -> Vec<&str> {
    let between = |open: &'static str, close: char| {
        line.match_indices(open).filter_map(move |(start, _)| {
            let target = &line[start + open.len()..];
            Some(target[..target.find(close)?].split(' ').next().unwrap_or_default())
        })
    };
    between("](", ')').chain(between("src=\"", '"')).collect()
}

/// `path` seen from `folder`, as a path from the root; `None` if it leaves the root.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::test_support::{file, lines};

    fn found(path: &str, text: &str) -> Vec<usize> {
        let exists = |path: &str| ["README.md", "docs/a.md", "docs/images/x.svg"].contains(&path);
        lines(check(&file(path, text), exists)).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn links_are_seen_from_their_file() {
        assert_eq!(
            found("docs/b.md", "[a](a.md) [r](../README.md#use) ![x](images/x.svg \"title\")"),
            [0usize; 0]
        );
        assert_eq!(found("docs/b.md", "fine\n[a](b/a.md) and [r](README.md)"), [2, 2]);
        assert_eq!(found("README.md", "[out](../x.md)\n<img src=\"docs/y.svg\">"), [1, 2]);
    }

    #[test]
    fn other_sites_anchors_and_code_are_left_alone() {
        assert_eq!(
            found("README.md", "[w](https://example.org/a) [h](#use)\n```\n[x](gone.md)\n```\n"),
            [0usize; 0]
        );
        assert_eq!(found("src/a.rs", "[x](gone.md)"), [0usize; 0]);
    }
}
