//! What one source says: checked values by name, and one sentence for each thing that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::catalog::{self, EXTENSION_SETTINGS, Kind, SECTION, Scope, Setting};

/// Who says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `config.toml`.
    File(PathBuf),
    /// `DIFFCODER_*`.
    Environment,
    /// `--set`.
    CommandLine,
    /// The editor. It may pass on what a cloned repository says, so it does not set what is the machine's.
    Editor,
}

/// Something wrong with a setting; the others hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong and how to mend it, in one sentence.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment => f.write_str("the environment"),
            Self::CommandLine => f.write_str("the command line"),
            Self::Editor => f.write_str("the editor's settings"),
        }
    }
}

/// Checked values of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Layer {
    /// By full name.
    pub(super) values: BTreeMap<String, Value>,
    /// By language, then by full name.
    pub(super) languages: BTreeMap<String, BTreeMap<String, Value>>,
    /// Of the machine's settings what the editor wants; for the one who knows what is in force.
    pub(super) refused: Vec<(&'static Setting, Value)>,
}

impl Layer {
    /// Reads an object whose groups are objects or names with points, under `diffcoder` or not.
    pub(super) fn read(written: &Value, source: &Source) -> (Self, Vec<Problem>) {
        let (mut layer, mut problems) = (Self::default(), Vec::new());
        let written = match written.get(SECTION) {
            Some(section) if section.is_object() => section,
            _ => written,
        };
        if !written.is_object() {
            if !written.is_null() {
                let message = format!("the settings in {source} are not an object of settings");
                problems.push(Problem { message });
            }
            return (layer, problems);
        }
        for (name, value) in flatten(written) {
            layer.take(&name, value, source, &mut problems);
        }
        (layer, problems)
    }

    fn take(&mut self, name: &str, value: &Value, source: &Source, problems: &mut Vec<Problem>) {
        let name = name.strip_prefix("diffcoder.").unwrap_or(name);
        let problem = |message: String| Problem { message };
        // An editor without a value for a setting sends null.
        if value.is_null() || (*source == Source::Editor && EXTENSION_SETTINGS.contains(&name)) {
            return;
        }
        let Some(setting) = catalog::find(name) else {
            problems.push(problem(unknown(name, source)));
            return;
        };
        let Some(value) = setting.kind.accept(value) else {
            problems.push(problem(ill_typed(setting, value, source)));
            return;
        };
        if *source == Source::Editor {
            if setting.scope == Scope::Machine {
                self.refused.push((setting, value));
                return;
            }
            // VS Code sends every default. Taken for a choice, they would hide what config.toml says.
            if value == setting.default {
                return;
            }
        }
        if setting.kind == Kind::Languages {
            for (language, written) in value.as_object().into_iter().flatten() {
                self.take_language(language, written, source, problems);
            }
            return;
        }
        self.values.insert(name.to_owned(), value);
    }

    fn take_language(
        &mut self,
        language: &str,
        written: &Value,
        source: &Source,
        problems: &mut Vec<Problem>,
    ) {
        if !written.is_object() {
            let message = format!(
                "languages.{language} in {source} must be an object of settings, not {}",
                shown(written)
            );
            problems.push(Problem { message });
            return;
        }
        let taken = self.languages.entry(language.to_owned()).or_default();
        for (name, value) in flatten(written) {
            let name = name.strip_prefix("diffcoder.").unwrap_or(&name);
            let message = match catalog::find(name) {
                None => unknown(name, source),
                Some(setting) if setting.scope != Scope::Language => {
                    format!("{name} cannot be set for a language ({language} in {source})")
                }
                Some(setting) => match setting.kind.accept(value) {
                    None => ill_typed(setting, value, source),
                    Some(value) => {
                        taken.insert(name.to_owned(), value);
                        continue;
                    }
                },
            };
            problems.push(Problem { message });
        }
    }

