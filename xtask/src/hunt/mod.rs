//! Looks for bugs where the tests cannot: `cargo xtask fuzz` and `cargo xtask sanitize`.

mod fuzz;
mod sanitize;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Does what the command line says.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    match arguments {
        ["fuzz", rest @ ..] => fuzz::run(root, rest),
        ["sanitize"] => sanitize::run(root),
        _ => bail!("cargo xtask sanitize takes no arguments"),
    }
}

/// Runs `command` with this process's output; the error names the program.
fn succeed(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// The target triple of this machine.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}
