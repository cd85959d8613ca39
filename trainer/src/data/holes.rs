//! The fixed holes of held-out documents that infilling is measured on.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, RngExt};

use super::middle::{line_start, line_stop};
use super::{Document, Language};
use crate::rng::keyed;

/// A hole from a cursor to the end of its line, with everything around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOutHole {
    /// Language of the document.
    pub language: Language,
    /// Path of the document.
    pub path: String,
    /// The document up to the cursor.
    pub prefix: String,
    /// What stands right of the hole in its line: nothing.
    pub rest: String,
    /// The document from the next line on.
    pub suffix: String,
    /// What stood in the hole.
    pub middle: String,
}

const SHORTEST_MIDDLE_CHARS: usize = 3;
const LONGEST_MIDDLE_CHARS: usize = 100;
/// Places that are looked at for each hole wanted, before a language is given up.
const TRIES_PER_HOLE: usize = 200;

/// Documents of one language by package.
type Packages<'a> = BTreeMap<&'a str, Vec<&'a Document>>;

/// About `count` holes, as many of each language, the packages of a language taking turns.
///
/// The choice is a function of the documents and `seed`. What one language lacks is taken from the others; there are
/// fewer where no document has more places.
pub fn held_out_holes(documents: &[Document], count: usize, seed: u64) -> Vec<HeldOutHole> {
    let mut by_language: BTreeMap<Language, Packages<'_>> = BTreeMap::new();
    for document in documents {
        let packages = by_language.entry(document.language).or_default();
        packages.entry(&document.package).or_default().push(document);
    }
    let wanted = count.div_ceil(by_language.len().max(1));
    let mut found: BTreeMap<Language, Vec<HeldOutHole>> = by_language
        .iter()
        .map(|(&language, packages)| (language, of_language(language, packages, wanted, seed)))
        .collect();
    let mut lacking = count.saturating_sub(found.values().map(Vec::len).sum());
    for (&language, holes) in &mut found {
        if lacking > 0 && holes.len() == wanted {
            // The first ones are those that were found before.
            *holes = of_language(language, &by_language[&language], wanted + lacking, seed);
            lacking -= holes.len() - wanted;
        }
    }
    found.into_values().flatten().collect()
}

/// At most `wanted` holes of one language; fewer wanted ones are the first of more.
fn of_language(
    language: Language,
    packages: &Packages<'_>,
    wanted: usize,
    seed: u64,
) -> Vec<HeldOutHole> {
    let mut holes = Vec::with_capacity(wanted);
    let mut rng = keyed([seed, 0, 0, language as u64]);
    let packages: Vec<&Vec<&Document>> = packages.values().collect();
    let mut seen = BTreeSet::new();
    let mut trees = BTreeMap::new();
    for turn in 0..wanted.saturating_mul(TRIES_PER_HOLE) {
        if seen.len() == wanted {
            break;
        }
        let package = packages[turn % packages.len()];
        let document = package[rng.random_range(0..package.len())];
        let Some(cursor) = cursor(&document.text, &mut rng) else { continue };
        let tree = trees
            .entry(&document.path)
            .or_insert_with(|| language.parser().parse(&document.text, None));
        if tree.as_ref().is_some_and(|tree| in_prose(tree, cursor)) {
            continue;
        }
        // One hole for each line.
        if seen.insert((&document.path, line_start(&document.text, cursor))) {
            holes.push(hole(document, cursor));
        }
    }
    holes
}

fn hole(document: &Document, cursor: usize) -> HeldOutHole {
    let text = &document.text;
    let stop = line_stop(text, cursor);
    HeldOutHole {
        language: document.language,
        path: document.path.clone(),
        prefix: text[..cursor].to_owned(),
        rest: String::new(),
        suffix: text.get(stop + 1..).unwrap_or("").to_owned(),
        middle: text[cursor..stop].to_owned(),
    }
}

