//! `cargo xtask cuda-ptx [--check]`: compiles the CUDA kernels to the PTX text that lies in the repository.
//!
//! PTX for compute capability 8.0 runs on every card since; the driver compiles it for the card at hand. Needs nvcc on the
//! PATH. Each text begins with a hash of its sources, which `--check` compares everywhere; the text itself it compares where
//! there is nvcc of that version, for nobody needs nvcc to build diffcoder.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

const FOLDER: &str = "engine/src/kernels/cuda";
const MODULES: [&str; 8] = [
    "adamw",
    "attention_plain",
    "attention_tiled",
    "cross_entropy",
    "elementwise",
    "muon",
    "norm",
    "rope",
];
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
    let folder = root.join(FOLDER);
    if task == Task::Compare {
        ensure_same_sources(&folder)?;
    }
    let version = Command::new("nvcc").arg("--version").output();
    let found = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if !found.is_ok_and(|text| text.contains(NVCC)) {
        let what = format!("nvcc of {NVCC} is not on the PATH (docs/gpu.md)");
        ensure!(task == Task::Compare, "{what}: install it to make PTX");
        eprintln!(
            "{what}: the committed PTX was not made again, its sources are those that it was made from"
        );
        return Ok(());
    }
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
        let text = format!("{}{}", header(&folder, module)?, without_path_hash(&text));
        if task == Task::Compare {
            if std::fs::read_to_string(&kept).unwrap_or_default() != text {
                stale.push(module);
            }
        } else {
            std::fs::write(&kept, text)
                .with_context(|| format!("cannot write {}", kept.display()))?;
        }
    }
    ensure_fresh(&stale)
}

/// nvcc puts a hash of the source's path into names of inner variables.
fn without_path_hash(text: &str) -> String {
    const MARK: &str = "_INTERNAL_";
    const DIGITS: usize = 8;
    let mut parts = text.split(MARK);
    let mut same = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hash, rest) = part.split_at(DIGITS.min(part.len()));
        let is_hash = hash.len() == DIGITS && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        same.extend([MARK, if is_hash { "00000000" } else { hash }, rest]);
    }
    same
}

fn ensure_fresh(stale: &[&str]) -> Result<()> {
    ensure!(
        stale.is_empty(),
        "PTX is older than its source: {}; run `cargo xtask cuda-ptx`",
        stale.join(", ")
    );
    Ok(())
}

/// An error that names the modules whose sources have changed since.
fn ensure_same_sources(folder: &Path) -> Result<()> {
    let mut stale = Vec::new();
    for module in MODULES {
        let kept = folder.join("ptx").join(format!("{module}.ptx"));
        let kept = std::fs::read_to_string(&kept)
            .with_context(|| format!("cannot read {}", kept.display()))?;
        if !kept.starts_with(&header(folder, module)?) {
            stale.push(module);
        }
    }
    ensure_fresh(&stale)
}

/// The first lines of a module's PTX: how it was made, and of what.
fn header(folder: &Path, module: &str) -> Result<String> {
    let mut hash = Sha256::new();
    let own = format!("{module}.cu");
    let mut names: Vec<String> = std::fs::read_dir(folder.join("source"))
        .context("cannot read the kernels' folder")?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| *name == own || name.ends_with(".cuh"))
        .collect();
    names.sort();
    for name in names {
        let text = std::fs::read_to_string(folder.join("source").join(&name))
            .with_context(|| format!("cannot read {name}"))?;
        hash.update(text.replace("\r\n", "\n"));
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!(
        "// Made from source/{own} by `cargo xtask cuda-ptx`: nvcc {}\n// SHA-256 of it and the headers: {digest}\n",
        FLAGS.join(" ")
    ))
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
    fn a_changed_source_is_noticed_without_nvcc() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let copy = std::env::temp_dir().join(format!("diffcoder-ptx-{}", std::process::id()));
        for folder in ["source", "ptx"] {
            std::fs::create_dir_all(copy.join(folder)).unwrap();
            for entry in std::fs::read_dir(root.join(FOLDER).join(folder)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
            }
        }
        let same = ensure_same_sources(&copy);
        std::fs::write(copy.join("source/rope.cu"), "// other\n").unwrap();
        let changed = ensure_same_sources(&copy);
        std::fs::remove_dir_all(&copy).unwrap();
        same.unwrap();
        assert!(changed.unwrap_err().to_string().contains("older than its source: rope;"));
    }

    #[test]
    fn names_do_not_tell_where_they_were_made() {
        let text = "_ZZN49_INTERNAL_189ad2df_18_a _INTERNAL_x _INTERNAL_";
        assert_eq!(without_path_hash(text), "_ZZN49_INTERNAL_00000000_18_a _INTERNAL_x _INTERNAL_");
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
