//! The shape of Rust files: subject first, short, and a few words that have one address.

use super::{Finding, TextFile};

const MAX_LINES: usize = 600;
const MAX_MAIN_LINES: usize = 60;

/// A piece of code that may stand in few files only.
struct Banned {
    code: &'static str,
    applies: fn(&str) -> bool,
    message: &'static str,
}

// The pieces are cut in two so that this file does not find itself.
const BANNED: [Banned; 4] = [
    Banned {
        code: concat!("cfg(feature", " = \"cuda\")"),
        applies: |path| {
            path != "engine/src/device.rs" && !path.starts_with("engine/src/kernels/cuda/")
        },
        message: "the cuda feature is looked at in engine/src/device.rs and engine/src/kernels/cuda alone",
    },
    Banned {
        code: concat!(".dims()", "["),
        applies: |path| {
            path.starts_with("engine/src/model/") || path.starts_with("trainer/src/objective")
        },
        message: "take dimensions by name: let (b, t, d) = x.dims3()?",
    },
    Banned {
        code: concat!(".char", "acter"),
        applies: |path| path.starts_with("lsp/src/") && path != "lsp/src/position.rs",
        message: "columns of the protocol exist in lsp/src/position.rs alone; use byte offsets here",
    },
    Banned {
        code: concat!("#[ig", "nore"),
        applies: |_| true,
        message: "a test that nobody runs: make it fast, or delete it",
    },
];

/// Checks one file of our own.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !file.text.starts_with("//! ") {
        findings.push(Finding::at(file, 1, "the first line says the file's one subject: //! ..."));
    }
    let n_lines = file.text.lines().count();
    if n_lines > MAX_LINES {
        let message = format!("{n_lines} lines, the cap is {MAX_LINES}: split it by subject");
        findings.push(Finding::at(file, MAX_LINES + 1, message));
    }
    if file.path.ends_with("src/main.rs") && n_lines > MAX_MAIN_LINES {
        let message =
            format!("{n_lines} lines, but a main.rs only wires: {MAX_MAIN_LINES} at most");
        findings.push(Finding::at(file, MAX_MAIN_LINES + 1, message));
    }
    for (index, line) in file.text.lines().enumerate() {
        for banned in &BANNED {
            if (banned.applies)(&file.path) && contains_whole(line, banned.code) {
                findings.push(Finding::at(file, index + 1, banned.message));
            }
        }
    }
    findings
}

/// Whether `line` holds `code` and the next character does not make a longer word of it.
fn contains_whole(line: &str, code: &str) -> bool {
    let ends_in_word = code.ends_with(|char: char| char.is_alphanumeric());
    line.match_indices(code).any(|(start, _)| {
        let next = line[start + code.len()..].chars().next();
        !(ends_in_word && next.is_some_and(|char| char.is_alphanumeric() || char == '_'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::test_support::{file, lines};

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        lines(check(&file(path, text))).into_iter().map(|(line, _)| line).collect()
    }

    #[test]
    fn the_first_line_is_the_subject() {
        assert_eq!(lines_found("a.rs", "//! Adds.\n"), [0usize; 0]);
        assert_eq!(lines_found("a.rs", "\n//! Adds.\n"), [1]);
        assert_eq!(lines_found("a.rs", ""), [1]);
    }

    #[test]
    fn files_have_a_cap() {
        let text = |lines: usize| format!("//! Adds.\n{}", "\n".repeat(lines - 1));
        assert_eq!(lines_found("a.rs", &text(600)), [0usize; 0]);
        assert_eq!(lines_found("a.rs", &text(601)), [601]);
        assert_eq!(lines_found("x/src/main.rs", &text(60)), [0usize; 0]);
        assert_eq!(lines_found("x/src/main.rs", &text(61)), [61]);
    }

    #[test]
    fn banned_code_has_one_address() {
        for (index, elsewhere, home) in [
            (0, "engine/src/engine.rs", "engine/src/device.rs"),
            (1, "engine/src/model/rope.rs", "engine/src/kernels/rope.rs"),
            (2, "lsp/src/handlers/hover.rs", "lsp/src/position.rs"),
        ] {
            let text = format!("//! Adds.\nlet x = a{};\n", BANNED[index].code);
            assert_eq!(lines_found(elsewhere, &text), [2], "{elsewhere}");
            assert_eq!(lines_found(home, &text), [0usize; 0], "{home}");
        }
        let ignored = format!("//! Adds.\n#[test]\n{} = \"slow\"]\n", BANNED[3].code);
        assert_eq!(lines_found("tests/tests/a.rs", &ignored), [3]);
    }

    #[test]
    fn longer_words_are_other_words() {
        let text = format!("//! Adds.\nlet n = line{}s();\n", BANNED[2].code);
        assert_eq!(lines_found("lsp/src/document.rs", &text), [0usize; 0]);
    }
}