/// A random place with something to say right of it: code, with a letter, not a comment, no blanks at the line's end.
fn cursor(text: &str, rng: &mut impl Rng) -> Option<usize> {
    if text.is_empty() {
        return None;
    }
    let cursor = text.floor_char_boundary(rng.random_range(0..text.len()));
    let (start, stop) = (line_start(text, cursor), line_stop(text, cursor));
    let (line, middle) = (&text[start..stop], &text[cursor..stop]);
    let code = line.trim_start();
    let is_comment = ["//", "#", "*", "/*", "\"\"\""].iter().any(|mark| code.starts_with(mark));
    let after_indentation = cursor >= stop - code.len();
    let length = middle.chars().count();
    let says_something = middle.chars().any(char::is_alphabetic)
        && (SHORTEST_MIDDLE_CHARS..=LONGEST_MIDDLE_CHARS).contains(&length);
    let blank_end = line.ends_with([' ', '\t']);
    (!is_comment && after_indentation && says_something && !blank_end).then_some(cursor)
}

/// Whether a place lies in a comment or in a string of several lines: documentation, not code.
fn in_prose(tree: &tree_sitter::Tree, at: usize) -> bool {
    let mut next = tree.root_node().descendant_for_byte_range(at, at);
    while let Some(node) = next {
        let lines = node.end_position().row > node.start_position().row;
        if node.kind().contains("comment") || node.kind().contains("string") && lines {
            return true;
        }
        next = node.parent();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents() -> Vec<Document> {
        let python =
            "def area(width, height):\n    \"\"\"Gives\n    prose prose prose\n    \"\"\"\n    return width * height\n"
                .repeat(40);
        let document = |path: &str, language, text: &str| Document {
            path: path.into(),
            package: path.split('/').next().unwrap_or_default().into(),
            language,
            text: text.into(),
        };
        vec![
            document("a/lib.rs", Language::Rust, include_str!("holes.rs")),
            document("b/lib.rs", Language::Rust, include_str!("split.rs")),
            document("c/area.py", Language::Python, &python),
        ]
    }

    #[test]
    fn holes_are_fixed_balanced_and_put_the_document_together() {
        let documents = documents();
        let holes = held_out_holes(&documents, 80, 1);
        assert_eq!(holes, held_out_holes(&documents, 80, 1));
        assert_ne!(holes, held_out_holes(&documents, 80, 2));
        assert_eq!(holes.len(), 80);
        let rust = holes.iter().filter(|hole| hole.language == Language::Rust).count();
        assert_eq!(rust, 40);
        for hole in &holes {
            let document = documents.iter().find(|document| document.path == hole.path).unwrap();
            let HeldOutHole { prefix, middle, rest, suffix, .. } = hole;
            assert_eq!(format!("{prefix}{middle}{rest}\n{suffix}"), document.text);
            assert!(!middle.contains('\n') && !middle.is_empty());
            let is_prose = hole.language == Language::Python && middle.contains("prose");
            assert!(!is_prose, "documentation is no code: {middle}");
        }
    }

    #[test]
    fn what_one_language_lacks_comes_from_the_other() {
        let mut documents = documents();
        documents.retain(|document| document.language == Language::Rust);
        let few = Document {
            path: "c/small.py".into(),
            package: "c".into(),
            language: Language::Python,
            text: "value = compute(1)\n".into(),
        };
        let balanced = held_out_holes(&documents, 20, 1);
        documents.push(few);
        let holes = held_out_holes(&documents, 40, 1);
        assert_eq!(holes.len(), 40);
        assert_eq!(holes.iter().filter(|hole| hole.language == Language::Python).count(), 1);
        assert_eq!(holes[..20], balanced, "the choice grows and does not change");
    }

    #[test]
    fn too_small_a_document_gives_fewer_holes() {
        let document = Document {
            path: "a/b.py".into(),
            package: "a".into(),
            language: Language::Python,
            text: "value = compute(1)\n".into(),
        };
        assert_eq!(held_out_holes(&[document], 10, 0).len(), 1);
    }
}
