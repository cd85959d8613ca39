//! `cargo xtask sanitize`: the engine's kernels under AddressSanitizer, and under valgrind where it is installed.
//!
//! AddressSanitizer sees accesses out of bounds and after free on the path that this CPU takes, in a build that also
//! has debug assertions (the standard library's checks of unsafe calls among them) and overflow checks. Valgrind sees
//! reads of memory that nobody has written, which AddressSanitizer does not; it knows neither AVX-512 nor AMX and says
//! so to programs, so that under it the AVX2 versions run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{host, succeed};

const ADDRESS: &str = "-Zsanitizer=address -Cdebug-assertions=on -Coverflow-checks=on";
/// Exit code of a program in which valgrind has found something.
const VALGRIND_FOUND: &str = "--error-exitcode=99";
/// Tests that do the same work on several thread pools: valgrind runs one thread at a time, for minutes.
const THREADS: &str = "threads_do_not_change";

pub(super) fn run(root: &Path) -> Result<()> {
    let host = host()?;
    for what in [&["--test", "kernels"][..], &["--lib", "kernels::"]] {
        let mut tests = Command::new("cargo");
        tests.args(["test", "--release", "--locked", "--package", "diffcoder-engine"]);
        tests.args(["--target", &host, "--target-dir"]).arg(root.join("target/sanitize"));
        // The pinned compiler is a stable one, which takes the sanitizer only so.
        tests.args(what).env("RUSTFLAGS", ADDRESS).env("RUSTC_BOOTSTRAP", "1").current_dir(root);
        succeed(&mut tests)?;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not on the PATH: reads of unwritten memory were not looked for");
        return Ok(());
    }
    let mut memcheck = Command::new("valgrind");
    memcheck.args(["--quiet", VALGRIND_FOUND, "--max-stackframe=8000000"]);
    memcheck.arg(kernel_tests(root)?).arg("--test-threads=1").args(["--skip", THREADS]);
    succeed(memcheck.current_dir(root))
}

/// The program of `engine/tests/kernels`, built as `cargo test --release --workspace` builds it.
fn kernel_tests(root: &Path) -> Result<PathBuf> {
    let mut build = Command::new("cargo");
    build.args(["test", "--release", "--locked", "--workspace", "--test", "kernels", "--no-run"]);
    build.args(["--message-format", "json"]).current_dir(root).stderr(Stdio::inherit());
    let output = build.output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the kernels' tests cannot be built");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "kernels")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no program for engine/tests/kernels")
}