    /// Reads the process's `DIFFCODER_*` variables.
    pub(super) fn from_environment(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> (Self, Vec<Problem>) {
        let (mut layer, mut problems) = (Self::default(), Vec::new());
        let source = Source::Environment;
        for (variable, text) in variables {
            if !variable.starts_with("DIFFCODER_") || OTHER_VARIABLES.contains(&&*variable) {
                continue;
            }
            let known = catalog::settings().iter().find(|setting| setting.variable() == variable);
            let message = match known {
                None => {
                    let name = variable.replace("DIFFCODER_", "").replacen('_', ".", 1);
                    let hint = catalog::nearest(&name.replace('_', "")).and_then(catalog::find);
                    let hint =
                        hint.map(|setting| format!(": did you mean {}?", setting.variable()));
                    format!(
                        "the environment variable {variable} is no setting{}",
                        hint.unwrap_or_else(|| ": see docs/configuration.md".to_owned())
                    )
                }
                Some(setting) => match setting.kind.parse(&text) {
                    None => format!(
                        "the environment variable {variable} must be {}, not \"{text}\"",
                        setting.kind.expected()
                    ),
                    Some(value) => {
                        layer.take(&setting.name, &value, &source, &mut problems);
                        continue;
                    }
                },
            };
            problems.push(Problem { message });
        }
        (layer, problems)
    }

    /// Reads the `NAME=VALUE` of a `--set`.
    pub(super) fn add_assignment(&mut self, assignment: &str) -> Result<(), Problem> {
        let source = Source::CommandLine;
        let problem = |message: String| Problem { message };
        let (name, text) = assignment
            .split_once('=')
            .ok_or_else(|| problem(format!("--set {assignment}: write NAME=VALUE")))?;
        let setting = catalog::find(name).ok_or_else(|| problem(unknown(name, &source)))?;
        let value = setting
            .kind
            .parse(text)
            .ok_or_else(|| problem(ill_typed(setting, &Value::from(text), &source)))?;
        let mut problems = Vec::new();
        self.take(name, &value, &source, &mut problems);
        problems.into_iter().next().map_or(Ok(()), Err)
    }

    /// A sentence for each setting of the machine that the editor wants otherwise than it is in force.
    pub(super) fn refusals(&self, in_force: impl Fn(&str) -> Value) -> Vec<Problem> {
        let refused = self.refused.iter();
        let refused = refused.filter(|(setting, value)| {
            *value != setting.default && *value != in_force(&setting.name)
        });
        refused
            .map(|(setting, _)| {
                let variable = setting.variable();
                let message = format!(
                    "{} in the editor's settings is ignored, since a workspace must not set it: put it into \
                     config.toml, {variable} or --set",
                    setting.name
                );
                Problem { message }
            })
            .collect()
    }
}

/// Variables of that prefix which are no settings.
const OTHER_VARIABLES: &[&str] = &["DIFFCODER_LOG"];

fn unknown(name: &str, source: &Source) -> String {
    let hint = match catalog::nearest(name) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "docs/configuration.md lists all settings".to_owned(),
    };
    format!("{name} in {source} is no setting: {hint}")
}

fn ill_typed(setting: &Setting, value: &Value, source: &Source) -> String {
    let (name, expected) = (&setting.name, setting.kind.expected());
    format!("{name} in {source} must be {expected}, not {}", shown(value))
}

