//! The list of settings by name, read off the schema of [`Settings`].

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::settings::Settings;

/// In front of every name where an editor keeps the settings of many programs.
pub(super) const SECTION: &str = "diffcoder";

/// Settings of the VS Code extension itself, which the editor sends along with those of the server.
pub const EXTENSION_SETTINGS: &[&str] =
    &["infill.preview", "announce", "server.path", "trace.server"];

/// One setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its full name without [`SECTION`], such as `completion.maxTokens`.
    pub name: String,
    /// What it may be.
    pub kind: Kind,
    /// What it is unless somebody sets it.
    pub default: Value,
    /// Who may set it.
    pub scope: Scope,
    /// Its place in the manual.
    pub order: u64,
    /// Its text in the manual.
    pub doc: String,
    /// What the settings page of VS Code says besides.
    pub vscode_doc: String,
}

/// What a setting may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number within bounds.
    Integer(u64, u64),
    /// A number within bounds.
    Number(f64, f64),
    /// Text.
    Text,
    /// One of these, each with its meaning.
    Choice(Vec<(String, String)>),
    /// Settings of single languages.
    Languages,
}

/// Who may set a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The user of the machine alone: a cloned repository must not choose what is run, read or written.
    Machine,
    /// A folder too.
    Resource,
    /// A folder or a language.
    Language,
}

/// All settings, in the order of the manual.
pub fn settings() -> &'static [Setting] {
    static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
        let schema = schema();
        let mut found = Vec::new();
        collect(&schema, "", &mut found);
        found.sort_by_key(|setting| setting.order);
        found
    });
    &SETTINGS
}

/// The setting of that name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    settings().iter().find(|setting| setting.name == name)
}

/// The known name that is most like `name`, if one is like it.
pub fn nearest(name: &str) -> Option<&'static str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let likeness = |known: &str| {
        let whole = strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
        // A name in the wrong group is as common a mistake as a letter too few.
        whole.max(strsim::jaro_winkler(&last(name), &last(known)) - 0.05)
    };
    let likenesses = settings().iter().map(|setting| (likeness(&setting.name), &*setting.name));
    likenesses
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness > 0.8)
        .map(|(_, name)| name)
}

/// The JSON schema of the settings, as `config.toml` holds them.
pub fn schema() -> Value {
    schemars::schema_for!(Settings).to_value()
}

fn collect(schema: &Value, prefix: &str, found: &mut Vec<Setting>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (key, property) in properties {
        let name = format!("{prefix}{key}");
        match Setting::of(&name, property) {
            Some(setting) => found.push(setting),
            None => collect(property, &format!("{name}."), found),
        }
    }
}

impl Setting {
    /// `None` for a group.
    fn of(name: &str, property: &Value) -> Option<Self> {
        let order = property["order"].as_u64()?;
        Some(Self {
            name: name.to_owned(),
            kind: Kind::of(property),
            default: default_of(name),
            scope: match property["scope"].as_str() {
                Some("resource") => Scope::Resource,
                Some("language-overridable") => Scope::Language,
                _ => Scope::Machine,
            },
            order,
            doc: text(property),
            vscode_doc: property["vscode"].as_str().unwrap_or_default().to_owned(),
        })
    }

    /// Its environment variable: `DIFFCODER_COMPLETION_MAX_TOKENS`.
    pub fn variable(&self) -> String {
        let mut variable = format!("{}_", SECTION.to_uppercase());
        for char in self.name.chars() {
            match char {
                '.' => variable.push('_'),
                _ if char.is_uppercase() => variable.extend(['_', char]),
                _ => variable.push(char.to_ascii_uppercase()),
            }
        }
        variable
    }
}

impl Kind {
    fn of(property: &Value) -> Self {
        let bound = |key: &str, otherwise: f64| property[key].as_f64().unwrap_or(otherwise);
        if let Some(choices) = property["oneOf"].as_array() {
            let choice =
                |choice: &Value| Some((choice["const"].as_str()?.to_owned(), text(choice)));
            return Self::Choice(choices.iter().filter_map(choice).collect());
        }
        if let Some(choices) = property["enum"].as_array() {
            let choice = |choice: &Value| Some((choice.as_str()?.to_owned(), String::new()));
            return Self::Choice(choices.iter().filter_map(choice).collect());
        }
        match property["type"].as_str() {
            Some("boolean") => Self::Bool,
            Some("integer") => {
                let whole = |bound: f64| bound as u64;
                Self::Integer(whole(bound("minimum", 0.0)), whole(bound("maximum", 9e15)))
            }
            Some("number") => Self::Number(bound("minimum", f64::MIN), bound("maximum", f64::MAX)),
            Some("object") => Self::Languages,
            _ => Self::Text,
        }
    }

