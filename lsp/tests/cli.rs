//! The built binary as scripts use it: exit codes, what it prints and what it writes.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The embedded model, as files.
const DEFAULT_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/models/default");
const FIXTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/projects/rust-ledger/src/money.rs");

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

/// A copy of the fixture in a folder of its own, and its text.
fn source() -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("money.rs");
    let contents = fs::read_to_string(FIXTURE).unwrap();
    fs::write(&file, &contents).unwrap();
    (folder, file, contents)
}

/// Runs `infill --json` on `file`, expects success, and returns the holes.
fn holes(file: &Path, options: &[&str]) -> Value {
    let mut arguments = vec!["infill", file.to_str().unwrap(), "--json", "--max-tokens", "16"];
    arguments.extend(options);
    let output = diffcoder(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 1, "one line of JSON");
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["stats"]["forwards"].as_u64().unwrap() > 0, "{report}");
    report["holes"].take()
}

/// 1-based line and column of the byte at `offset`, in a text whose characters are all ASCII up to there.
fn line_col(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset];
    assert!(before.is_ascii());
    (before.matches('\n').count() + 1, offset - before.rfind('\n').map_or(0, |end| end + 1) + 1)
}

/// Where `line_col` is in the reports of `--json`.
fn reported((line, column): (usize, usize)) -> Value {
    json!({ "line": line - 1, "character": column - 1 })
}

/// The bytes that the body of the fixture's first function takes, without its braces.
fn first_body(contents: &str) -> std::ops::Range<usize> {
    let start = contents.find(") -> ").unwrap();
    let start = start + contents[start..].find("{\n").unwrap() + 2;
    start..start + contents[start..].find("    }\n").unwrap()
}

#[test]
fn the_embedded_model_fills_like_its_files() {
    let (_folder, file, contents) = source();
    let at = line_col(&contents, first_body(&contents).start);
    let option = format!("{}:{}", at.0, at.1);
    let embedded = holes(&file, &["--at", &option]);
    assert_eq!(embedded.as_array().unwrap().len(), 1);
    assert_eq!(embedded[0]["range"], json!({ "start": reported(at), "end": reported(at) }));
    assert_eq!(holes(&file, &["--at", &option, "--model", DEFAULT_MODEL]), embedded);
    assert_eq!(fs::read_to_string(&file).unwrap(), contents, "a preview writes nothing");
}

#[test]
fn write_changes_nothing_but_the_hole() {
    let (folder, file, contents) = source();
    let offset = first_body(&contents).start;
    let (line, column) = line_col(&contents, offset);
    let holes = holes(&file, &["--at", &format!("{line}:{column}"), "--write"]);
    let fill = holes[0]["text"].as_str().unwrap();
    let (prefix, suffix) = contents.split_at(offset);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{prefix}{fill}{suffix}"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the file is there");
}

#[test]
fn a_range_is_replaced() {
    let (_folder, file, contents) = source();
    let selection = first_body(&contents);
    let (start, end) = (line_col(&contents, selection.start), line_col(&contents, selection.end));
    let option = format!("{}:{}-{}:{}", start.0, start.1, end.0, end.1);
    let holes = holes(&file, &["--range", &option, "--write"]);
    assert_eq!(holes[0]["range"], json!({ "start": reported(start), "end": reported(end) }));
    let fill = holes[0]["text"].as_str().unwrap();
    let (prefix, suffix) = (&contents[..selection.start], &contents[selection.end..]);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{prefix}{fill}{suffix}"));
}

#[test]
fn damaged_models_fail_with_one_sentence() {
    let (_folder, file, contents) = source();
    let model = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(DEFAULT_MODEL).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, model.path().join(path.file_name().unwrap())).unwrap();
    }
    let options = ["--at", "1:1", "--write", "--model", model.path().to_str().unwrap()];
    let weights = model.path().join("model.gguf");
    let whole = fs::read(&weights).unwrap();

    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    fails(&file, &options, "cannot load the model in");

    // The tensor under another name of the same length: the file itself is sound.
    let name = b"model.norm.weight";
    let at = whole.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let mut renamed = whole;
    renamed[at..at + name.len()].copy_from_slice(b"model.norm.weighs");
    fs::write(&weights, &renamed).unwrap();
    fails(&file, &options, "model.norm.weight");

    fs::write(&weights, "no tensors").unwrap();
    fails(&file, &options, "cannot load the model in");
    assert_eq!(fs::read_to_string(&file).unwrap(), contents);
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

/// With the weights in it; optimized, as people get it.
#[test]
#[cfg(not(debug_assertions))]
fn the_binary_stays_small() {
    let bytes = fs::metadata(env!("CARGO_BIN_EXE_diffcoder-lsp")).unwrap().len();
    assert!(bytes <= 45_000_000, "{bytes} bytes, of at most 45 MB");
}

#[test]
fn wrong_usage_has_its_own_code() {
    for arguments in [
        &["infill", "a.rs"][..],
        &["infill", "a.rs", "--at", "12"],
        &["infill", "a.rs", "--range", "2:1-1:1"],
        &["infill", "a.rs", "--at", "1:1", "--related-tokens", "5"],
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

#[test]
fn several_holes_and_alternatives_come_in_one_report() {
    let (_folder, file, _contents) = source();
    let places = ["--at", "12:1", "--at", "3:1", "--range", "20:1-20:3"];
    let filled = holes(&file, &places);
    let lines: Vec<u64> = filled
        .as_array()
        .unwrap()
        .iter()
        .map(|hole| hole["range"]["start"]["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [2, 11, 19], "holes stand in reading order");
    let mut arguments = vec!["infill", file.to_str().unwrap(), "--json", "--max-tokens", "8"];
    arguments.extend(["--at", "12:1", "--alternatives", "3"]);
    let output = diffcoder(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let others = report["alternatives"].as_array().unwrap();
    assert!(!others.is_empty() && others.len() <= 2, "{report}");
    assert!(others.iter().all(|other| other[0]["text"] != report["holes"][0]["text"]));
    fails(&file, &["--range", "3:1-4:2", "--at", "3:2"], "overlaps another one");
}

#[test]
fn an_instruction_needs_a_model_that_follows_it() {
    let (_folder, file, contents) = source();
    let options = ["--at", "1:1", "--write", "--instruction", "make it shorter"];
    fails(&file, &options, "was not trained to follow instructions");
    assert_eq!(fs::read_to_string(&file).unwrap(), contents);
}

#[test]
fn the_tokens_of_a_range_are_scored() {
    let (_folder, file, contents) = source();
    let line = contents.lines().next().unwrap();
    let range = format!("1:1-1:{}", line.chars().count() + 1);
    let arguments = ["score", file.to_str().unwrap(), "--range", &range, "--json"];
    let output = diffcoder(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let tokens = report["tokens"].as_array().unwrap();
    let texts: Vec<&str> = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(texts.concat(), line);
    assert!(tokens.iter().all(|token| token["log_probability"].as_f64().unwrap() <= 0.0));
    let outside = diffcoder(&["score", file.to_str().unwrap(), "--range", "9999:1-9999:2"]);
    assert_eq!(outside.status.code(), Some(1));
    assert!(text(&outside.stderr).contains("past the end"), "{}", text(&outside.stderr));
}
