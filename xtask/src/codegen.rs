//! `codegen`: files that follow from the settings in `lsp/src/config/`.
//!
//! The server itself prints what they say (`diffcoder-lsp generated`), so that this crate need not be built with it.
//! Of the VS Code extension's manifest only the server's settings are ours: entries of the extension's own stay as they are.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::Value;

/// What to do with files that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Write them.
    Write,
    /// Fail and name them.
    Compare,
}

const MANIFEST: &str = "editors/vscode/package.json";
const TEXTS: &str = "editors/vscode/package.nls.json";

/// A setting's entry in the manifest.
struct Entry {
    order: u64,
    text: String,
}

pub(crate) fn run(root: &Path, task: Task) -> anyhow::Result<()> {
    let generated = generated(root)?;
    let text = |key: &str| generated[key].as_str().with_context(|| format!("{key} is generated"));
    let read = |path: &str| {
        fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"))
    };
    let settings = generated["vscode"].as_array().context("settings are generated")?;
    let mut files = vec![
        ("docs/configuration.md", text("manual")?.to_owned()),
        ("docs/config.schema.json", text("schema")?.to_owned()),
        (MANIFEST, manifest(&read(MANIFEST)?, settings, &generated["extension"])?),
        (TEXTS, texts(&read(TEXTS)?, settings)?),
    ];
    files.retain(|(path, wanted)| read(path).ok().as_ref() != Some(wanted));
    check_translations(root, settings)?;
    let names: Vec<_> = files.iter().map(|(path, _)| *path).collect();
    match task {
        Task::Compare if !names.is_empty() => {
            bail!("run `cargo xtask codegen`: out of date are {}", names.join(", "))
        }
        Task::Compare => {}
        Task::Write => {
            for (path, wanted) in files {
                fs::write(root.join(path), wanted)
                    .with_context(|| format!("cannot write {path}"))?;
                eprintln!("wrote {path}");
            }
        }
    }
    Ok(())
}

fn generated(root: &Path) -> anyhow::Result<Value> {
    // As the README runs it: the same build as that of the tests.
    let output = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--locked", "--", "generated"])
        .current_dir(root)
        .output()
        .context("cannot run the server")?;
    if !output.status.success() {
        bail!("the server failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("the server printed no JSON")
}

/// The manifest with the server's settings put in place of those it has.
fn manifest(old: &str, settings: &[Value], extension: &Value) -> anyhow::Result<String> {
    let start = old.find("    \"configuration\": {").context("the manifest has a configuration")?;
    let head = "      \"properties\": {\n";
    let begin = start + old[start..].find(head).context("which has properties")? + head.len();
    let tail = "\n      }\n";
    let end = begin + old[begin..].find(tail).context("which end on a line of their own")?;
    let own = extension.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut entries = Vec::new();
    for (name, text) in entries_of(&old[begin..end]) {
        let name = name.trim_start_matches("diffcoder.");
        let is_servers = settings.iter().any(|setting| setting["name"] == name);
        if is_servers {
            continue;
        }
        if !own.iter().any(|known| known == name) {
            bail!(
                "{MANIFEST} has the setting diffcoder.{name}, of which the server does not know: add it to \
                 EXTENSION_SETTINGS in lsp/src/config/catalog.rs, or take it out"
            );
        }
        entries.push(Entry { order: order_of(&text)?, text });
    }
    for setting in settings {
        entries.push(Entry {
            order: setting["order"].as_u64().context("an order")?,
            text: setting["entry"].as_str().context("an entry")?.to_owned(),
        });
    }
    entries.sort_by_key(|entry| entry.order);
    let texts: Vec<_> = entries.into_iter().map(|entry| entry.text).collect();
    let new = format!("{}{}{}", &old[..begin], texts.join(",\n"), &old[end..]);
    restrict(&new, settings)
}

/// The manifest whose list of what an untrusted workspace cannot set has every setting of the machine.
fn restrict(manifest: &str, settings: &[Value]) -> anyhow::Result<String> {
    let head = "\"restrictedConfigurations\": [";
    let begin = manifest.find(head).context("the manifest restricts settings")? + head.len();
    let end = begin + manifest[begin..].find(']').context("in a list")?;
    let of_machine = settings.iter().filter(|setting| setting["scope"] == "machine");
    let names = of_machine.filter_map(|setting| setting["name"].as_str());
    let names: Vec<_> = std::iter::once("server.path")
        .chain(names)
        .map(|name| format!("\"diffcoder.{name}\""))
        .collect();
    Ok(format!("{}{}{}", &manifest[..begin], names.join(", "), &manifest[end..]))
}

/// Name and lines of each entry; they stand eight blanks in.
fn entries_of(properties: &str) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in properties.lines() {
        match line.strip_prefix("        \"").and_then(|rest| rest.split_once("\": {")) {
            Some((name, _)) => entries.push((name.to_owned(), line.to_owned())),
            None => {
                if let Some((_, text)) = entries.last_mut() {
                    text.push('\n');
                    text.push_str(line);
                }
            }
        }
    }
    for (_, text) in &mut entries {
        text.truncate(text.trim_end_matches(',').len());
    }
    entries
}

fn order_of(entry: &str) -> anyhow::Result<u64> {
    let digits = entry.split("\"order\": ").nth(1).context("every setting has an order")?;
    let end = digits.find(|char: char| !char.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().context("an order is a number")
}

fn wanted_texts(settings: &[Value]) -> BTreeMap<&str, &str> {
    let texts = settings.iter().filter_map(|setting| setting["texts"].as_array()).flatten();
    texts.filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?))).collect()
}