/// A value for a message, short enough for one.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The leaves of nested groups by full name. What belongs to a setting of object type stays whole.
fn flatten(object: &Value) -> Vec<(String, &Value)> {
    fn walk<'a>(prefix: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
        for (key, value) in value.as_object().into_iter().flatten() {
            let name = format!("{prefix}{key}");
            let bare = name.strip_prefix("diffcoder.").unwrap_or(&name);
            let is_group = value.is_object()
                && catalog::settings().iter().any(|setting| {
                    setting.name.strip_prefix(bare).is_some_and(|rest| rest.starts_with('.'))
                })
                || EXTENSION_SETTINGS.iter().any(|setting| {
                    setting.strip_prefix(bare).is_some_and(|rest| rest.starts_with('.'))
                });
            if is_group && value.is_object() {
                walk(&format!("{name}."), value, found);
            } else {
                found.push((name, value));
            }
        }
    }
    let mut found = Vec::new();
    walk("", object, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(written: &Value, source: &Source) -> Vec<String> {
        Layer::read(written, source).1.into_iter().map(|problem| problem.message).collect()
    }

    fn file() -> Source {
        Source::File("config.toml".into())
    }

    #[test]
    fn groups_points_and_the_section_are_one() {
        let expected = BTreeMap::from([("completion.maxTokens".to_owned(), json!(8))]);
        for written in [
            json!({ "completion": { "maxTokens": 8 } }),
            json!({ "completion.maxTokens": 8 }),
            json!({ "diffcoder": { "completion.maxTokens": 8.0 } }),
            json!({ "diffcoder.completion.maxTokens": 8 }),
            json!({ "diffcoder.completion": { "maxTokens": 8, "multiline": null } }),
        ] {
            let (layer, problems) = Layer::read(&written, &file());
            assert_eq!((layer.values, problems), (expected.clone(), vec![]), "{written}");
        }
        assert_eq!(messages(&Value::Null, &Source::Editor), [""; 0]);
    }

    #[test]
    fn each_mistake_is_one_sentence_and_the_rest_holds() {
        let written = json!({
            "completion": { "showTreshold": 0.5, "maxTokens": "many", "automatic": false },
            "infill": { "mode": "both" }, "decode": 3,
            "languages": { "rust": { "enabled": false, "server.model": "x", "enable": false }, "go": 1 },
        });
        let (layer, mut problems) = Layer::read(&written, &file());
        assert_eq!(
            layer.values,
            BTreeMap::from([("completion.automatic".to_owned(), json!(false))])
        );
        assert_eq!(layer.languages["rust"], BTreeMap::from([("enable".to_owned(), json!(false))]));
        problems.sort_by(|a, b| a.message.cmp(&b.message));
        let messages: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "completion.maxTokens in config.toml must be a whole number from 1 to 1024, not \"many\"",
                "completion.showTreshold in config.toml is no setting: did you mean completion.showThreshold?",
                "decode in config.toml is no setting: did you mean decode.order?",
                "enabled in config.toml is no setting: did you mean enable?",
                "infill.mode in config.toml must be one of \"joint\", \"independent\", not \"both\"",
                "languages.go in config.toml must be an object of settings, not 1",
                "server.model cannot be set for a language (rust in config.toml)",
            ]
        );
    }

    #[test]
    fn an_editor_sets_neither_what_is_the_machines_nor_defaults() {
        let sent = json!({
            "server": { "model": "/evil", "path": "/x", "logLevel": "warn" }, "announce": "auto",
            "enable": true, "infill": { "preview": true, "maxTokens": 9 },
        });
        let (layer, problems) = Layer::read(&sent, &Source::Editor);
        assert_eq!(problems, []);
        assert_eq!(layer.values, BTreeMap::from([("infill.maxTokens".to_owned(), json!(9))]));
        let refusals = layer.refusals(|_| json!("/mine"));
        assert_eq!(refusals.len(), 1);
        assert!(
            refusals[0].message.starts_with("server.model in the editor's settings is ignored")
        );
        // The extension passes on a user's choice as `--model`; then both say the same.
        assert_eq!(layer.refusals(|_| json!("/evil")), []);
    }

    #[test]
    fn variables_are_read_by_kind() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let (layer, problems) = Layer::from_environment([
            variable("DIFFCODER_COMPLETION_SHOW_THRESHOLD", "0.25"),
            variable("DIFFCODER_SERVER_MODEL", "/models/x"),
            variable("DIFFCODER_COMPLETION_MAX_TOKENS", "lots"),
            variable("DIFFCODER_COMPLETION_MAX_TOKEN", "1"),
            variable("DIFFCODER_LOG", "debug"),
            variable("HOME", "/"),
        ]);
        assert_eq!(layer.values["completion.showThreshold"], json!(0.25));
        assert_eq!(layer.values["server.model"], json!("/models/x"));
        let messages: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            messages,
            [
                "the environment variable DIFFCODER_COMPLETION_MAX_TOKENS must be a whole number from 1 to 1024, not \"lots\"",
                "the environment variable DIFFCODER_COMPLETION_MAX_TOKEN is no setting: did you mean DIFFCODER_COMPLETION_MAX_TOKENS?",
            ]
        );
    }

    #[test]
    fn assignments_are_checked() {
        let mut layer = Layer::default();
        layer.add_assignment("completion.multiline=never").unwrap();
        assert_eq!(layer.values["completion.multiline"], json!("never"));
        for (assignment, expected) in [
            ("completion.multiline", "write NAME=VALUE"),
            ("completion.multiline=always", "must be one of"),
            ("multilin=never", "did you mean completion.multiline?"),
        ] {
            let message = layer.add_assignment(assignment).unwrap_err().message;
            assert!(message.contains(expected), "{message}");
        }
    }
}
