//! Draws the README's picture: the first command's output on a terminal, as SVG.

mod ansi;
mod svg;

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// The picture, from the root.
const PICTURE: &str = "docs/images/trace.svg";
/// How the command starts in the README.
const README_COMMAND: &str = "cargo run --release -- infill ";

/// Runs the first command of the README with `--trace` and draws what it prints.
///
/// Needs the release build: `target/release/diffcoder-lsp`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let readme = fs::read_to_string(root.join("README.md")).context("read README.md")?;
    let mut arguments =
        infill_arguments(&readme).context("README.md has no line with the infill command")?;
    if !arguments.contains(&"--trace") {
        arguments.push("--trace");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), Into::into);
    let binary =
        target.join("release").join(format!("diffcoder-lsp{}", std::env::consts::EXE_SUFFIX));
    let output = Command::new(&binary)
        .arg("infill")
        .args(&arguments)
        .env("CLICOLOR_FORCE", "1")
        .env_remove("NO_COLOR")
        .current_dir(root)
        .output()
        .with_context(|| {
            format!("run {}: build it first, cargo build --release", binary.display())
        })?;
    if !output.status.success() {
        bail!("the command failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let shown = String::from_utf8(output.stdout).context("the output is not UTF-8")?;
    let title = format!("diffcoder-lsp infill {}", arguments.join(" "));
    let path = root.join(PICTURE);
    fs::create_dir_all(root.join("docs/images")).context("create docs/images")?;
    fs::write(&path, svg::draw(&title, &ansi::parse(&shown)))
        .with_context(|| format!("write {PICTURE}"))?;
    eprintln!("drew {PICTURE}");
    Ok(())
}

/// What follows `infill` in the first such line.
fn infill_arguments(readme: &str) -> Option<Vec<&str>> {
    let rest = readme.lines().find_map(|line| line.trim().strip_prefix(README_COMMAND))?;
    Some(rest.split_whitespace().take_while(|word| !word.starts_with('#')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_the_readmes() {
        let readme = "# x\n```sh\ncargo run --release -- infill a.rs --at 1:2 # fills\n```\n";
        assert_eq!(infill_arguments(readme), Some(vec!["a.rs", "--at", "1:2"]));
        assert_eq!(infill_arguments("cargo test"), None);
    }
}
