//! Reads source files from the rows of a JSON-lines file.

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::config::SourceConfig;
use super::source::{Package, Place, SourceFile, is_wanted, source_name};

/// A row; more fields than these do no harm, so that a corpus file is a source too.
#[derive(Deserialize)]
struct Row {
    path: String,
    text: String,
    package: Option<String>,
    #[serde(alias = "license")]
    licence: Option<String>,
}

/// The rows of a file by package and licence.
pub(super) fn packages(path: &Path, source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let default_name = source_name(path, source)?;
    let context = || format!("cannot read the data source {}", path.display());
    let reader = std::io::BufReader::new(std::fs::File::open(path).with_context(context)?);
    let mut packages: BTreeMap<(String, String), Vec<SourceFile>> = BTreeMap::new();
    for (index, line) in reader.lines().enumerate() {
        let line = line.with_context(context)?;
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(&line).with_context(|| {
            format!(
                "line {} of {} is no source file: it needs `path` and `text`",
                index + 1,
                path.display()
            )
        })?;
        let licence = row.licence.or_else(|| source.licence.clone()).unwrap_or_default();
        ensure!(
            !licence.is_empty(),
            "line {} of {} names no licence: add `licence` to the row or to its source",
            index + 1,
            path.display()
        );
        if !is_wanted(Path::new(&row.path), &source.languages) {
            continue;
        }
        let package = row.package.unwrap_or_else(|| default_name.clone());
        let shown = if row.path.starts_with(&package) {
            row.path
        } else {
            format!("{package}/{}", row.path)
        };
        let file = SourceFile { shown, place: Place::Memory(row.text) };
        packages.entry((package, licence)).or_default().push(file);
    }
    Ok(packages
        .into_iter()
        .map(|((name, licence), mut files)| {
            files.sort();
            Package { name, version: String::new(), licence, split: source.split, files }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::config::DataConfig;
    use crate::data::source;

    fn read(rows: &str, licence: &str) -> anyhow::Result<Vec<Package>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.jsonl");
        std::fs::write(&path, rows).unwrap();
        let text = format!("[[source]]\nkind = \"jsonl\"\npath = {:?}\n{licence}", path.display());
        let config: DataConfig = toml::from_str(&text).unwrap();
        source::packages(&config.sources[0])
    }

    #[test]
    fn rows_are_files_of_their_package_and_licence() {
        let rows = concat!(
            r#"{"path":"src/a.rs","text":"fn a() {}"}"#,
            "\n",
            r#"{"path":"p-1.0/src/b.py","text":"b = 1","package":"p","language":"python","license":"ISC"}"#,
            "\n\n",
            r#"{"path":"notes.txt","text":"none"}"#,
            "\n",
        );
        let found = read(rows, "licence = \"MIT\"").unwrap();
        let table: Vec<_> = found
            .iter()
            .map(|package| (package.licence.as_str(), package.files[0].shown.as_str()))
            .collect();
        assert_eq!(table, [("ISC", "p-1.0/src/b.py"), ("MIT", "rows/src/a.rs")]);
        assert_eq!(found[1].files[0].bytes().unwrap().as_ref(), b"fn a() {}");
    }

    #[test]
    fn a_row_without_licence_or_text_is_named_by_its_line() {
        let good = r#"{"path":"a.rs","text":"x","licence":"MIT"}"#;
        let error = read(&format!("{good}\n{{\"path\":\"a.rs\",\"text\":\"x\"}}\n"), "");
        assert!(error.unwrap_err().to_string().contains("line 2"));
        let error = read(&format!("{good}\n{{\"path\":\"a.rs\"}}\n"), "licence = \"MIT\"");
        assert!(error.unwrap_err().to_string().contains("needs `path` and `text`"));
    }
}
