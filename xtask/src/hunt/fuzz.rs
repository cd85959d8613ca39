//! `cargo xtask fuzz [messages|edits] [--minutes N]`: libFuzzer on the targets of `lsp/fuzz`.
//!
//! cargo-fuzz comes from crates.io into `target/tools`. What a run has learnt stays in `target/fuzz/corpus`; an input
//! that fails goes into `target/fuzz/artifacts`, and its path on the command line of the target repeats it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{host, succeed};

const TARGETS: [&str; 2] = ["messages", "edits"];
const CARGO_FUZZ: &str = "0.13.2";
const DEFAULT_MINUTES: u32 = 10;
/// An input that takes longer is a finding: the slowest honest ones take a tenth of a second.
const INPUT_TIMEOUT_SECONDS: u32 = 60;
const MEMORY_MIB: u32 = 4096;
/// Room for a session of some thirty messages.
const MAX_INPUT_BYTES: u32 = 16 << 10;

/// Runs the targets that `arguments` name.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let order = Order::of(arguments)?;
    let host = host()?;
    let folder = root.join("target/fuzz");
    let cargo_fuzz = install(root)?;
    for target in &order.targets {
        let mut build = Command::new(&cargo_fuzz);
        build.arg("build").args(["--sanitizer", "none", "--codegen-units", "16"]);
        build.arg("--fuzz-dir").arg(root.join("lsp/fuzz")).arg("--target-dir").arg(&folder);
        // The pinned compiler is a stable one, which takes the coverage flags only so.
        build.arg(target).env("RUSTC_BOOTSTRAP", "1").current_dir(root);
        succeed(&mut build)?;
    }
    for target in &order.targets {
        let corpus = folder.join("corpus").join(target);
        let artifacts = folder.join("artifacts").join(target);
        for made in [&corpus, &artifacts] {
            std::fs::create_dir_all(made)
                .with_context(|| format!("cannot make {}", made.display()))?;
        }
        let seconds = 60 * order.minutes;
        let mut fuzz = Command::new(folder.join(&host).join("release").join(target));
        fuzz.arg(&corpus).arg(root.join("lsp/fuzz/seeds").join(target)).args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={INPUT_TIMEOUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={MAX_INPUT_BYTES}"),
            format!("-artifact_prefix={}/", artifacts.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        let status = fuzz.status().with_context(|| format!("cannot start {target}"))?;
        ensure!(
            status.success(),
            "{target} has found something: the input is in {}",
            artifacts.display()
        );
    }
    Ok(())
}

/// What to fuzz, and for how long.
#[derive(Debug, PartialEq)]
struct Order {
    targets: Vec<String>,
    minutes: u32,
}

impl Order {
    fn of(arguments: &[&str]) -> Result<Self> {
        let mut order = Self { targets: Vec::new(), minutes: DEFAULT_MINUTES };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--minutes" => {
                    let minutes = arguments.next().and_then(|minutes| minutes.parse().ok());
                    order.minutes = minutes
                        .filter(|minutes| (1..=10_000).contains(minutes))
                        .context("--minutes takes a whole number from 1 to 10000")?;
                }
                target if TARGETS.contains(&target) => order.targets.push(target.to_owned()),
                other => bail!("there is no fuzz target {other}: there are {}", TARGETS.join(", ")),
            }
        }
        if order.targets.is_empty() {
            order.targets = TARGETS.map(str::to_owned).into();
        }
        Ok(order)
    }
}

/// Where cargo-fuzz is, from now on at least.
fn install(root: &Path) -> Result<std::path::PathBuf> {
    let tools = root.join("target/tools");
    let binary = tools.join("bin/cargo-fuzz");
    if !binary.exists() {
        let mut install = Command::new("cargo");
        install.args(["install", "cargo-fuzz", "--version", CARGO_FUZZ, "--locked", "--root"]);
        succeed(install.arg(&tools).current_dir(root))?;
    }
    Ok(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(arguments: &[&str]) -> Result<(Vec<String>, u32), String> {
        let order = Order::of(arguments).map_err(|error| error.to_string())?;
        Ok((order.targets, order.minutes))
    }

    #[test]
    fn all_targets_run_for_ten_minutes_unless_said_otherwise() {
        let all = TARGETS.map(str::to_owned).to_vec();
        assert_eq!(order(&[]), Ok((all.clone(), 10)));
        assert_eq!(order(&["--minutes", "1"]), Ok((all, 1)));
        assert_eq!(order(&["edits", "--minutes", "3"]), Ok((vec!["edits".to_owned()], 3)));
    }

    #[test]
    fn what_is_no_order_is_named() {
        assert!(order(&["edit"]).unwrap_err().contains("no fuzz target edit"));
        for minutes in [&["--minutes"][..], &["--minutes", "0"], &["--minutes", "ten"]] {
            assert!(order(minutes).unwrap_err().contains("--minutes takes"));
        }
    }

    #[test]
    fn every_target_has_its_program_and_its_seeds() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../lsp/fuzz");
        for target in TARGETS {
            assert!(fuzz.join("targets").join(format!("{target}.rs")).exists());
            assert!(fuzz.join("seeds").join(target).read_dir().unwrap().count() > 0);
        }
    }
}
