//! Who may name whom: the engine knows no other crate, the server only its border types, the trainer no server.

use super::{Finding, TextFile};

/// Modules of the engine that a part of the tree may name; everything not listed here is unrestricted.
struct Layer {
    applies: fn(&str) -> bool,
    modules: &'static [&'static str],
}

const LAYERS: [Layer; 2] = [
    Layer {
        applies: |path| path.starts_with("lsp/src/") && !is_edge_of_lsp(path),
        modules: &["infiller", "cancel", "related"],
    },
    Layer {
        applies: |path| path.starts_with("trainer/src/") && !measures_what_is_served(path),
        modules: &[
            "model",
            "prompt",
            "related",
            "tokenizer",
            "device",
            "decode",
            "kernels",
            "error",
            "config",
        ],
    },
];

/// Files of the trainer that may name the engine as its users do.
fn measures_what_is_served(path: &str) -> bool {
    path.starts_with("trainer/src/eval/") || path == "trainer/src/verbatim.rs"
}

/// Files that make engines and hand them to the library.
fn is_edge_of_lsp(path: &str) -> bool {
    path == "lsp/src/main.rs"
        || path.starts_with("lsp/src/cli/")
        || path.starts_with("lsp/src/host/")
}

/// Checks one Rust file.
pub(crate) fn check(file: &TextFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    if file.path.starts_with("engine/") {
        for name in ["diffcoder_lsp", "diffcoder_train", "diffcoder_tests"] {
            for (start, _) in file.text.match_indices(name) {
                let message = format!("the engine knows no other crate of ours, not {name}");
                findings.push(Finding::at(file, line_of(&file.text, start), message));
            }
        }
    }
    for layer in LAYERS.iter().filter(|layer| (layer.applies)(&file.path)) {
        for (start, module) in engine_modules(&file.text) {
            if !layer.modules.contains(&module) {
                let allowed = layer.modules.join(", ");
                let message = format!(
                    "this part of the tree may name diffcoder_engine::{{{allowed}}} alone, not {module}"
                );
                findings.push(Finding::at(file, line_of(&file.text, start), message));
            }
        }
    }
    findings
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

/// Every module of the engine that `text` names by path, with the offset of the path.
fn engine_modules(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (start, name) in text.match_indices("diffcoder_engine::") {
        let rest = &text[start + name.len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_segments(group).map(|module| (start, module))),
            None => found.push((start, identifier(rest))),
        }
    }
    found
}

/// The first path segment of each member of a `{...}` group, whose opening brace is cut off.
fn first_segments(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut segments = Vec::new();
    let mut at_start = true;
    for (offset, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if at_start && !char.is_whitespace() => {
                segments.push(identifier(&group[offset..]));
                at_start = false;
            }
            _ => {}
        }
    }
    segments.into_iter()
}

fn identifier(text: &str) -> &str {
    let end = text.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::test_support::{file, lines};

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        lines(check(&file(path, text)))
    }

    #[test]
    fn the_server_sees_the_border_alone() {
        let good = "use diffcoder_engine::infiller::Infiller;\nuse diffcoder_engine::{cancel::X, infiller::{A, B}};\n";
        assert_eq!(findings("lsp/src/worker.rs", good), []);
        let bad = "//! a\nuse diffcoder_engine::{\n    cancel,\n    engine::Engine,\n};\nfn f(m: diffcoder_engine::model::Model) {}\n";
        let found = findings("lsp/src/worker.rs", bad);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 6]);
        assert!(
            found[0].1.ends_with("not engine") && found[1].1.ends_with("not model"),
            "{found:?}"
        );
        assert_eq!(findings("lsp/src/cli/model.rs", bad), []);
        assert_eq!(findings("lsp/src/main.rs", bad), []);
    }

    #[test]
    fn the_trainer_shares_the_model_but_not_the_serving() {
        assert_eq!(findings("trainer/src/train.rs", "use diffcoder_engine::model::Model;"), []);
        assert_eq!(
            findings("trainer/src/train.rs", "use diffcoder_engine::engine::Engine;").len(),
            1
        );
        assert_eq!(
            findings("trainer/src/eval/infill.rs", "use diffcoder_engine::engine::Engine;"),
            []
        );
        assert_eq!(findings("trainer/tests/train.rs", "use diffcoder_engine::engine::Engine;"), []);
    }

    #[test]
    fn the_engine_knows_nobody() {
        let found = findings("engine/tests/a.rs", "//! a\nuse diffcoder_train::step;\n");
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2]);
    }
}
