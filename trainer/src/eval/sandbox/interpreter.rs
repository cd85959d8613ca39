//! The Python that runs generated programs, and the folders that it needs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// Prints as JSON what [`Interpreter`] says; `realpath` sees through the links of virtual environments.
const ASK: &str = "\
import json, os, sys
print(json.dumps({
    'version': '.'.join(map(str, sys.version_info[:3])),
    'executable': os.path.realpath(getattr(sys, '_base_executable', None) or sys.executable),
    'folders': sorted({os.path.realpath(sys.base_prefix), os.path.realpath(sys.base_exec_prefix)}),
}))
";

/// Folders of an ordinary system that programs, dynamic libraries and the loader lie in.
const SYSTEM: [&str; 8] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/gnu/store"];

/// A Python on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Interpreter {
    /// `3.11.7`
    pub version: String,
    /// The program itself, not a script or a link that leads to it.
    pub executable: PathBuf,
    /// Folders that it reads, those of the system included.
    pub folders: Vec<PathBuf>,
}

impl Interpreter {
    /// Asks `python` (a name or a path) who it is.
    pub(super) fn find(python: &str) -> Result<Self> {
        let mend = "install Python 3, or name another one with --python";
        let output = Command::new(python)
            .args(["-I", "-S", "-B", "-c", ASK])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {python}: {mend}"))?;
        ensure!(
            output.status.success(),
            "{python} is no Python 3 ({}): {mend}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        let mut found: Self = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{python} does not answer as Python 3 does: {mend}"))?;
        let mut folders: Vec<PathBuf> =
            SYSTEM.iter().map(PathBuf::from).filter(|folder| folder.is_dir()).collect();
        found.folders.extend(found.executable.parent().map(Into::into));
        for folder in found.folders {
            // Not the whole machine, and nothing twice.
            let is_root = folder.parent().is_none();
            if !is_root && !folders.iter().any(|known| folder.starts_with(known)) {
                folders.push(folder);
            }
        }
        Ok(Self { folders, ..found })
    }
}