/// The English texts with those of the server's settings, each in its place; new ones stand before the colours.
fn texts(old: &str, settings: &[Value]) -> anyhow::Result<String> {
    let mut wanted = wanted_texts(settings);
    let line = |key: &str, text: &str| format!("  \"{key}\": {},", Value::from(text));
    let mut lines: Vec<String> = Vec::new();
    for old in old.lines() {
        let key = old.trim().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let text = key.and_then(|(key, _)| Some((key, wanted.remove(key)?)));
        lines.push(text.map_or_else(|| old.to_owned(), |(key, text)| line(key, text)));
    }
    let place = lines.iter().position(|line| line.starts_with("  \"color.")).context("colours")?;
    lines.splice(place..place, wanted.into_iter().map(|(key, text)| line(key, text)));
    Ok(lines.join("\n") + "\n")
}

/// A translation is for people to write; a missing one is named.
fn check_translations(root: &Path, settings: &[Value]) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join("editors/vscode"))?.collect::<Result<Vec<_>, _>>()? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("package.nls.") || name == "package.nls.json" {
            continue;
        }
        let texts: Value = serde_json::from_slice(&fs::read(entry.path())?)?;
        let wanted = wanted_texts(settings);
        let missing: Vec<_> =
            wanted.keys().filter(|key| texts[**key].is_null()).map(|key| &**key).collect();
        if !missing.is_empty() {
            bail!("editors/vscode/{name} has no translation of {}", missing.join(", "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OLD: &str = r#"{
  "restrictedConfigurations": ["old"],
    "configuration": {
      "properties": {
        "diffcoder.a": {
          "order": 1, "type": "old"
        },
        "diffcoder.own": {
          "order": 2,
          "kept": "as it is"
        },
        "diffcoder.b": { "order": 3 }
      }
    }
}
"#;

    fn settings() -> Vec<Value> {
        let entry = |name: &str, order: u64| {
            let text = format!("        \"diffcoder.{name}\": {{ \"order\": {order} }}");
            json!({ "name": name, "order": order, "scope": "machine", "entry": text,
                    "texts": [[format!("config.{name}"), name]] })
        };
        vec![entry("a", 3), entry("b", 1)]
    }

    #[test]
    fn the_extensions_own_entries_stay() {
        let new = manifest(OLD, &settings(), &json!(["own"])).unwrap();
        let expected = r#"{
  "restrictedConfigurations": ["diffcoder.server.path", "diffcoder.a", "diffcoder.b"],
    "configuration": {
      "properties": {
        "diffcoder.b": { "order": 1 },
        "diffcoder.own": {
          "order": 2,
          "kept": "as it is"
        },
        "diffcoder.a": { "order": 3 }
      }
    }
}
"#;
        assert_eq!(new, expected);
        assert_eq!(
            manifest(&new, &settings(), &json!(["own"])).unwrap(),
            new,
            "a second time changes nothing"
        );
        let error = manifest(OLD, &settings(), &json!([])).unwrap_err().to_string();
        assert!(error.contains("diffcoder.own, of which the server does not know"), "{error}");
    }

    #[test]
    fn texts_are_replaced_in_place_and_added() {
        let old = "{\n  \"config.b\": \"old\",\n  \"color.x\": \"y\"\n}\n";
        let new = "{\n  \"config.b\": \"b\",\n  \"config.a\": \"a\",\n  \"color.x\": \"y\"\n}\n";
        assert_eq!(texts(old, &settings()).unwrap(), new);
    }
}
