//! `cargo xtask cuda-ptx [--check]`: compiles the CUDA kernels to the PTX text that lies in the repository.
//!
//! PTX for compute capability 8.0 runs on every card since; the driver compiles it for the card at hand. Needs nvcc on the
//! PATH; `--check` passes with a word where there is none of that version, because nobody needs nvcc to build diffcoder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

const FOLDER: &str = "engine/src/kernels/cuda";
const MODULES: [&str; 7] =
    ["adamw", "attention_plain", "attention_tiled", "cross_entropy", "elementwise", "norm", "rope"];
/// PTX newer than the driver's CUDA does not load; 13.0 is what drivers from 580 on know.
const NVCC: &str = "release 13.0";
const FLAGS: [&str; 5] = ["-ptx", "-arch=compute_80", "-O3", "--std=c++17", "-Werror=all-warnings"];

/// What to do with fresh PTX.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Write,
    Compare,
}

pub(crate) fn run(root: &Path, task: Task) -> Result<()> {
    let version = Command::new("nvcc").arg("--version").output();
    let found = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if !found.is_ok_and(|text| text.contains(NVCC)) {
        let what = format!("nvcc of {NVCC} is not on the PATH (docs/gpu.md)");
        ensure!(task == Task::Compare, "{what}: install it to make PTX");
        eprintln!("{what}: the committed PTX was not compared with its sources");
        return Ok(());
    }
    let folder = root.join(FOLDER);
    let mut stale = Vec::new();
    for module in MODULES {
        let source = folder.join("source").join(format!("{module}.cu"));
        let kept = folder.join("ptx").join(format!("{module}.ptx"));
        let fresh = tempfile_path(module);
        let status = Command::new("nvcc")
            .args(FLAGS)
            .arg(&source)
            .arg("-o")
            .arg(&fresh)
            .status()
            .context("cannot start nvcc")?;
        ensure!(status.success(), "nvcc cannot compile {}", source.display());
        let text = std::fs::read_to_string(&fresh)
            .with_context(|| format!("nvcc left no {}", fresh.display()))?;
        let _ = std::fs::remove_file(&fresh);
        let text = format!(
            "// Made from source/{module}.cu by `cargo xtask cuda-ptx`: nvcc {}\n{text}",
            FLAGS.join(" ")
        );
        if task == Task::Compare {
            if std::fs::read_to_string(&kept).unwrap_or_default() != text {
                stale.push(module);
            }
        } else {
            std::fs::write(&kept, text)
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
    }
    ensure!(
        stale.is_empty(),
        "PTX is older than its source: {}; run `cargo xtask cuda-ptx`",
        stale.join(", ")
    );
    Ok(())
}

fn tempfile_path(module: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("diffcoder-{}-{module}.ptx", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_ptx_is_that_of_its_sources() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        run(root, Task::Compare).unwrap();
    }

    #[test]
    fn every_kernel_file_is_compiled() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let entries = std::fs::read_dir(root.join(FOLDER).join("source")).unwrap();
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                entry.unwrap().file_name().to_str()?.strip_suffix(".cu").map(str::to_owned)
            })
            .collect();
        names.sort();
        assert_eq!(names, MODULES);
    }
}
