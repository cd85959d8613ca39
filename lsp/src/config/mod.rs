//! Settings: where they come from, and what holds for a document.
//!
//! Sources, each over the one before it: defaults, `config.toml`, `DIFFCODER_*`, the editor, the folder as the editor
//! knows it, the command line. What a source says of a language goes over what any says of all.

mod catalog;
mod layer;
mod machine;
pub mod manual;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

pub use catalog::{EXTENSION_SETTINGS, Kind, Scope, Setting, nearest, schema, settings};
use layer::Layer;
pub use layer::{Problem, Source};
pub use machine::Machine;
pub use settings::{LogLevel, Mode, Multiline, Order, Settings};

/// The settings of one session.
#[derive(Debug, Default)]
pub struct Config {
    machine: Machine,
    /// Of `initializationOptions`.
    initial: Layer,
    editor: Layer,
    /// By the folder's URI, without a slash at its end.
    folders: Vec<(String, Layer)>,
    resolved: HashMap<(Option<String>, String), Arc<Settings>>,
    /// Found while something else was asked for.
    problems: Vec<Problem>,
}

impl Config {
    /// What the machine's user says; `problems` are those of reading it.
    pub fn new(machine: Machine, problems: Vec<Problem>) -> Self {
        Self { machine, problems, ..Self::default() }
    }

    /// Takes what the editor says as it starts the server. It stays, under whatever comes later.
    pub fn set_initial(&mut self, written: &Value) {
        self.initial = self.read(written);
        self.resolved.clear();
    }

    /// Takes what the editor says of all documents, in place of what it said before.
    pub fn set_editor(&mut self, written: &Value) {
        self.editor = self.read(written);
        self.resolved.clear();
    }

    /// Takes what the editor says of each folder, in place of what it said before.
    pub fn set_folders<'a>(&mut self, written: impl IntoIterator<Item = (String, &'a Value)>) {
        self.folders.clear();
        for (uri, value) in written {
            let layer = self.read(value);
            self.folders.push((uri.trim_end_matches('/').to_owned(), layer));
        }
        self.resolved.clear();
    }

    fn read(&mut self, written: &Value) -> Layer {
        let (layer, problems) = Layer::read(written, &Source::Editor);
        self.problems.extend(problems);
        let in_force = self.values(None, "");
        self.problems.extend(layer.refusals(|name| in_force[name].clone()));
        layer
    }

    /// Whether `config.toml` has changed; then it is read.
    pub fn refresh(&mut self) -> bool {
        let Some(problems) = self.machine.refresh() else { return false };
        self.problems.extend(problems);
        self.resolved.clear();
        true
    }

    /// What holds for a document in `language`; `""` for none.
    pub fn settings(&mut self, uri: &str, language: &str) -> Arc<Settings> {
        let folder = self.folders.iter().map(|(folder, _)| folder);
        let is_inside = |folder: &&String| {
            uri.strip_prefix(&***folder).is_some_and(|rest| rest.starts_with('/'))
        };
        let folder = folder.filter(is_inside).max_by_key(|folder| folder.len()).cloned();
        let key = (folder, language.to_owned());
        if let Some(settings) = self.resolved.get(&key) {
            return Arc::clone(settings);
        }
        let settings = Arc::new(nested(&self.values(key.0.as_deref(), language)));
        self.resolved.insert(key, Arc::clone(&settings));
        settings
    }

    /// Everything found wrong since the last call.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Where `config.toml` is looked for.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The value of every setting by full name.
    fn values(&self, folder: Option<&str>, language: &str) -> Map<String, Value> {
        let Machine { file, environment, flags, .. } = &self.machine;
        let folder = self.folders.iter().find(|(uri, _)| Some(&**uri) == folder);
        let editor =
            [&self.initial, &self.editor].into_iter().chain(folder.map(|(_, layer)| layer));
        let layers = [file, environment].into_iter().chain(editor).chain([flags]);
        let mut values: Map<String, Value> = settings()
            .iter()
            .map(|setting| (setting.name.clone(), setting.default.clone()))
            .collect();
        let general = layers.clone().flat_map(|layer| &layer.values);
        let special = layers.filter_map(|layer| layer.languages.get(language)).flatten();
        for (name, value) in general.chain(special) {
            values.insert(name.clone(), value.clone());
        }
        values
    }
}

