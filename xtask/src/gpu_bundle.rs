//! `cargo xtask gpu-bundle OUT DATA TOKENIZER [--rehearse]`: everything that a machine with a GPU and without a network
//! needs beside the tracked tree, in one folder.
//!
//! Needs nvcc (docs/gpu.md), xz, tar, strip and sha256sum, no GPU. `--rehearse` packs a CPU build and a hundredth of the
//! corpus: tests/gpu/rehearse.sh runs the scripts with it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What such a machine takes, tracked tree included.
const MOST_BYTES: u64 = 64 << 20;
const PROGRAMS: [&str; 2] = ["diffcoder-train", "gpu"];
const CORPUS: [&str; 3] = ["train.jsonl", "validation.jsonl", "manifest.json"];
/// One line of the corpus in so many goes into a rehearsal.
const REHEARSED_LINES: usize = 100;

/// What is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cuda,
    Rehearsal,
}

#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(root: &Path, folders: [&str; 3], kind: Kind) -> Result<()> {
    let [out, data, tokenizer] = folders.map(Path::new);
    for (folder, file) in [(data, "manifest.json"), (tokenizer, "tokenizer.json")] {
        ensure!(folder.join(file).is_file(), "{} has no {file}", folder.display());
    }
    let target = build(root, kind)?;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot clear {}", out.display()))?;
    }
    let stage = out.join("stage");
    fs::create_dir_all(&stage).with_context(|| format!("cannot make {}", stage.display()))?;
    for program in PROGRAMS {
        let built = target.join("release").join(program);
        copy(&built, &stage.join(program))?;
        call("strip", [stage.join(program)])?;
    }
    pack(&stage, &PROGRAMS, &out.join("programs.tar.xz"))?;
    for file in CORPUS {
        copy(&data.join(file), &stage.join(file))?;
    }
    if kind == Kind::Rehearsal {
        for file in ["train.jsonl", "validation.jsonl"] {
            let text = fs::read_to_string(stage.join(file))?;
            let few: String = text.split_inclusive('\n').step_by(REHEARSED_LINES).collect();
            fs::write(stage.join(file), few)?;
        }
    }
    pack(&stage, &CORPUS, &out.join("corpus.tar.xz"))?;
    fs::remove_dir_all(&stage).context("cannot clear the staging folder")?;
    copy_folder(tokenizer, &out.join("tokenizer"))?;
    copy_folder(&root.join("trainer/recipes"), &out.join("recipes"))?;
    copy(&root.join("tests/gpu/rehearsal.toml"), &out.join("recipes/rehearsal.toml"))?;
    write_sums(out)?;
    let (bundle, tracked) = (folder_bytes(out)?, tracked_bytes(root)?);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{}: {:.1} MiB, with the tracked tree {:.1} MiB",
        out.display(),
        mib(bundle),
        mib(bundle + tracked)
    );
    ensure!(
        bundle + tracked <= MOST_BYTES,
        "that is more than {:.0} MiB: give a smaller corpus",
        mib(MOST_BYTES)
    );
    Ok(())
}

/// Builds the programs; returns the target folder.
fn build(root: &Path, kind: Kind) -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let mut command = Command::new("cargo");
    command.current_dir(root).args(["build", "--release", "--locked"]);
    let target = if kind == Kind::Rehearsal {
        // The selection of the tests, so that nothing is compiled twice.
        command.args(["--workspace", "--bins"]);
        given.unwrap_or_else(|| root.join("target"))
    } else {
        ensure!(
            Command::new("nvcc").arg("--version").output().is_ok(),
            "nvcc is not on the PATH: install CUDA 13.0 (docs/gpu.md)"
        );
        command.args(["-p", "diffcoder-train", "-p", "diffcoder-tests"]);
        command.args(["--features", "diffcoder-train/cuda,diffcoder-tests/cuda"]);
        given.unwrap_or_else(|| root.join("target/cuda"))
    };
    let status = command.env("CARGO_TARGET_DIR", &target).status().context("cannot start cargo")?;
    ensure!(status.success(), "the build failed");
    Ok(target)
}

fn call<I: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = I>) -> Result<()> {
    let status = Command::new(program)
        .args(arguments)
        .status()
        .with_context(|| format!("cannot start {program}: install it"))?;
    ensure!(status.success(), "{program} failed");
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// The plain files of a folder.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn pack(folder: &Path, files: &[&str], archive: &Path) -> Result<()> {
    let mut arguments =
        vec![OsStr::new("-C"), folder.as_os_str(), OsStr::new("-I"), OsStr::new("xz -9 -T0")];
    arguments.extend([OsStr::new("-cf"), archive.as_os_str()]);
    arguments.extend(files.iter().map(OsStr::new));
    call("tar", arguments)
}

/// SHA-256 of every file, in the form that `sha256sum -c` reads.
fn write_sums(out: &Path) -> Result<()> {
    let script =
        "find . -type f ! -name SHA256SUMS | LC_ALL=C sort | xargs -d '\\n' sha256sum > SHA256SUMS";
    let status = Command::new("sh").current_dir(out).args(["-c", script]).status()?;
    ensure!(status.success(), "cannot write SHA256SUMS");
    Ok(())
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { folder_bytes(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn tracked_bytes(root: &Path) -> Result<u64> {
    let output = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output()?;
    ensure!(output.status.success(), "git cannot list the tracked files");
    let names = String::from_utf8(output.stdout)?;
    let sizes = names.split('\0').filter_map(|name| fs::metadata(root.join(name)).ok());
    Ok(sizes.filter(fs::Metadata::is_file).map(|metadata| metadata.len()).sum())
}