    /// What a message asks for.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Integer(least, most) => format!("a whole number from {least} to {most}"),
            Self::Number(least, most) => format!("a number from {least} to {most}"),
            Self::Text => "a text".to_owned(),
            Self::Choice(choices) => {
                let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                format!("one of {}", names.join(", "))
            }
            Self::Languages => "an object with the settings of each language".to_owned(),
        }
    }

    /// `value` as this kind has it, if it has it: a whole number may be written with a point.
    pub(super) fn accept(&self, value: &Value) -> Option<Value> {
        let is_right = match self {
            Self::Bool => value.is_boolean(),
            Self::Integer(least, most) => {
                let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
                return (*least as f64 <= number && number <= *most as f64)
                    .then(|| Value::from(number as u64));
            }
            Self::Number(least, most) => {
                value.as_f64().is_some_and(|number| (*least..=*most).contains(&number))
            }
            Self::Text => value.is_string(),
            Self::Choice(choices) => choices.iter().any(|(name, _)| value == name.as_str()),
            Self::Languages => value.is_object(),
        };
        is_right.then(|| value.clone())
    }

    /// `text` of an environment variable or a command line as a value of this kind.
    pub(super) fn parse(&self, text: &str) -> Option<Value> {
        let value = match self {
            Self::Bool => match text {
                "1" => Value::Bool(true),
                "0" => Value::Bool(false),
                _ => Value::Bool(text.parse().ok()?),
            },
            Self::Integer(..) | Self::Number(..) => serde_json::from_str(text).ok()?,
            Self::Text | Self::Choice(_) => Value::from(text),
            Self::Languages => serde_json::from_str(text).ok()?,
        };
        self.accept(&value)
    }
}

/// The description of a schema in one paragraph, as doc comments are broken anywhere.
fn text(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

fn default_of(name: &str) -> Value {
    static DEFAULTS: LazyLock<Map<String, Value>> =
        LazyLock::new(|| match serde_json::to_value(Settings::default()) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        });
    let mut parts = name.split('.');
    let first = parts.next().and_then(|part| DEFAULTS.get(part)).unwrap_or(&Value::Null);
    parts.fold(first, |value, part| &value[part]).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_text_a_place_and_a_default_of_its_kind() {
        let all = settings();
        assert!(all.len() >= 18, "{}", all.len());
        for (index, setting) in all.iter().enumerate() {
            assert!(setting.doc.ends_with(['.', ')']), "{}: {}", setting.name, setting.doc);
            assert_eq!(
                setting.kind.accept(&setting.default),
                Some(setting.default.clone()),
                "{}",
                setting.name
            );
            assert!(index == 0 || all[index - 1].order < setting.order, "{}", setting.name);
            // Whatever names a path is the machine's.
            let is_path = setting.name.contains("File") || setting.name == "server.model";
            assert!(!is_path || setting.scope == Scope::Machine, "{}", setting.name);
        }
    }

    #[test]
    fn names_have_variables_and_neighbours() {
        let setting = find("completion.maxTokens").unwrap();
        assert_eq!(setting.variable(), "DIFFCODER_COMPLETION_MAX_TOKENS");
        assert_eq!(setting.kind, Kind::Integer(1, 1024));
        for (wrong, right) in [
            ("completion.maxToken", "completion.maxTokens"),
            ("showThreshold", "completion.showThreshold"),
            ("completion.show_threshold", "completion.showThreshold"),
            ("enabled", "enable"),
            ("server.modell", "server.model"),
        ] {
            assert_eq!(nearest(wrong), Some(right));
        }
        assert_eq!(nearest("telemetry"), None);
    }

    #[test]
    fn texts_of_a_command_line_become_values() {
        let parse = |name: &str, text| find(name).unwrap().kind.parse(text);
        assert_eq!(parse("enable", "0"), Some(Value::Bool(false)));
        assert_eq!(parse("enable", "no"), None);
        assert_eq!(parse("completion.showThreshold", "0.5"), Some(Value::from(0.5)));
        assert_eq!(parse("completion.showThreshold", "1.5"), None);
        assert_eq!(parse("completion.maxTokens", "16"), Some(Value::from(16)));
        assert_eq!(parse("completion.maxTokens", "1.5"), None);
        assert_eq!(parse("infill.mode", "joint"), Some(Value::from("joint")));
        assert_eq!(parse("infill.mode", "both"), None);
    }
}
