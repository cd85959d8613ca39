//! Finds installed Python packages by their `*.dist-info`: `METADATA` tells name, version and licence, `RECORD` the files.

use std::path::{Component, Path};

use super::config::SourceConfig;
use super::licence;
use super::source::{Package, Place, SourceFile, folders, is_wanted};

/// The packages of a `site-packages` folder. What no `RECORD` lists belongs to no package and is left out.
pub(super) fn packages(root: &Path, source: &SourceConfig) -> anyhow::Result<Vec<Package>> {
    let mut packages = Vec::new();
    for folder in folders(root)? {
        if folder.extension().is_none_or(|extension| extension != "dist-info") {
            continue;
        }
        let read = |name: &str| std::fs::read_to_string(folder.join(name));
        let (Ok(metadata), Ok(record)) = (read("METADATA"), read("RECORD")) else { continue };
        let headers = headers(&metadata);
        let first = |name: &str| {
            headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        let Some(name) = first("name").map(normalised) else { continue };
        let version = first("version").unwrap_or_default().to_owned();
        let classifiers: Vec<&str> = headers
            .iter()
            .filter(|(key, _)| key == "classifier")
            .map(|(_, value)| value.as_str())
            .collect();
        let shown = format!("{name}-{version}");
        let mut files: Vec<SourceFile> = record
            .lines()
            .map(recorded_path)
            .filter(|path| is_wanted(Path::new(path), &source.languages))
            .filter(|path| is_below(Path::new(path)))
            .map(|path| SourceFile {
                shown: format!("{shown}/{path}"),
                place: Place::Disk(root.join(&path)),
            })
            .collect();
        files.sort();
        packages.push(Package {
            name,
            version,
            licence: licence::of_python_package(
                first("license-expression"),
                first("license"),
                &classifiers,
            ),
            split: source.split,
            files,
        });
    }
    Ok(packages)
}

/// Names and values of the header of a message as RFC 822 has it; names in lower case, values of several lines joined.
fn headers(message: &str) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in message.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    headers
}

/// Name under which a package index knows a package: lower case, runs of `-`, `_`, `.` are one `-`.
fn normalised(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    lower.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// First field of a row of comma-separated values; one that holds a comma stands in quotes.
fn recorded_path(row: &str) -> String {
    match row.strip_prefix('"') {
        None => row.split(',').next().unwrap_or_default().to_owned(),
        Some(quoted) => {
            let end = quoted.find("\",").unwrap_or(quoted.trim_end_matches('"').len());
            quoted[..end].replace("\"\"", "\"")
        }
    }
}

/// Whether a path leads to something below the folder that it is relative to.
fn is_below(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Language;
    use crate::data::config::DataConfig;
    use crate::data::source;

    #[test]
    fn a_package_is_what_its_record_lists_under_the_licence_of_its_metadata() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for path in ["demo/core.py", "demo/a,b.py", "other.py", "stray.py"] {
            write(path, "x = 1\n");
        }
        write(
            "Demo_Kit-1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: Demo_Kit\nVersion: 1.2\nLicense: Some text\n        of many lines\n\
             Classifier: License :: OSI Approved :: MIT License\n\nLicense-Expression: GPL-3.0-only\n",
        );
        write(
            "Demo_Kit-1.2.dist-info/RECORD",
            "demo/core.py,sha256=x,6\n\"demo/a,b.py\",sha256=x,6\n../../bin/demo.py,,\ndemo/notes.txt,,\n",
        );
        write(
            "other-2.0.dist-info/METADATA",
            "Name: other\nVersion: 2.0\nLicense-Expression: GPL-3.0-only\n",
        );
        write("other-2.0.dist-info/RECORD", "other.py,,\n");
        let text =
            format!("[[source]]\nkind = \"site-packages\"\npath = {:?}\n", dir.path().display());
        let config: DataConfig = toml::from_str(&text).unwrap();
        let found = source::packages(&config.sources[0]).unwrap();
        let table: Vec<_> = found
            .iter()
            .map(|package| (package.name.as_str(), package.licence.as_str(), package.files.len()))
            .collect();
        assert_eq!(table, [("demo-kit", "MIT", 2), ("other", "GPL-3.0-only", 1)]);
        assert_eq!(found[0].files[0].shown, "demo-kit-1.2/demo/a,b.py");
        assert_eq!(Language::of_path(Path::new("demo/core.py")), Some(Language::Python));
    }
}
