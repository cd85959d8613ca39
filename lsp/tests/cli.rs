//! The built binary on bad input: exit codes, one sentence on stderr, nothing on stdout.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn diffcoder(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffcoder-lsp"));
    command.args(arguments).env_remove("DIFFCODER_LOG").stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs `infill` on `file` and expects a failure whose only words are a line with `expected`.
fn fails(file: &Path, options: &[&str], expected: &str) {
    let mut arguments = vec!["infill", file.to_str().unwrap()];
    arguments.extend(options);
    let output = diffcoder(&arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert_eq!(text(&output.stdout), "");
    assert!(message.starts_with("diffcoder-lsp: ") && message.contains(expected), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn bad_files_and_places_fail_with_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.rs");
    fs::write(&file, "one\ntwo\n").unwrap();
    let latin = folder.path().join("latin.py");
    fs::write(&latin, b"name = '\xe9'\n").unwrap();
    fails(&folder.path().join("gone.rs"), &["--at", "1:1"], "there is no file");
    fails(folder.path(), &["--at", "1:1"], "is a directory: name a file in it");
    fails(&latin, &["--at", "1:1"], "is not UTF-8 at byte 8");
    fails(&file, &["--at", "7:1"], "line 7 is past the end");
    fails(&file, &["--range", "1:1-2:9"], "column 9 is past the end");
    let model = folder.path().join("no-model");
    fails(
        &file,
        &["--at", "1:1", "--model", model.to_str().unwrap()],
        "there is no model directory",
    );
    fails(
        &file,
        &["--at", "1:1", "--model", folder.path().to_str().unwrap()],
        "config.json is missing",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
}

#[test]
fn wrong_usage_has_its_own_code() {
    for arguments in [
        &["infill", "a.rs"][..],
        &["infill", "a.rs", "--at", "12"],
        &["infill", "a.rs", "--range", "2:1-1:1"],
        &["fill", "a.rs"],
    ] {
        let output = diffcoder(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let output = diffcoder(&["--version"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), concat!("diffcoder-lsp ", env!("CARGO_PKG_VERSION"), "\n"));
    let output = diffcoder(&["infill", "--help"]);
    assert!(output.status.success());
    let help = text(&output.stdout);
    for option in ["--at", "--range", "--write", "--trace", "--json", "--model", "--max-tokens"] {
        assert!(help.contains(option), "{option} is not in the help");
    }
    for option in ["--threshold", "--steps", "--temperature", "--top-p", "--seed", "UTF-16"] {
        assert!(help.contains(option), "{option} is not in the help");
    }
}