/// The typed settings of checked values by full name.
fn nested(values: &Map<String, Value>) -> Settings {
    let mut object = Map::new();
    for (name, value) in values {
        match name.split_once('.') {
            None => drop(object.insert(name.clone(), value.clone())),
            Some((group, key)) => {
                let group = object.entry(group).or_insert_with(|| Value::Object(Map::new()));
                group[key] = value.clone();
            }
        }
    }
    serde_json::from_value(Value::Object(object)).unwrap_or_else(|error| {
        // Each value was checked against the schema of its own field.
        tracing::error!("the settings cannot be put together, so defaults hold: {error}");
        Settings::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(file: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, file).unwrap();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (machine, problems) = Machine::read(Some(path), variables);
        (folder, Config::new(machine, problems))
    }

    fn tokens(config: &mut Config, uri: &str, language: &str) -> usize {
        config.settings(uri, language).completion.max_tokens
    }

    #[test]
    fn without_a_word_from_anyone_the_defaults_hold() {
        assert_eq!(*Config::default().settings("file:///a.rs", "rust"), Settings::default());
    }

    #[test]
    fn each_source_goes_over_the_one_before_it() {
        let (_folder, mut config) = config("completion.maxTokens = 1", &[]);
        assert_eq!(tokens(&mut config, "file:///a.rs", "rust"), 1);
        config.machine.environment = Layer::from_environment([(
            "DIFFCODER_COMPLETION_MAX_TOKENS".to_owned(),
            "2".to_owned(),
        )])
        .0;
        config.resolved.clear();
        assert_eq!(tokens(&mut config, "file:///a.rs", "rust"), 2);
        config.set_editor(&json!({ "completion": { "maxTokens": 3 } }));
        assert_eq!(tokens(&mut config, "file:///a.rs", "rust"), 3);
        let folder = json!({ "completion": { "maxTokens": 4 } });
        let inner = json!({ "completion": { "maxTokens": 5 } });
        config.set_folders([
            ("file:///w/".to_owned(), &folder),
            ("file:///w/inner".to_owned(), &inner),
        ]);
        assert_eq!(tokens(&mut config, "file:///a.rs", "rust"), 3);
        assert_eq!(tokens(&mut config, "file:///wide/a.rs", "rust"), 3);
        assert_eq!(tokens(&mut config, "file:///w/a.rs", "rust"), 4);
        assert_eq!(tokens(&mut config, "file:///w/inner/a.rs", "rust"), 5);
        config.machine.set("completion.maxTokens=6").unwrap();
        config.resolved.clear();
        assert_eq!(tokens(&mut config, "file:///w/a.rs", "rust"), 6);
        assert_eq!(config.take_problems(), []);
    }

    #[test]
    fn a_language_goes_over_everything() {
        let text = "enable = true\n[languages.markdown]\nenable = false\n[languages.rust.completion]\nmaxTokens = 9";
        let (_folder, mut config) = config(text, &[]);
        config.set_editor(&json!({ "completion": { "maxTokens": 3 }, "languages": { "go": { "enable": false } } }));
        assert!(config.settings("file:///a.rs", "rust").enable);
        assert!(!config.settings("file:///a.md", "markdown").enable);
        assert!(!config.settings("file:///a.go", "go").enable);
        assert_eq!(tokens(&mut config, "file:///a.rs", "rust"), 9);
        assert_eq!(tokens(&mut config, "file:///a.py", "python"), 3);
    }

    #[test]
    fn the_machines_settings_come_from_the_machine() {
        let (_folder, mut config) = config("server.model = \"/mine\"", &[]);
        config.set_editor(&json!({ "server": { "model": "/evil" } }));
        assert_eq!(config.settings("file:///a", "").model_dir().unwrap().to_str(), Some("/mine"));
        let problems = config.take_problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("server.model"), "{problems:?}");
        config.set_editor(&json!({ "server": { "model": "/mine" } }));
        assert_eq!(config.take_problems(), []);
    }
}
