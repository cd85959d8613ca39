//! What is generated from the settings: their JSON schema, their manual, and their part of the VS Code extension.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::catalog::{self, EXTENSION_SETTINGS, Kind, SECTION, Scope, Setting};

/// Everything that `cargo xtask codegen` writes into files.
pub fn generated() -> Value {
    json!({
        "schema": schema_text(),
        "manual": manual(),
        "vscode": catalog::settings().iter().map(vscode_entry).collect::<Value>(),
        "extension": EXTENSION_SETTINGS,
    })
}

fn schema_text() -> String {
    let mut schema = catalog::schema();
    plain(&mut schema);
    schema["title"] = json!("Settings of diffcoder-lsp: config.toml");
    format!("{schema:#}\n")
}

/// Takes out what only we read.
fn plain(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let is_ours = map.get("order").is_some_and(Value::is_u64);
            if is_ours {
                for key in ["order", "scope", "vscode"] {
                    map.remove(key);
                }
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

fn manual() -> String {
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n## All settings\n");
    for setting in catalog::settings() {
        let Setting { name, doc, default, scope, .. } = setting;
        let scope = match scope {
            Scope::Machine => "config.toml, environment, command line",
            Scope::Resource => "anywhere, for all languages",
            Scope::Language => "anywhere, also for a language",
        };
        // Writing to a String cannot fail.
        _ = write!(text, "\n### `{name}`\n\n{doc}\n\n");
        if let Kind::Choice(choices) = &setting.kind {
            for (choice, meaning) in choices.iter().filter(|(_, meaning)| !meaning.is_empty()) {
                _ = writeln!(text, "- `{choice}`: {meaning}");
            }
            if choices.iter().any(|(_, meaning)| !meaning.is_empty()) {
                text.push('\n');
            }
        }
        let expected = setting.kind.expected().replace('"', "`");
        _ = writeln!(
            text,
            "{}; default `{default}`. Set in: {scope}. `{}`",
            capitalised(&expected),
            setting.variable()
        );
    }
    text
}

const INTRODUCTION: &str = "\
# Configuration

Written by `cargo xtask codegen` from `lsp/src/config/`; change it there.

The language server and the command line take their settings from these places, each over the one before it:

1. the defaults below;
2. `config.toml` in `$XDG_CONFIG_HOME/diffcoder/` (`~/.config/diffcoder/`), read again when it changes;
3. environment variables, whose names stand below;
4. the editor: `initializationOptions.settings`, `workspace/didChangeConfiguration`, and `workspace/configuration` for everything and for each
   workspace folder, where the editor answers it;
5. the command line: `--set NAME=VALUE`, which may be repeated, and `--model DIR`.

What any of them says of a language in `languages` goes over what is said of all languages.
An editor names settings with `diffcoder.` in front (`diffcoder.completion.maxTokens`); groups may be nested objects. A value from the editor
that equals the default counts as not set, because VS Code sends all defaults.

A name that does not exist and a value of the wrong type are reported, with the name, what was expected and the nearest name; all other settings hold.
`config.schema.json` beside this file is the JSON schema.

```toml
[completion]
showThreshold = 0.5

[languages.markdown]
enable = false

[server]
model = \"/models/plus\"
```

Settings that name files or decide what runs (`server.*`) do not come from the editor, since a cloned repository can bring editor settings of its
own: the server ignores them there and says so. The VS Code extension passes on the user's choice, never the workspace's.

## Trust

An editor that does not trust a workspace says `initializationOptions: { \"trusted\": false }`. Then nothing is computed: suggestions are empty, and
every other request that needs the model fails with a sentence that says why. There is no way back within a session; the editor starts the
server again when the workspace is trusted.
";

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A setting as an entry of `contributes.configuration`, in the layout of that file, with its texts.
fn vscode_entry(setting: &Setting) -> Value {
    let Setting { name, default, order, .. } = setting;
    let key = format!("config.{name}");
    let mut texts = vec![(key.clone(), vscode_text(setting))];
    let (kind, bounds) = match &setting.kind {
        Kind::Bool => ("boolean", String::new()),
        Kind::Integer(least, most) => {
            ("integer", format!(" \"minimum\": {least}, \"maximum\": {most},"))
        }
        Kind::Number(least, most) => {
            ("number", format!(" \"minimum\": {least}, \"maximum\": {most},"))
        }
        Kind::Text => ("string", String::new()),
        Kind::Choice(choices) => {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            ("string", format!(" \"enum\": [{}],", names.join(", ")))
        }
        Kind::Languages => {
            ("object", " \"additionalProperties\": { \"type\": \"object\" },".to_owned())
        }
    };
    // A server that asks for a folder's settings is not told what `[language]` says: only the extension hears that.
    let is_read_by_extension = name == "enable" || name.starts_with("infill.");
    let scope = match setting.scope {
        Scope::Machine => "machine",
        Scope::Language if is_read_by_extension => "language-overridable",
        Scope::Resource | Scope::Language => "resource",
    };
    let is_markdown = texts[0].1.contains(['`', '*']);
    let description = if is_markdown { "markdownDescription" } else { "description" };
    let mut choices_line = String::new();
    if let Kind::Choice(choices) = &setting.kind
        && choices.iter().all(|(_, meaning)| !meaning.is_empty())
    {
        let mut keys = Vec::new();
        for (choice, meaning) in choices {
            let key = format!("{key}.{choice}");
            keys.push(format!("\"%{key}%\""));
            texts.push((key, meaning.clone()));
        }
        choices_line =
            format!("\n          \"enumDescriptions\": [{}],\n         ", keys.join(", "));
    }
    let entry = format!(
        "        \"{SECTION}.{name}\": {{\n          \"order\": {order}, \"type\": \"{kind}\",{bounds} \
         \"default\": {default}, \"scope\": \"{scope}\",{choices_line} \"{description}\": \"%{key}%\"\n        }}"
    );
    json!({ "name": name, "order": order, "scope": scope, "entry": entry, "texts": texts })
}

fn vscode_text(setting: &Setting) -> String {
    let machine = match setting.scope {
        Scope::Machine => "Only user settings count, a workspace cannot set it.",
        _ => "",
    };
    let parts = [&*setting.doc, &*setting.vscode_doc, machine];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_setting() {
        let manual = manual();
        for setting in catalog::settings() {
            assert!(manual.contains(&format!("\n### `{}`\n", setting.name)), "{}", setting.name);
            assert!(manual.contains(&setting.variable()), "{}", setting.name);
        }
    }

    #[test]
    fn entries_are_json_with_a_text_for_each_key() {
        for setting in catalog::settings() {
            let generated = vscode_entry(setting);
            let entry = generated["entry"].as_str().unwrap();
            let parsed: Value = serde_json::from_str(&format!("{{{entry}}}")).unwrap();
            let property = &parsed[format!("diffcoder.{}", setting.name)];
            assert_eq!(property["default"], setting.default, "{entry}");
            let texts = generated["texts"].as_array().unwrap();
            assert_eq!(texts.len(), entry.matches('%').count() / 2, "{entry}");
        }
    }

    #[test]
    fn the_schema_says_only_what_readers_know() {
        let schema: Value = serde_json::from_str(&schema_text()).unwrap();
        let threshold = &schema["properties"]["completion"]["properties"]["showThreshold"];
        assert_eq!((&threshold["type"], &threshold["scope"]), (&json!("number"), &Value::Null));
        assert_eq!(threshold["maximum"], json!(1.0));
    }
}
