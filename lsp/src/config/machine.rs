//! What the machine's user says outside any editor: `config.toml`, `DIFFCODER_*` and the command line.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::layer::{Layer, Problem, Source};

/// How often the file is looked at for a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The settings of the machine's user. The file is read again when it has changed.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    path: Option<PathBuf>,
    stamp: Option<Stamp>,
    looked: Option<Instant>,
    pub(super) file: Layer,
    pub(super) environment: Layer,
    pub(super) flags: Layer,
}

/// By which a changed file is known.
type Stamp = (SystemTime, u64);

impl Machine {
    /// Reads this process's variables, and the file that they name.
    pub fn of_process() -> (Self, Vec<Problem>) {
        Self::read(
            config_file(),
            std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }),
        )
    }

    /// Reads a file and variables; a file that is not there says nothing.
    pub fn read(
        path: Option<PathBuf>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> (Self, Vec<Problem>) {
        let (environment, of_environment) = Layer::from_environment(variables);
        let mut machine = Self { path, environment, ..Self::default() };
        let mut problems = machine.refresh().unwrap_or_default();
        problems.extend(of_environment);
        (machine, problems)
    }

    /// Puts a `NAME=VALUE` of the command line over everything else.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn set(&mut self, assignment: &str) -> Result<(), Problem> {
        self.flags.add_assignment(assignment)
    }

    /// Puts `--model DIR` over everything else.
    pub fn set_model(&mut self, dir: &Path) {
        let value = Value::from(dir.to_string_lossy());
        self.flags.values.insert("server.model".to_owned(), value);
    }

    /// The file, whether it is there or not.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Reads the file if it has changed since; `None` if it has not, else what is wrong with it.
    pub(super) fn refresh(&mut self) -> Option<Vec<Problem>> {
        let path = self.path.clone()?;
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_INTERVAL) {
            return None;
        }
        let is_first = self.looked.is_none();
        self.looked = Some(Instant::now());
        let stamp = stamp(&path);
        if stamp == self.stamp && !is_first {
            return None;
        }
        self.stamp = stamp;
        let (file, problems) = read_file(&path);
        self.file = file;
        Some(problems)
    }
}

/// `$XDG_CONFIG_HOME/diffcoder/config.toml`, or the place that stands for it.
fn config_file() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").or_else(|| std::env::var_os("USERPROFILE"));
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let folder = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).and_then(absolute);
    let folder = folder.or_else(|| Some(Path::new(&home()?).join(".config")))?;
    Some(folder.join("diffcoder").join("config.toml"))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}

fn read_file(path: &Path) -> (Layer, Vec<Problem>) {
    let problem = |message: String| (Layer::default(), vec![Problem { message }]);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Default::default(),
        Err(error) => return problem(format!("cannot read {}: {error}", path.display())),
    };
    match toml::from_str::<toml::Table>(&text) {
        Ok(table) => match serde_json::to_value(table) {
            Ok(value) => Layer::read(&value, &Source::File(path.to_owned())),
            Err(error) => problem(format!("cannot read {}: {error}", path.display())),
        },
        Err(error) => {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let reason = error.message().replace('\n', " ");
            problem(format!("{}:{line} is no TOML, so none of it holds: {reason}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let (mut machine, problems) = Machine::read(Some(path.clone()), []);
        assert_eq!((machine.file.values.len(), problems.len()), (0, 0), "no file says nothing");

        fs::write(&path, "enable = false\n[completion]\nmaxTokens = 8\n").unwrap();
        assert_eq!(machine.refresh(), None, "not looked at in the same second");
        machine.looked = machine.looked.map(|looked| looked - LOOK_INTERVAL);
        assert_eq!(machine.refresh(), Some(vec![]));
        assert_eq!(machine.file.values.len(), 2);
        machine.looked = machine.looked.map(|looked| looked - LOOK_INTERVAL);
        assert_eq!(machine.refresh(), None, "it has not changed");

        fs::write(&path, "enable = false\nenable = true\n").unwrap();
        machine.looked = machine.looked.map(|looked| looked - LOOK_INTERVAL);
        let problems = machine.refresh().unwrap();
        assert!(problems[0].message.contains("config.toml:2 is no TOML"), "{problems:?}");
        assert_eq!(machine.file.values.len(), 0);
    }

    #[test]
    fn a_folder_in_its_place_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (_, problems) = Machine::read(Some(folder.path().to_owned()), []);
        assert!(problems[0].message.starts_with("cannot read"), "{problems:?}");
    }
}
